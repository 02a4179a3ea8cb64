/** How near an address is: this host, private networks, the rest. */
import t from "tap";
import { networkRank } from "../../src/http/network-rank.ts";

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
  ]);
  for (const [host, rank] of cases) t.equal(networkRank(host), rank, host);
  t.end();
});
