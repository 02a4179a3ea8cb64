/** Whatever an upstream does without end, each kind of transfer comes to its own: handshakes, heads, bodies, what stands beside them. */
import { type AddressInfo, createServer, type Socket } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const STALL_MS = 250;
/** On a busy machine, with what is tried again. */
const LATEST_MS = 45_000;

/** Answers a request by what it writes to the socket; everything ends with the test. */
async function raw(t: Test, answer: (socket: Socket, head: string) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    let head = "";
    socket.on("data", (bytes) => {
      head += bytes.toString("latin1");
      if (!head.includes("\r\n\r\n") && !head.startsWith("\x16")) return;
      answer(socket, head);
      head = "";
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    for (const it of sockets) it.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Writes `first`, then `more` for as long as the other side is there. */
function drip(socket: Socket, first: string, more: string, everyMs = 30): void {
  socket.write(first);
  const timer = setInterval(() => (socket.destroyed ? clearInterval(timer) : socket.write(more)), everyMs);
}
function flood(socket: Socket, first: string): void {
  socket.write(first);
  const more = Buffer.alloc(64 * 1024, "a");
  const go = () => {
    while (!socket.destroyed && socket.write(more));
  };
  socket.on("drain", go);
  go();
}

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;
const UPSTREAMS: [string, (socket: Socket) => void][] = [
  ["says nothing", () => {}],
  ["drips its status line", (it) => drip(it, "H", "T")],
  ["drips a header", (it) => drip(it, `${OK}X: `, "a")],
  ["drips headers", (it) => drip(it, OK, "X: a\r\n")],
  ["only informs", (it) => drip(it, "", "HTTP/1.1 102 Processing\r\n\r\n")],
  ["drips a body of a length", (it) => drip(it, `${OK}Content-Length: 1000000\r\n\r\n`, "a")],
  ["drips a body without a length", (it) => drip(it, `${OK}\r\n`, "a")],
  ["drips chunks", (it) => drip(it, CHUNKED, "1\r\na\r\n")],
  ["drips a chunk's extension", (it) => drip(it, `${CHUNKED}1;`, "a")],
  ["drips trailers", (it) => drip(it, `${CHUNKED}1\r\na\r\n0\r\nX: `, "a")],
  ["drips the body of a 404", (it) => drip(it, "HTTP/1.1 404 No\r\n\r\n", "a")],
  ["drips the body of a 500", (it) => drip(it, "HTTP/1.1 500 No\r\n\r\n", "a")],
  ["drips the body of a 401", (it) => drip(it, 'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n', "a")],
  ["drips the body of a redirect", (it) => drip(it, "HTTP/1.1 302 Go\r\nLocation: /x\r\n\r\n", "a")],
  ["floods a body", (it) => flood(it, `${OK}\r\n`)],
  ["floods chunks' extension", (it) => flood(it, `${CHUNKED}1;`)],
  ["floods headers", (it) => flood(it, `${OK}X: `)],
  ["floods the body of a 404", (it) => flood(it, "HTTP/1.1 404 No\r\n\r\n")],
  ["floods the body of a redirect", (it) => flood(it, "HTTP/1.1 302 Go\r\nLocation: /x\r\n\r\n")],
];

/** Runs what has to fail, and how long it took. */
async function fails(t: Test, what: string, run: () => Promise<unknown>): Promise<void> {
  const started = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve("it is still going on"), LATEST_MS);
  });
  const error = await Promise.race([
    run().then(
      () => "it was good",
      (it: unknown) => it,
    ),
    late,
  ]);
  clearTimeout(timer);
  t.ok(error instanceof Error, `${what}: ${error} (${Math.round(performance.now() - started)} ms)`);
}

t.test("metadata and artifacts", async (t) => {
  await Promise.all(
    UPSTREAMS.map(async ([what, answer]) => {
      const port = await raw(t, answer);
      const urls = [`http://127.0.0.1:${port}/x`];
      const fetcher = testFetcher({ stallTimeoutMs: STALL_MS, retries: 1 });
      await fails(t, `${what}: metadata`, () => fetcher.fetchBytes({ urls, maxBytes: 5000 }));
      await fails(t, `${what}: a head`, () =>
        fetcher.head({ urls }).then(() => Promise.reject(new Error("a head may be good"))),
      );
      const sink = new RecordingSink();
      await fails(t, `${what}: an artifact`, () => fetcher.fetchInto({ urls, maxBytes: 100_000 }, sink));
      t.ok(sink.position <= 100_000, `${what}: nothing beyond the bound is kept`);
      await fetcher.close();
    }),
  );
});

t.test("handshakes and proxies", async (t) => {
  const silent = await raw(t, () => {});
  const dripping = await raw(t, (socket) => drip(socket, "\x16", "\x03"));
  const proxies: [string, (socket: Socket) => void][] = [
    ["says nothing", () => {}],
    ["drips its head", (it) => drip(it, "HTTP/1.1 200 OK\r\nX: ", "a")],
    ["is silent behind its 200", (it) => it.write("HTTP/1.1 200 OK\r\n\r\n")],
    ["drips the body of a 407", (it) => drip(it, "HTTP/1.1 407 No\r\nContent-Length: 100000\r\n\r\n", "a")],
  ];
  for (const port of [silent, dripping]) {
    const fetcher = testFetcher({ stallTimeoutMs: STALL_MS, retries: 0 });
    await fails(t, "TLS", () => fetcher.fetchBytes({ urls: [`https://127.0.0.1:${port}/`], maxBytes: 10 }));
    await fetcher.close();
  }
  for (const [what, answer] of proxies) {
    const port = await raw(t, answer);
    const env = { https_proxy: `http://127.0.0.1:${port}` };
    const fetcher = testFetcher({ stallTimeoutMs: STALL_MS, retries: 0, env });
    await fails(t, `a proxy ${what}`, () => fetcher.fetchBytes({ urls: ["https://up.example/"], maxBytes: 10 }));
    await fetcher.close();
  }
});

t.test("first sight: max_size, and a bound where there is none", async (t) => {
  const dir = scratch(t);
  const upstream = await startUpstream({
    files: new Map([
      ["/small", "x".repeat(900)],
      ["/x.iso", "x"],
    ]),
    behaviour: {
      "/endless": { endless: true, contentLength: false },
      "/claims": { endless: true, contentLength: 70 * 1024 ** 3 },
      "/x.iso": { contentLength: 5_000_000 },
      "/small": { contentLength: false },
    },
  });
  t.teardown(() => upstream.close());
  const env = { AIRFERRY_CACHE: join(dir, "cache") };
  const tries: [string, object, number, RegExp][] = [
    ["claims 70 GiB", { files: [{ url: `${upstream.url}/claims` }] }, 4, /at most 68719476736 bytes/],
    [
      "claims 70 GiB with a digest and a bound",
      { files: [{ url: `${upstream.url}/claims`, sha256: "0".repeat(64), max_size: "1GiB" }] },
      4,
      /at most 1073741824 bytes/,
    ],
    ["sends without end", { files: [{ url: `${upstream.url}/endless`, max_size: "1MB" }] }, 4, /at most 1000000 bytes/],
    ["sends 900 bytes of 899", { files: [{ url: `${upstream.url}/small`, max_size: "899" }] }, 4, /at most 899 bytes/],
    [
      "an ISO that is larger",
      { isos: [{ name: "x", url: `${upstream.url}/x.iso`, max_size: "4MiB" }] },
      4,
      /at most 4194304 bytes/,
    ],
    ["no size", { files: [{ url: `${upstream.url}/small`, max_size: "much" }] }, 2, /max_size.*must be a size such as/],
    ["sends what may be", { files: [{ url: `${upstream.url}/small`, max_size: "900" }] }, 0, /^/],
  ];
  for (const [what, content, status, message] of tries) {
    const file = writeManifest(dir, content);
    for (const command of what.includes("sends")
      ? [
          ["lock", file],
          ["pack", file, "--unsigned", "--out", `out-${what}`],
        ]
      : [["lock", file]]) {
      const ran = await airferry(dir, [...command, "-q"], env);
      t.equal(ran.status, status, `${what}, ${command[0]}: ${ran.stderr}`);
      t.match(ran.stderr, message);
    }
  }
});
