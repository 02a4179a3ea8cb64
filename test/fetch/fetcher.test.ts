import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { AirferryError } from "../../src/errors.ts";
import { httpStatusOf } from "../../src/http/failure.ts";
import { HostLimits } from "../../src/http/hosts.ts";
import { integrityOf, patternBytes, RecordingSink, testFetcher } from "../fixtures/fetching.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

const BYTES = patternBytes(5000);

t.test(
  "fetchBytes() returns the body, its status and headers; checks size and every algorithm of the integrity",
  async (t) => {
    const upstream = await startUpstream({
      files: new Map([["/a", BYTES]]),
      behaviour: { "/a": { headers: { "x-more": "yes", "content-type": "text/plain" } } },
    });
    t.teardown(() => upstream.close());
    const fetcher = testFetcher();
    t.teardown(() => fetcher.close());
    const urls = [`${upstream.url}/a`];
    const both = `${integrityOf(BYTES)} ${integrityOf(BYTES, "sha512")}` as const;
    const got = await fetcher.fetchBytes({ urls, maxBytes: 5000, size: 5000, integrity: both });
    t.ok(got.bytes.equals(BYTES));
    t.equal(got.status, 200);
    t.equal(got.headers["x-more"], "yes");
    t.equal(got.contentType, "text/plain");
    t.equal(upstream.requests.length, 1);
    const half = `${integrityOf(Buffer.from("other"))} ${integrityOf(BYTES, "sha512")}` as const;
    await t.rejects(fetcher.fetchBytes({ urls, maxBytes: 5000, integrity: half }), { code: "ERR_UPSTREAM_DIGEST" });
    await t.rejects(fetcher.fetchBytes({ urls, maxBytes: 4999 }), { code: "ERR_UPSTREAM_SIZE" });
    await t.rejects(fetcher.fetchBytes({ urls, maxBytes: 5000, size: 4999 }), { code: "ERR_UPSTREAM_SIZE" });
    await t.rejects(fetcher.fetchBytes({ urls: ["ftp://x/y"], maxBytes: 1 }), { code: "ERR_USAGE" });
    await t.rejects(fetcher.fetchBytes({ urls: [], maxBytes: 1 }), { code: "ERR_INTERNAL" });
  },
);

t.test("fetchBytes() posts a body, again after a failure, and follows 307 with it but not elsewhere", async (t) => {
  const other = await startUpstream();
  t.teardown(() => other.close());
  const upstream = await startUpstream({
    files: new Map<string, UpstreamFile>([["/token", "{}"]]),
    behaviour: {
      "/token": [{ status: 503 }],
      "/moved": { redirect: "/token", redirectStatus: 307 },
      "/away": { redirect: `${other.url}/steal`, redirectStatus: 307 },
    },
  });
  t.teardown(() => upstream.close());
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const post = { maxBytes: 100, method: "POST", body: "grant=x", headers: { "content-type": "text/plain" } } as const;
  for (const path of ["/token", "/moved"]) {
    await fetcher.fetchBytes({ ...post, urls: [upstream.url + path] });
    const last = upstream.requests.at(-1);
    t.equal(last?.method, "POST");
    t.equal(last?.body.toString(), "grant=x");
    t.equal(last?.headers["content-type"], "text/plain");
  }
  await t.rejects(fetcher.fetchBytes({ ...post, urls: [`${upstream.url}/away`] }), { code: "ERR_UPSTREAM_INVALID" });
  t.equal(other.requests.length, 0);
});

t.test("head() asks HEAD, else one byte, else the whole, else says that it does not know", async (t) => {
  const upstream = await startUpstream({
    files: new Map([
      ["/a", BYTES],
      ["/405", BYTES],
      ["/403", BYTES],
      ["/norange", BYTES],
      ["/odd", BYTES],
      ["/chunked", BYTES],
      ["/empty", Buffer.alloc(0)],
      ["/gzip", BYTES],
    ]),
    behaviour: {
      "/405": { refuseHead: 405 },
      "/403": { refuseHead: 403 },
      "/norange": { refuseHead: 501, ignoreRange: true },
      "/chunked": { refuseHead: 405, ignoreRange: true, contentLength: false },
      "/empty": { refuseHead: 405 },
      "/gzip": { gzip: true },
      "/forbidden": { status: 403 },
      "/odd": (request) => (request.method === "HEAD" || request.headers.range ? { status: 501 } : {}),
      "/never": (request) => ({ status: request.method === "HEAD" ? 405 : 501 }),
    },
  });
  t.teardown(() => upstream.close());
  const fetcher = testFetcher();
  t.teardown(() => fetcher.close());
  const head = (path: string) => fetcher.head({ urls: [upstream.url + path] });
  t.match(await head("/a"), { size: 5000, acceptRanges: true, etag: /^"/, lastModified: /GMT/ });
  t.same(
    upstream.requests.map((it) => it.method),
    ["HEAD"],
  );
  t.match(await head("/405"), { size: 5000, acceptRanges: true });
  t.match(await head("/403"), { size: 5000, acceptRanges: true });
  t.ok(upstream.bytesOf("/405") <= 1, "one byte is all that it costs");
  t.match(await head("/norange"), { size: 5000, acceptRanges: false });
  t.equal((await head("/chunked")).size, undefined);
  t.equal((await head("/empty")).size, 0);
  t.equal((await head("/gzip")).size, undefined, "the length of an encoded body says nothing");
  t.match(await head("/odd"), { url: `${upstream.url}/odd`, size: 5000 });
  t.equal(httpStatusOf(await head("/never").catch((error: unknown) => error)), 501);
  const forbidden = await head("/forbidden").catch((error: unknown) => error);
  t.ok(forbidden instanceof AirferryError && httpStatusOf(forbidden) === 403);
  t.equal(httpStatusOf(await head("/missing").catch((error: unknown) => error)), 404);
});

t.test("requests are rewritten, records are not; credentials go by the host really asked", async (t) => {
  const upstream = await startUpstream({ files: new Map([["/proxy/pub/a", BYTES]]) });
  t.teardown(() => upstream.close());
  const fetcher = testFetcher({
    rewrites: [{ from: "https://dl.example.org/pub/", to: `${upstream.url}/proxy/pub/` }],
    env: { T: "tok" },
    hosts: { [upstream.host]: { token_env: "T" } },
  });
  t.teardown(() => fetcher.close());
  const sink = new RecordingSink();
  const head = await fetcher.fetchInto({ urls: ["https://dl.example.org/pub/a"] }, sink);
  t.equal(head.url, "https://dl.example.org/pub/a");
  t.equal(sink.responses[0]?.url, "https://dl.example.org/pub/a");
  t.equal(upstream.requests[0]?.headers.authorization, "Bearer tok");
});

t.test("no more requests than allowed at a time, over kept connections; a 429 lowers it", async (t) => {
  const files = new Map<string, UpstreamFile>(Array.from({ length: 60 }, (_, i) => [`/${i}`, BYTES]));
  const upstream = await startUpstream({ files, behaviour: { "*": { delayMs: 5 } } });
  t.teardown(() => upstream.close());
  const fetcher = testFetcher({ concurrency: 4 });
  t.teardown(() => fetcher.close());
  await Promise.all(
    [...files.keys()].map((path) => fetcher.fetchInto({ urls: [upstream.url + path] }, new RecordingSink())),
  );
  t.equal(upstream.requests.length, 60);
  t.equal(upstream.peak(), 4);
  t.ok(upstream.connections() <= 5, `${upstream.connections()} connections`);

  const limits = new HostLimits(4, 6);
  limits.slowDown("http://a", 0);
  t.equal(limits.limitOf("http://a"), 2);
  limits.slowDown("http://a", 0);
  limits.slowDown("http://a", 0);
  t.equal(limits.limitOf("http://a"), 1);
  for (let i = 0; i < 200; i++) limits.speedUp("http://a");
  t.equal(limits.limitOf("http://a"), 4, "good answers win it back, and no more");
});

t.test("HostLimits keep the order, the total, and lose no place to an abort", async (t) => {
  const limits = new HostLimits(2, 3);
  const order: string[] = [];
  const enter = async (origin: string, name: string, signal?: AbortSignal) => {
    const leave = await limits.enter(origin, signal);
    order.push(name);
    return leave;
  };
  const first = [await enter("a", "a1"), await enter("a", "a2"), await enter("b", "b1")];
  const stop = new AbortController();
  const aborted = enter("a", "a3", stop.signal);
  const fourth = enter("a", "a4");
  const second = enter("b", "b2");
  stop.abort(new Error("stopped"));
  await t.rejects(aborted, /stopped/);
  t.same(order, ["a1", "a2", "b1"]);
  first[0]?.();
  first[0]?.();
  (await fourth)();
  t.same(order.slice(3), ["a4", "b2"].slice(0, order.length - 3));
  first[1]?.();
  (await second)();
  first[2]?.();
  t.same(order, ["a1", "a2", "b1", "a4", "b2"]);
  const all = await Promise.all([limits.enter("a"), limits.enter("a"), limits.enter("b")]);
  t.equal(all.length, 3, "every place is free again");
  limits.slowDown("a", 100);
  all[0]?.();
  const started = performance.now();
  all[1]?.();
  (await limits.enter("a"))();
  t.ok(performance.now() - started > 80, "nobody asks before the time is over");
});

t.test("a killed process is continued by the next, byte for byte, and nothing finished is sent twice", async (t) => {
  const big = patternBytes(8_000_000);
  const upstream = await startUpstream({
    files: new Map([["/big", big]]),
    behaviour: { "/big": (_, n) => (n === 1 ? { drip: { bytes: 200_000, everyMs: 20 } } : {}) },
  });
  t.teardown(() => upstream.close());
  const folder = t.testdir();
  const program = join(folder, "fetch.ts");
  await writeFile(program, fetchProgram());
  const part = join(folder, "part");
  const child = spawn(process.execPath, [program, `${upstream.url}/big`, part], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  await new Promise((resolve) => setTimeout(resolve, 150));
  child.kill("SIGKILL");
  await once(child, "exit");
  const left = (await readFile(part)).length;
  t.ok(left > 0 && left < big.length, `${left} bytes were there`);
  const next = spawn(process.execPath, [program, `${upstream.url}/big`, part], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  next.stdout.resume();
  const [status] = await once(next, "exit");
  t.equal(status, 0);
  t.equal(
    createHash("sha256")
      .update(await readFile(part))
      .digest("hex"),
    createHash("sha256").update(big).digest("hex"),
  );
  t.equal(upstream.requests.length, 2);
  t.equal(upstream.requests[1]?.range, `bytes=${left}-`);
  t.equal(upstream.requests[1]?.status, 206);
});

/** A program that downloads into a file and notes where the bytes are from. */
function fetchProgram(): string {
  const engine = join(import.meta.dirname, "../../src/fetch/fetcher.ts");
  return `
import { appendFileSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { createFetcher } from ${JSON.stringify(engine)};
const [url, part] = process.argv.slice(2);
const note = part + ".json";
let position = existsSync(part) ? statSync(part).size : 0;
const fetcher = createFetcher({ netrc: false, env: {} });
await fetcher.fetchInto({ urls: [url], named: { by: "user" } }, {
  get position() { return position; },
  validator: existsSync(note) ? JSON.parse(readFileSync(note, "utf8")) : undefined,
  async write(chunk) { appendFileSync(part, chunk); position += chunk.length; process.stdout.write("."); },
  async restart() { truncateSync(part, 0); position = 0; },
  began(response) { writeFileSync(note, JSON.stringify(response)); },
});
await fetcher.close();
`;
}
