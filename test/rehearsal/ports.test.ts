import { connect, createServer } from "node:net";
import { text } from "node:stream/consumers";
import t, { type Test } from "tap";
import { leadPort } from "../../src/rehearsal/ports.ts";

async function listener(t: Test, name: string): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, async (socket) => socket.end(`${name} ${await text(socket)}`));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return portOf(server.address());
}

const portOf = (address: ReturnType<ReturnType<typeof createServer>["address"]>) =>
  typeof address === "object" ? (address?.port ?? 0) : 0;

t.test("leadPort() leads each connection to the listener of what it speaks", async (t) => {
  const to = { http: await listener(t, "http"), https: await listener(t, "https") };
  const server = await leadPort(0, to);
  t.teardown(() => server.close());
  const port = portOf(server.address());
  const say = (said: string) => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    socket.end(said);
    return text(socket);
  };
  t.equal(await say("GET / HTTP/1.1"), "http GET / HTTP/1.1");
  t.equal(await say("\x16\x03\x01 and more"), "https \x16\x03\x01 and more");
  t.equal(await say(""), "", "nothing was asked");
  await t.rejects(leadPort(port, to), { code: "ERR_BUSY" });
});
