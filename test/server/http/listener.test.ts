/** Clients that come by the thousand, or never finish what they begin: others are served meanwhile, and memory stays bounded. */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { MAX_CONNECTIONS_OF_ONE } from "../../../src/server/http/endpoint.ts";
import { makeIso } from "../../fixtures/iso-maker.ts";
import { patterned, startServer, temporaryDir } from "../../fixtures/serving.ts";

const MIB = 1024 * 1024;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const CONTENT = { "files/x": "content of x", "files/big": patterned(MIB) };

/** Opens connections from an address of this host; resolves when all are there or turned away. */
async function crowd(t: Test, port: number, count: number, localAddress: string, bytes = ""): Promise<Socket[]> {
  const sockets: Socket[] = [];
  for (let at = 0; at < count; at += 200) {
    const some = Array.from({ length: Math.min(200, count - at) }, () => {
      const socket = connect({ port, host: "127.0.0.1", localAddress });
      socket.on("error", () => {});
      socket.on("connect", () => socket.write(bytes));
      socket.resume();
      sockets.push(socket);
      return new Promise<void>((resolve) => socket.once("connect", resolve).once("close", () => resolve()));
    });
    await Promise.all(some);
  }
  t.teardown(() => {
    for (const it of sockets) it.destroy();
  });
  return sockets;
}

/** Asks over a connection of its own, from an address; undefined where it is turned away. */
function ask(port: number, localAddress: string, path = "/files/x"): Promise<string | undefined> {
  return new Promise((resolve) => {
    let got = "";
    const socket = connect({ port, host: "127.0.0.1", localAddress }, () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`),
    );
    socket.setEncoding("latin1").on("data", (text: string) => {
      got += text;
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(got === "" ? undefined : got));
  });
}

t.test("thousands of idle connections of one host leave room for others", async (t) => {
  const { port, url } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const before = process.memoryUsage.rss();
  const sockets = await crowd(t, port, 1500, "127.0.0.2");
  let open = sockets.length;
  for (let i = 0; i < 100 && open > MAX_CONNECTIONS_OF_ONE; i++) {
    await sleep(100);
    open = sockets.filter((it) => !it.destroyed).length;
  }
  t.ok(open <= MAX_CONNECTIONS_OF_ONE && open > MAX_CONNECTIONS_OF_ONE - 50, `${open} are kept`);
  t.equal(await ask(port, "127.0.0.2"), undefined, "that host is turned away");
  t.match(await ask(port, "127.0.0.3"), "content of x", "another is served");
  const grown = (process.memoryUsage.rss() - before) / MIB;
  t.ok(grown < 150, `memory of both ends grew by ${grown.toFixed(0)} MiB`);
  for (const it of sockets) it.destroy();
  await sleep(300);
  t.match(await ask(port, "127.0.0.2"), "content of x", "and is back when it lets go");
  t.match(await (await fetch(`${url}/metrics`)).text(), /airferry_faults_total 0/);
});

t.test("idle connections of many hosts make room when all are taken", async (t) => {
  const { port } = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const request = "GET /files/x HTTP/1.1\r\nHost: h\r\n\r\n";
  for (let host = 10; host < 15; host++) await crowd(t, port, 900, `127.0.0.${host}`, request);
  await sleep(500);
  let answer: string | undefined;
  for (let attempt = 0; attempt < 20 && answer === undefined; attempt++) {
    answer = await ask(port, "127.0.0.99");
    if (answer === undefined) await sleep(100);
  }
  t.match(answer, "content of x");
});

t.test("handshakes and heads that never end are cut, and others are served meanwhile", async (t) => {
  const dir = await temporaryDir(t);
  const tls = await startServer(t, [{ stream: "a", content: CONTENT }], { tls: "auto", tlsDir: join(dir, "tls") });
  const plain = await startServer(t, [{ stream: "a", content: CONTENT }]);
  const began = performance.now();
  const cut = (port: number, first: string, more: string, silentMs = 0) =>
    new Promise<number>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => setTimeout(() => socket.write(first, "latin1"), silentMs));
      const timer = setInterval(() => performance.now() - began > silentMs && socket.write(more, "latin1"), 500);
      socket.on("error", () => {});
      socket.resume();
      socket.on("close", () => {
        clearInterval(timer);
        resolve(performance.now() - began);
      });
    });
  const patient = connect(plain.port, "127.0.0.1", () => patient.write("GET /files/big HTTP/1.1\r\nHost: h\r\n\r\n"));
  patient.on("error", () => {});
  t.teardown(() => patient.destroy());
  const hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
  const endless = {
    "a handshake that says nothing": cut(tls.port, "", ""),
    "a handshake that drips": cut(tls.port, hello, "a"),
    "a header that drips": cut(plain.port, "GET / HTTP/1.1\r\nX: ", "a"),
    "headers that drip": cut(plain.port, "GET / HTTP/1.1\r\n", "X: a\r\n"),
    "a request line that drips": cut(plain.port, "GET /", "a"),
    "empty lines without end": cut(plain.port, "\r\n", "\r\n"),
    "a header that drips, after a long silence": cut(plain.port, "GET / HTTP/1.1\r\nX: ", "a", 16_000),
  };
  const crowdOfThem = await crowd(t, plain.port, 300, "127.0.0.2", "GET / HTTP/1.1\r\nX: ");
  // On a busy machine they come later than those above, and are cut later.
  const arrived = performance.now();
  const cutMs = crowdOfThem.map((it) =>
    it.destroyed ? 0 : new Promise<number>((done) => it.once("close", () => done(performance.now() - arrived))),
  );
  t.match(await ask(plain.port, "127.0.0.3"), "content of x");
  for (const [what, time] of Object.entries(endless)) {
    const ms = await time;
    t.ok(ms < 28_000, `${what}: cut after ${(ms / 1000).toFixed(0)} s`);
  }
  const slowest = Math.max(...(await Promise.all(cutMs)));
  t.ok(slowest < 28_000, `and so is a crowd of them, the last after ${(slowest / 1000).toFixed(0)} s`);
  patient.write("GET /files/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  const taken = Buffer.concat(await patient.toArray()).toString("latin1");
  t.match(taken, /content of x$/, "whoever asked in time and takes the answer slowly is served on");
  t.notMatch(taken, / 408 /);
});

t.test("pipelined floods of every kind of path", async (t) => {
  const members = Array.from({ length: 300 }, (_, i) => ({ id: `F${i}.TXT;1`, block: 60, size: 1, flags: 0 }));
  const iso = makeIso(members, new Map([[60, Buffer.from("x")]]));
  const names = Array.from({ length: 800 }, (_, i) => `files/${"n".repeat(60)}-${i}`);
  const { port, url } = await startServer(t, [
    {
      stream: "a",
      content: { ...CONTENT, ...Object.fromEntries(names.map((it) => [it, "x"])), "isos/r.iso": iso },
      catalog: {
        isos: [{ name: "r", path: "isos/r.iso" }],
        files: names.map((path) => ({ path })),
        images: Array.from({ length: 200 }, (_, i) => ({
          reference: `registry.example.com/many/image-${i}:1`,
          digest: `sha256:${i.toString(16).padStart(64, "0")}`,
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          size: 1,
          platforms: [],
          manifests: [],
        })),
      },
    },
  ]);
  const paths = [
    "/",
    "/config/",
    "/config/airferry.repo",
    "/config/hosts.toml",
    "/index.json",
    "/isos/r/",
    "/isos/r/F1.TXT",
  ];
  paths.push(
    "/v2/",
    "/v2/_catalog",
    "/v2/registry.example.com/many/image-1/tags/list",
    "/files/",
    "/files/big",
    "/metrics",
  );
  for (const path of [...paths, "/none"]) await (await fetch(url + path)).arrayBuffer();
  const before = process.memoryUsage.rss();
  let slowest = 0;
  for (const method of ["GET", "HEAD"]) {
    for (const path of paths) {
      const request = `${method} ${path} HTTP/1.1\r\nHost: h\r\n\r\n`.repeat(1500);
      const sockets = Array.from({ length: 8 }, () => {
        const socket = connect({ port, host: "127.0.0.1", localAddress: "127.0.0.2" }, () => socket.write(request));
        socket.on("error", () => {});
        socket.pause();
        return socket;
      });
      await sleep(30);
      const started = performance.now();
      await (await fetch(`${url}/files/x`)).text();
      slowest = Math.max(slowest, performance.now() - started);
      for (const it of sockets) it.destroy();
    }
  }
  const grown = (process.memoryUsage.rss() - before) / MIB;
  t.ok(grown < 250, `memory of both ends grew by ${grown.toFixed(0)} MiB`);
  t.ok(slowest < 6000, `the slowest answer to another client took ${slowest.toFixed(0)} ms`);
  t.match(await (await fetch(`${url}/metrics`)).text(), /airferry_faults_total 0/);
});
