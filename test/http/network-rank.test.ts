/** How near an address is: this host, private networks, the rest. */
import t from "tap";
import { isLoopbackHost, networkRank } from "../../src/http/network-rank.ts";

t.test("networkRank() tells this host, private networks and the rest", (t) => {
  const cases = new Map<string, number>([
    ["example.org", 0],
    ["8.8.8.8", 0],
    ["172.32.0.1", 0],
    ["[2001:db8::1]", 0],
    ["10.0.0.1", 1],
    ["172.16.0.1", 1],
    ["192.168.1.1", 1],
    ["[fd00::1]", 1],
    ["127.0.0.1", 2],
    ["0.0.0.0", 2],
    ["169.254.169.254", 3],
    ["localhost", 2],
    ["a.localhost", 2],
    ["[::1]", 2],
    ["[fe80::1]", 3],
    ["[::ffff:169.254.169.254]", 3],
    ["[::ffff:7f00:1]", 2],
    ["[::ffff:10.0.0.1]", 1],
    ["0:0:0:0:0:FFFF:127.0.0.1", 2],
    ["0:0:0:0:0:ffff:a9fe:a9fe", 3],
    ["0:0::0:1", 2],
    ["::0", 2],
    ["fe80::1%eth0", 3],
  ]);
  for (const [host, rank] of cases) t.equal(networkRank(host), rank, host);
  t.end();
});

t.test("isLoopbackHost() is true only of what other hosts cannot reach, however it is spelled", (t) => {
  for (const it of ["127.0.0.1", "127.9.9.9", "localhost", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"])
    t.equal(isLoopbackHost(it), true, it);
  const others = ["0.0.0.0", "::", "[::0]", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0", "::ffff:0:0", "0", "127.1", ""];
  for (const it of [...others, "169.254.1.1", "fe80::1", "10.0.0.1", "host.example", "a.localhost"])
    t.equal(isLoopbackHost(it), false, it);
  t.end();
});
