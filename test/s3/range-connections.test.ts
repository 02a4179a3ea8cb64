/** Ranges read from the socket: what is plain arrives whole, what is not is left to others, and nothing hangs. */

import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer as createSecureServer } from "node:tls";
import t, { type Test } from "tap";
import { RangeConnections } from "../../src/s3/range-connections.ts";
import { makePki } from "../fixtures/pki.ts";

const content = Buffer.from(Array.from({ length: 200_000 }, (_, at) => at % 251));
const LIMITS = { headMs: 300, idleMs: 300, pace: { ms: 400, bytes: 1000 } };

async function listening(t: Test, answer: (socket: Socket, start: number, end: number, time: number) => unknown) {
  const sockets: Socket[] = [];
  let asked = 0;
  const server: Server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const [, start, last] = /bytes=(\d+)-(\d+)/.exec(bytes.toString()) ?? [];
      answer(socket, Number(start), Number(last) + 1, ++asked);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const ranges = new RangeConnections(LIMITS);
  t.teardown(() => {
    ranges.close();
    for (const it of sockets) it.destroy();
    server.close();
  });
  const receive = async (start: number, end: number) => {
    const target = Buffer.alloc(end - start);
    let got = 0;
    const memory = () => target.subarray(got, Math.min(got + 5000, target.length));
    const took = (count: number) => {
      got += count;
    };
    const size = await ranges.receive(new URL(`http://127.0.0.1:${port}/a?b=c`), start, end, { memory, took });
    return { size, bytes: target.subarray(0, got) };
  };
  return { receive, sockets };
}

const head = (start: number, end: number, more = "") =>
  `HTTP/1.1 206 Partial Content\r\nContent-Range: bytes ${start}-${end - 1}/${content.length}\r\nContent-Length: ${end - start}\r\n${more}\r\n`;

t.test("ranges arrive over one connection, in whatever parts", async (t) => {
  const { receive, sockets } = await listening(t, async (socket, start, end, time) => {
    const all = Buffer.concat([Buffer.from(head(start, end)), content.subarray(start, end)]);
    if (time % 2 === 1) return socket.write(all);
    for (let at = 0; at < all.length; at += 30_001) {
      socket.write(all.subarray(at, at + (at === 0 ? 20 : 30_001)));
      if (at === 0) socket.write(all.subarray(20, 30_001));
      await sleep(2);
    }
  });
  for (const [start, end] of [
    [0, 10],
    [7, 150_000],
    [199_999, 200_000],
    [0, 200_000],
  ] as const) {
    const { size, bytes } = await receive(start, end);
    t.equal(size, content.length);
    t.ok(bytes.equals(content.subarray(start, end)), `${start} to ${end}`);
  }
  t.equal(sockets.length, 1);
});

t.test("a connection that the gateway closed meanwhile is made again", async (t) => {
  const { receive, sockets } = await listening(t, (socket, start, end, time) => {
    if (time === 2) return socket.destroy();
    socket.write(Buffer.concat([Buffer.from(head(start, end)), content.subarray(start, end)]));
  });
  t.equal((await receive(0, 100)).size, content.length);
  t.equal((await receive(0, 100)).size, content.length);
  t.equal(sockets.length, 2);
});

t.test("what is not plain is left to others", async (t) => {
  const ok = head(0, 10);
  for (const answer of [
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.0 206 Partial\r\n\r\n",
    "no answer of HTTP\r\n\r\n",
    ok.replace("Content-Length: 10", "Transfer-Encoding: chunked"),
    ok.replace("Content-Length: 10", "Content-Length: 10\r\nContent-Length: 12"),
    ok.replace("Content-Length: 10", "Content-Length: 11"),
    ok.replace("bytes 0-9", "bytes 1-10"),
    ok.replace("bytes 0-9", "bytes 0-10").replace("Length: 10", "Length: 11"),
    ok.replace("Content-Length", "Content-Encoding: gzip\r\nContent-Length"),
    `${ok}more bytes than it said`,
    `HTTP/1.1 206 Partial\r\n${"x-filler: yes\r\n".repeat(2000)}`,
  ]) {
    const { receive } = await listening(t, (socket) => socket.write(answer));
    const { size, bytes } = await receive(0, 10);
    t.equal(size, undefined, answer.slice(0, 60));
    t.equal(bytes.length, 0);
  }
});

t.test("an answer that is cut, silent, slow or absent ends in time", async (t) => {
  const faults: Record<string, (socket: Socket, start: number, end: number) => unknown> = {
    ECONNRESET: (socket, start, end) =>
      socket.end(Buffer.concat([Buffer.from(head(start, end)), content.subarray(0, 90)])),
    "no answer within": () => {},
    "no bytes for": (socket, start, end) => socket.write(`${head(start, end)}abc`),
    "bytes in": async (socket, start, end) => {
      socket.write(head(start, end));
      while (!socket.destroyed) {
        socket.write("x");
        await sleep(50);
      }
    },
  };
  for (const [fault, answer] of Object.entries(faults)) {
    const { receive } = await listening(t, answer);
    const error = (await receive(0, 5000).catch((it: unknown) => it)) as NodeJS.ErrnoException;
    t.match(`${error.code} ${error.message}`, fault);
  }
  const nobody = new RangeConnections(LIMITS);
  const into = { memory: () => Buffer.alloc(1), took: () => {} };
  await t.rejects(nobody.receive(new URL("http://127.0.0.1:1/"), 0, 10, into), { code: "ECONNREFUSED" });
});

t.test("TLS is read the same, and only from whom its certificate names", async (t) => {
  const pki = await makePki();
  const server = createSecureServer({ cert: pki.server.cert, key: pki.server.key }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const [, start, last] = /bytes=(\d+)-(\d+)/.exec(bytes.toString()) ?? [];
      const [from, end] = [Number(start), Number(last) + 1];
      socket.write(Buffer.concat([Buffer.from(head(from, end)), content.subarray(from, end)]));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const [trusting, other] = [new RangeConnections(LIMITS, [pki.ca]), new RangeConnections(LIMITS)];
  t.teardown(() => {
    trusting.close();
    server.close();
  });
  const target = Buffer.alloc(content.length);
  let got = 0;
  const took = (count: number) => {
    got += count;
  };
  const into = { memory: () => target.subarray(got), took };
  const url = new URL(`https://127.0.0.1:${port}/a`);
  t.equal(await trusting.receive(url, 0, 70_000, into), content.length);
  t.equal(await trusting.receive(url, 70_000, content.length, into), content.length);
  t.ok(target.equals(content));
  await t.rejects(other.receive(url, 0, 10, into), { code: /SELF_SIGNED|UNABLE_TO/ });
});
