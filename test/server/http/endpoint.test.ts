/** src/server/http/endpoint.ts: connections that a proxy hands over have the same time limits as those of a listener. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import t from "tap";
import { createEndpoint } from "../../../src/server/http/endpoint.ts";

/** Also with a reset. */
function closed(socket: Socket): Promise<void> {
  socket.on("error", () => {});
  socket.resume();
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

t.test(
  "a connection that is handed over and sends half a request ends in time, and with the server",
  { timeout: 20_000 },
  async (t) => {
    const endpoint = createEndpoint(undefined, { answer: (_req, res) => res.end("x") });
    Object.assign(endpoint.server, { headersTimeout: 50, requestTimeout: 50, connectionsCheckingInterval: 20 });
    const front = createServer((socket) => endpoint.accept(socket)).listen(0, "127.0.0.1");
    await once(front, "listening");
    t.teardown(() => {
      endpoint.server.close();
      front.close();
    });
    const { port } = front.address() as { port: number };
    const open = async (text: string): Promise<Socket> => {
      const socket = connect(port, "127.0.0.1");
      await once(socket, "connect");
      socket.write(text);
      return socket;
    };
    const slow = await open("GET / HTTP/1.1\r\nHost: x");
    const idle = await open("");
    for (const it of [slow, idle]) {
      await closed(it);
    }
    t.pass("both were closed");

    Object.assign(endpoint.server, { headersTimeout: 60_000, requestTimeout: 60_000 });
    const accepted = once(front, "connection");
    const late = await open("GET / HTTP/1.1\r\nHost: x");
    await accepted;
    const ended = closed(late);
    endpoint.closeAll();
    await ended;
    t.pass("and the server's end is theirs");
  },
);
