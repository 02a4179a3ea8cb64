import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import t, { type Test } from "tap";
import { isName, startNameServer } from "../../src/rehearsal/name-server.ts";

async function bench(t: Test) {
  const server = await startNameServer(new Set(["registry.example.test"]), 0);
  t.teardown(() => server.close());
  const resolver = new Resolver({ timeout: 2000, tries: 1 });
  resolver.setServers([`127.0.0.1:${server.port}`]);
  return { server, resolver };
}

t.test("startNameServer() leads known names here, in any case, and notes the others", async (t) => {
  const { server, resolver } = await bench(t);
  t.same(await resolver.resolve4("registry.example.test"), ["127.0.0.1"]);
  t.same(await resolver.resolve4("Registry.EXAMPLE.test"), ["127.0.0.1"]);
  await t.rejects(resolver.resolve6("registry.example.test"), { code: "ENODATA" }, "it has no address of that kind");
  await t.rejects(resolver.resolve4("nobody.example.test"), { code: "ENOTFOUND" });
  await t.rejects(resolver.resolve6("nobody.example.test"), { code: "ENOTFOUND" });
  await t.rejects(resolver.resolve4("NOBODY.example.test"), { code: "ENOTFOUND" });
  t.same([...server.unknown], [["nobody.example.test", 2]], "both kinds of a name's addresses are one question");
  await t.rejects(resolver.resolve6("six.example.test"), { code: "ENOTFOUND" });
  // apt asks for it, and goes on without an answer.
  await t.rejects(resolver.resolveSrv("_http._tcp.registry.example.test"), { code: "ENOTFOUND" });
  t.same([...server.unknown].slice(1), [["six.example.test", 1]], "only who asks for addresses misses a host");
});

t.test("startNameServer() survives what is no question, and notes only so many names", async (t) => {
  const { server, resolver } = await bench(t);
  const client = createSocket("udp4");
  t.teardown(() => client.close());
  const header = Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  for (const rest of [[], [63, 97], [64, ...Buffer.alloc(70)], [0xc0, 0x0c, 0, 1, 0, 1], [1, 97, 0, 0]])
    client.send(Buffer.concat([header, Buffer.from(rest)]), server.port, "127.0.0.1");
  client.send(Buffer.alloc(3), server.port, "127.0.0.1");
  for (let at = 0; at < 1100; at++) await resolver.resolve4(`n${at}.example.test`).catch(() => {});
  t.equal(server.unknown.size, 1000);
  t.same(await resolver.resolve4("registry.example.test"), ["127.0.0.1"]);
});

t.test("isName() tells names from addresses", async (t) => {
  for (const it of ["registry.example.test", "localhost"]) t.equal(isName(it), true, it);
  for (const it of ["192.0.2.7", "2001:db8::1", "[2001:db8::1]"]) t.equal(isName(it), false, it);
});
