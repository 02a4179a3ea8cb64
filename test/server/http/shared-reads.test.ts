/** Connections that read into one buffer: every byte, in order, to the end, and their server still counts them. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { Duplex } from "node:stream";
import t from "tap";
import { readInto } from "../../../src/server/http/shared-reads.ts";

t.test("bytes come in one buffer, whoever sends them", async (t) => {
  const buffer = Buffer.alloc(16);
  const got = new Map<number, string>();
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (accepted) => {
    const id = sockets.length;
    const socket = readInto(buffer, accepted, (bytes, length) => {
      t.equal(bytes, buffer);
      got.set(id, (got.get(id) ?? "") + bytes.toString("latin1", 0, length));
      return true;
    });
    t.ok(socket, "a socket of this Node is taken over");
    t.not(socket, accepted);
    sockets.push(socket!);
    socket!.on("end", () => socket!.end(`${got.get(id)!.length}`));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const texts = ["a".repeat(1000), "b".repeat(17), "c"];
  const answers = await Promise.all(
    texts.map(async (text) => {
      const client = connect(port, "127.0.0.1");
      client.end(text);
      return (await client.toArray()).join("");
    }),
  );
  t.same(answers, ["1000", "17", "1"]);
  t.same([...got.values()].sort(), texts, "nothing is mixed up");
  server.close();
  await once(server, "close");
  t.pass("the server knows that all of them are gone");
});

t.test("a paused connection reads nothing", async (t) => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [accepted] = (await once(server, "connection")) as [Socket];
  let calls = 0;
  const socket = readInto(Buffer.alloc(4), accepted, () => {
    calls++;
    socket.pause();
    return true;
  }) as Socket;
  client.write("12345678");
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(calls, 1);
  socket.resume();
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(calls, 2);
  client.destroy();
});

t.test("what is no plain connection is left alone", async (t) => {
  t.equal(
    readInto(Buffer.alloc(4), new Duplex() as Socket, () => true),
    undefined,
  );
});
