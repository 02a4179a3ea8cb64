/** The fast path: the same answers as Node's HTTP gives, over connections that change over in the middle, and never a stale byte. */
import { randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, Socket } from "node:net";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import t, { type Test } from "tap";
import { digestOf } from "../../../src/io/digest.ts";
import type { ServeContext, TreeView } from "../../../src/server/http/context.ts";
import { FastPath } from "../../../src/server/http/fast-path.ts";
import { Resources } from "../../../src/server/http/resources.ts";
import { sendRaw, startServer, temporaryDir } from "../../fixtures/serving.ts";

const HOST = "Host: x\r\n";
const plain = (path: string): string => `GET ${path} HTTP/1.1\r\n${HOST}\r\n`;
/** The same question in words that only Node's HTTP understands. */
const other = (path: string): string => `GET ${path} HTTP/1.1\r\n${HOST}If-Match: *\r\n\r\n`;

/** One connection, from which answers are taken one by one. */
class Client {
  readonly socket: Socket;
  #got = Buffer.alloc(0);
  #wake = (): void => {};

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.setNoDelay(true);
    this.socket.on("error", () => {});
    this.socket.on("data", (bytes) => {
      this.#got = Buffer.concat([this.#got, bytes]);
      this.#wake();
    });
    this.socket.on("close", () => this.#wake());
  }

  /** Sends, and resolves with the next answer. */
  async ask(request: string): Promise<{ head: string; body: Buffer }> {
    this.socket.write(request);
    return this.next(request.startsWith("HEAD"));
  }

  async next(withoutBody = false): Promise<{ head: string; body: Buffer }> {
    for (;;) {
      const end = this.#got.indexOf("\r\n\r\n");
      if (end !== -1) {
        const head = this.#got.toString("latin1", 0, end);
        const length = withoutBody ? 0 : Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
        if (this.#got.length >= end + 4 + length) {
          const body = this.#got.subarray(end + 4, end + 4 + length);
          this.#got = this.#got.subarray(end + 4 + length);
          return { head, body };
        }
      }
      if (this.socket.closed) throw new Error(`the connection ended after ${this.#got.length} bytes`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** A fast path that has the same small file at every target. */
function fastPathOf(t: Test, keepAliveTimeoutMs: number): FastPath {
  const file = join(t.testdir({ small: "content" }), "small");
  const digest = digestOf(Buffer.from("content"));
  const resources = new Resources();
  t.teardown(() => resources.closeIdle());
  const view = {} as TreeView;
  return new FastPath(
    {
      context: { freshView: () => view } as ServeContext,
      resources,
      content: (path) => ({ path, content: { file, size: 7, digest, contentType: "text/plain" } }),
      tally: () => ({ answers: 0, bytes: 0, seconds: 0, durations: [], classOf: () => 0 }),
    },
    { headersTimeoutMs: 5000, keepAliveTimeoutMs },
  );
}

function sorted(head: string): string[] {
  return head
    .replace(/^Date: .*$/m, "Date: now")
    .split("\r\n")
    .sort();
}

t.test("answers as Node's HTTP does, header for header", async (t) => {
  const content = {
    "files/a.rpm": "package",
    "files/e": "",
    "rpms/r/x.rpm": "x",
    "keys/k.asc": "key",
    "files/ü+.txt": "t",
  };
  const { port, url } = await startServer(t, [{ stream: "s", content }]);
  const client = new Client(port);
  t.teardown(() => client.socket.destroy());
  for (const path of [
    "/files/a.rpm",
    "/files/e",
    "/s/s/files/a.rpm",
    "/rpms/r/x.rpm",
    "/keys/k.asc",
    "/files//a.rpm",
  ]) {
    const fast = await client.ask(plain(path));
    const odd = new Client(port);
    const slow = await odd.ask(other(path));
    odd.socket.destroy();
    t.match(fast.head, /^HTTP\/1\.1 200 OK\r\n/, path);
    t.same(sorted(fast.head), sorted(slow.head), path);
    t.same(fast.body, slow.body, path);
    t.match(fast.head, /\r\nDate: \w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT\r\n/);
  }
  t.equal((await client.ask(plain("/files/%C3%BC+.txt"))).body.toString(), "t");
  const metrics = await (await fetch(`${url}/metrics`)).text();
  t.match(metrics, /airferry_http_responses_total\{route="files",status="200"\} \d+\n/);
});

t.test("a connection goes over to Node's HTTP in the middle, and loses nothing", async (t) => {
  const big = randomBytes(300_000);
  const { port } = await startServer(t, [
    { stream: "s", content: { "files/a": "aaa", "files/b": "bbb", "files/big": big } },
  ]);
  for (const turn of [
    `GET /files/a HTTP/1.1\r\n${HOST}Range: bytes=1-1\r\n\r\n`,
    `HEAD /files/a HTTP/1.1\r\n${HOST}\r\n`,
    other("/files/a"),
    plain("/none"),
    plain("/files/big"),
    plain("/"),
    plain("/files/a?x=1"),
  ]) {
    const client = new Client(port);
    t.teardown(() => client.socket.destroy());
    t.equal((await client.ask(plain("/files/a"))).body.toString(), "aaa");
    t.equal((await client.ask(plain("/files/b"))).body.toString(), "bbb");
    const { head, body } = await client.ask(turn);
    t.match(head, /^HTTP\/1\.1 (?:206|200|404) /, turn);
    if (turn.includes("/files/big")) t.ok(body.equals(big));
    t.equal((await client.ask(plain("/files/b"))).body.toString(), "bbb", `after ${turn}`);
  }
  const pieces = new Client(port);
  for (const piece of ["GET /files/a HT", "TP/1.1\r\nHo", "st: x\r\n", "\r\n"]) {
    pieces.socket.write(piece);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.equal((await pieces.next()).body.toString(), "aaa", "a request in pieces");
  pieces.socket.destroy();
  const both = new Client(port);
  both.socket.write(plain("/files/a") + plain("/files/b"));
  t.equal((await both.next()).body.toString(), "aaa");
  t.equal((await both.next()).body.toString(), "bbb", "two at once, in order");
  both.socket.end(plain("/files/a"));
  t.equal((await both.next()).body.toString(), "aaa");
  const ending = await sendRaw(port, plain("/files/b"), 100);
  t.match(ending, /bbb$/);
  const half = new Client(port);
  half.socket.end(plain("/files/b"));
  t.equal((await half.next()).body.toString(), "bbb", "a client that has nothing more to say gets its answer");
  await once(half.socket, "close");
});

t.test("a client that has nothing more to say gets its answer, although the file has to be read first", async (t) => {
  const { port } = await startServer(t, [{ stream: "s", content: { "files/cold": "cold", "files/ice": "ice" } }]);
  for (const name of ["cold", "ice", "cold"]) {
    const half = new Client(port);
    half.socket.end(plain(`/files/${name}`));
    t.equal((await half.next()).body.toString(), name);
    if (!half.socket.closed) await once(half.socket, "close");
  }
});

t.test("a client that has nothing more to say gets long and slow answers, too", async (t) => {
  const big = randomBytes(8 * 1024 * 1024);
  const { port } = await startServer(t, [{ stream: "s", content: { "files/big": big, "files/a": "aaa" } }]);
  for (const before of ["", plain("/files/a"), other("/files/a")]) {
    const half = new Client(port);
    if (before !== "") await half.ask(before);
    half.socket.end(plain("/files/big") + plain("/files/a"));
    half.socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 200));
    half.socket.resume();
    t.ok((await half.next()).body.equals(big));
    t.equal((await half.next()).body.toString(), "aaa", "and what it asked for behind that");
    if (!half.socket.closed) await once(half.socket, "close");
  }
});

t.test("a flood of pipelined requests is cut before Node has made objects of all", async (t) => {
  const { port } = await startServer(t, [{ stream: "s", content: { "files/a": "aaa" } }]);
  let made = 0;
  const count = (): void => {
    made++;
  };
  subscribe("http.server.request.start", count);
  t.teardown(() => unsubscribe("http.server.request.start", count));
  const flood = new Client(port);
  flood.socket.pause();
  flood.socket.write(plain("/files/").repeat(1500));
  flood.socket.resume();
  if (!flood.socket.closed) await new Promise((resolve) => flood.socket.once("close", resolve));
  t.ok(made > 0 && made < 300, `${made} of 1500`);
});

t.test("a connection is kept a little longer than it was promised", async (t) => {
  const fast = fastPathOf(t, 1000);
  const server = createServer({ allowHalfOpen: true }, (socket) => fast.accept(socket, () => socket.destroy()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const client = new Client((server.address() as AddressInfo).port);
  t.match((await client.ask(plain("/a"))).head, /\r\nKeep-Alive: timeout=1(?:\r\n|$)/);
  await new Promise((resolve) => setTimeout(resolve, 1400));
  t.equal((await client.ask(plain("/b"))).body.toString(), "content");
  if (!client.socket.closed) await once(client.socket, "close");
});

t.test("what is known of a target does not keep the request that asked for it", async (t) => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  const fast = fastPathOf(t, 1000);
  const padding = `X-Padding: ${"p".repeat(3900)}\r\n`;
  const learn = (target: string): void => {
    const bytes = Buffer.from(`GET ${target} HTTP/1.1\r\n${HOST}${padding}\r\n`);
    const request = fast.parse(bytes, bytes.length);
    fast.find(request!, new Socket());
  };
  for (let i = 0; i < 100; i++) learn(`/first/target/${i}`);
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 5000; i++) learn(`/other/target/${i}`);
  collect();
  const grown = (process.memoryUsage().heapUsed - before) / 5000;
  t.ok(grown < 2000, `${grown.toFixed(0)} bytes for each target`);
});

t.test("clients that read slowly get all of it, in order, whatever else is sent meanwhile", async (t) => {
  const content = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`files/f${i}`, randomBytes(120_000 + i)]));
  const { port } = await startServer(t, [{ stream: "s", content }]);
  const clients = Array.from({ length: 4 }, () => new Client(port));
  for (const it of clients) {
    it.socket.pause();
    t.teardown(() => it.socket.destroy());
  }
  for (let i = 0; i < 40; i++) {
    for (const it of clients) it.socket.write(plain(`/files/f${i}`));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  for (const it of clients) it.socket.resume();
  for (const it of clients) {
    for (let i = 0; i < 40; i++) {
      if (!(await it.next()).body.equals(content[`files/f${i}`]!)) t.fail(`wrong bytes of ${i}`);
    }
  }
  t.pass("forty files each");
});

t.test("a replaced release is never answered from what was known of the one before", async (t) => {
  const { port, store } = await startServer(t, [{ stream: "s", content: { "files/a": "old", "files/gone": "gone" } }]);
  const client = new Client(port);
  t.teardown(() => client.socket.destroy());
  for (let i = 0; i < 5; i++) t.equal((await client.ask(plain("/files/a"))).body.toString(), "old");
  t.equal((await client.ask(plain("/files/gone"))).body.toString(), "gone");
  await store.put({ stream: "s", serial: 2, content: { "files/a": "new" } });
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const { head, body } = await client.ask(plain("/files/a"));
  t.equal(body.toString(), "new");
  t.match(head, digestOf(Buffer.from("new")));
  t.match((await client.ask(plain("/files/gone"))).head, /^HTTP\/1\.1 404 /);
});

t.test("a file that was changed or replaced on the disk never goes out; one that was mended does", async (t) => {
  // More than is kept in memory, so that they are read each time.
  const content = Object.fromEntries(
    Array.from({ length: 600 }, (_, i) => [`files/f${i}`, `${i} `.padEnd(20_000, "x")]),
  );
  const { port, store, messages } = await startServer(t, [{ stream: "s", content }]);
  const client = new Client(port);
  t.teardown(() => client.socket.destroy());
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 600; i++) {
      const { body } = await client.ask(plain(`/files/f${i}`));
      if (body.toString() !== content[`files/f${i}`]) t.fail(`wrong bytes of ${i}`);
    }
  }
  const files = Array.from({ length: 600 }, (_, i) => store.blobPath(digestOf(Buffer.from(content[`files/f${i}`]!))));
  const good = await readFile(files[599]!);
  const dir = await temporaryDir(t);
  for (const file of files) await writeFile(file, "evil".padEnd(20_000, "x"));
  let refused = 0;
  for (let i = 0; i < 600; i++) {
    const one = new Client(port);
    const { head, body } = await one.ask(plain(`/files/f${i}`)).catch(() => ({ head: "cut", body: good }));
    one.socket.destroy();
    if (/^HTTP\/1\.1 200 /.test(head)) t.equal(body.toString(), content[`files/f${i}`], "from memory");
    else refused++;
  }
  t.ok(refused > 100, `${refused} were read and refused`);
  t.match(messages.join("\n"), /a file of the store is damaged/);
  await writeFile(join(dir, "good"), good);
  await rm(files[599]!);
  await rename(join(dir, "good"), files[599]!);
  t.equal((await new Client(port).ask(plain("/files/f599"))).body.toString(), content["files/f599"], "mended");
});

t.test("silent connections end in time, with the answer that Node gives", { timeout: 40_000 }, async (t) => {
  const { port } = await startServer(t, [{ stream: "s", content: { "files/a": "a" } }]);
  const started = performance.now();
  const got = await sendRaw(port, "", 30_000);
  t.match(got, /^HTTP\/1\.1 408 Request Timeout\r\nConnection: close\r\n\r\n$/);
  t.ok(performance.now() - started < 27_000);
});
