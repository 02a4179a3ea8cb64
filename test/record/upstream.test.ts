/** src/record/upstream.ts: where clients from elsewhere are led. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, LookupFunction } from "node:net";
import t from "tap";
import { Upstream } from "../../src/record/upstream.ts";

t.test("a proxy for other hosts leads nobody to its own host, by address or by name", async (t) => {
  const server = createServer((_request, response) => response.end("inner")).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const lookup: LookupFunction = (_host, options, answer) =>
    options.all ? answer(null, [{ address: "127.0.0.1", family: 4 }]) : answer(null, "127.0.0.1", 4);
  const upstreamFor = (isForOthers: boolean) => {
    const upstream = new Upstream({ ca: "", env: {}, lookup, isForOthers });
    t.teardown(() => upstream.close());
    return upstream;
  };
  const request = (host: string) => ({
    origin: { scheme: "http" as const, host, port },
    method: "GET",
    path: "/",
    headers: {},
  });
  const others = upstreamFor(true);
  for (const host of [
    "127.0.0.1",
    "0.0.0.0",
    "::1",
    "::ffff:127.0.0.1",
    "localhost",
    "169.254.169.254",
    "rebound.test",
  ]) {
    await t.rejects(others.send(request(host)), /address of the recording host itself or of its link/, host);
    const fault = host === "rebound.test" ? { code: "ERR_NEAR_ADDRESS" } : /the recording host itself/;
    await t.rejects(others.tunnel(request(host).origin), fault, `a tunnel to ${host}`);
  }
  const own = upstreamFor(false);
  for (const host of ["127.0.0.1", "rebound.test"]) {
    const { answer } = await own.send(request(host));
    t.equal(answer.statusCode, 200, host);
    answer.resume();
    (await own.tunnel(request(host).origin)).destroy();
  }
});
