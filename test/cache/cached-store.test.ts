/** A server on a store in a bucket, beside one on the same store in a folder: every answer must be the same. */
import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { fsck } from "../../src/fsck.ts";
import { digestOf, hexOf } from "../../src/io/digest.ts";
import { type ServeOptions, type Serving, serve } from "../../src/serve.ts";
import { unpack } from "../../src/unpack.ts";
import { startBucketBench } from "../fixtures/bucket-bench.ts";
import { putStore } from "../fixtures/bucket-store.ts";
import { makeBundle, noise } from "../fixtures/bundle-maker.ts";
import { startFaultyProxy } from "../fixtures/s3-faults.ts";

const MIB = 1024 * 1024;
const { skip, root: dir, gateway, key, trust } = await startBucketBench(t);
const files = {
  "isos/large.iso": noise(5 * MIB + 77, 1),
  "files/exact": noise(2 * MIB, 2),
  "files/small": noise(20_000, 3),
  "files/middle": noise(700_000, 4),
  "files/limit": noise(MIB, 5),
  "files/empty": Buffer.alloc(0),
};
const notes = { "BOM.html": Buffer.from("<!doctype html><title>bill</title>") };

async function unpacked(name: string, serial: number, content: Record<string, Buffer>): Promise<string> {
  const bundle = join(dir, `${name}-${serial}`);
  makeBundle(bundle, { files: content, keys: [key], serial, notes });
  const store = join(dir, name);
  await unpack([bundle], { trust, store });
  return store;
}

const proxy = gateway && (await startFaultyProxy(gateway.endpoint));
t.teardown(() => proxy?.close());

let caches = 0;
async function serving(
  store: string,
  more: Partial<ServeOptions> = {},
): Promise<{ url: string; it: Serving; said: string[]; cache: string }> {
  const cache = more.cache ?? join(dir, `cache-${caches++}`);
  const said: string[] = [];
  const isBucket = store.startsWith("s3:");
  const it = await serve({
    store,
    listen: "127.0.0.1:0",
    graceMs: 200,
    onMessage: (line) => said.push(line),
    ...(isBucket && { cache }),
    ...more,
  });
  t.teardown(() => it.close());
  return { url: it.urls[0] ?? "", it, said, cache };
}

interface Answer {
  status: number;
  headers: Record<string, string>;
  digest: string;
}

async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const answer = await fetch(url, init);
  const headers = Object.fromEntries([...answer.headers].filter(([name]) => name !== "date" && name !== "keep-alive"));
  let body = Buffer.from(await answer.arrayBuffer());
  const boundary = /boundary=(\S+)/.exec(headers["content-type"] ?? "")?.[1];
  if (boundary !== undefined) {
    body = Buffer.from(body.toString("latin1").replaceAll(boundary, "B"), "latin1");
    headers["content-type"] = "multipart";
  }
  return { status: answer.status, headers, digest: createHash("sha256").update(body).digest("hex") };
}

const healthOf = async (url: string) =>
  (await fetch(`${url}/healthz`, { headers: { accept: "application/json" } })).json() as Promise<
    Record<string, unknown>
  >;
const metricOf = async (url: string, name: string) =>
  Number(new RegExp(`^${name} (\\S+)$`, "m").exec(await (await fetch(`${url}/metrics`)).text())?.[1]);

const RANGES = [
  undefined,
  "bytes=0-0",
  "bytes=1048575-1048576",
  "bytes=-1",
  "bytes=-1500000",
  "bytes=2097151-",
  "bytes=3000000-4000000",
  "bytes=0-10,1048570-1048580,-7",
  "bytes=9999999999-",
  "bytes=5-2",
];

t.test("answers are those of the folder, of any kind and range, with two threads", { skip }, async (t) => {
  if (gateway === undefined) return;
  const store = await unpacked("same", 1, files);
  const name = gateway.name("same");
  await putStore(store, name);
  const folder = await serving(store);
  const bucket = await serving(name, { workers: 2 });
  const other = await serving(name, { workers: 1, verifyReads: "always" });
  const paths = [
    "/",
    "/files/",
    "/BOM.html",
    "/files/none",
    ...Object.keys(files).map((it) => `/${it}`),
    "/isos/large.iso.sha256",
  ];
  for (const [at, path] of paths.entries()) {
    // All of them where they mean something else in each place: the large file, a small one, an empty one.
    const isRanged = /large\.iso$|small|empty/.test(path);
    for (const range of isRanged ? RANGES : [undefined, RANGES[(at % (RANGES.length - 1)) + 1]]) {
      const headers = range === undefined ? {} : { range };
      const expected = await ask(folder.url + path, { headers });
      // Cold, from the other thread, warm, and from another server with a cache of its own.
      for (const url of [bucket.url, bucket.url, other.url]) {
        const actual = await ask(url + path, { headers });
        const isPage = path === "/" || path === "/files/none";
        t.same(isPage ? actual.status : actual, isPage ? expected.status : expected, `${path} ${range} ${url}`);
      }
    }
    const [head, etag] = [await ask(folder.url + path, { method: "HEAD" }), undefined];
    t.same(await ask(bucket.url + path, { method: "HEAD" }).then((it) => it.status), head.status, `HEAD ${path}`);
    t.equal(etag, undefined);
  }
  const etag = (await ask(`${bucket.url}/files/exact`)).headers.etag ?? "";
  t.equal((await ask(`${bucket.url}/files/exact`, { headers: { "if-none-match": etag } })).status, 304);
  // Everything was fetched once, whichever thread asked for it.
  const bytes = Object.values(files).reduce((sum, it) => sum + it.length, 0);
  t.equal(await metricOf(bucket.url, "airferry_bucket_fetched_bytes_total"), bytes);
  t.match(await healthOf(bucket.url), { status: "ready", releases: 1, bucketDownSince: null });
});

t.test("many who ask at once for the same have it fetched once", { skip }, async (t) => {
  if (gateway === undefined) return;
  const { url } = await serving(gateway.name("same"), { workers: 2 });
  const expected = createHash("sha256").update(files["isos/large.iso"]).digest("hex");
  const small = createHash("sha256").update(files["files/small"]).digest("hex");
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, at) => ask(`${url}/${at % 3 === 0 ? "files/small" : "isos/large.iso"}`)),
  );
  t.same(new Set(answers.map((it) => it.digest)), new Set([expected, small]));
  t.equal(await metricOf(url, "airferry_bucket_fetched_bytes_total"), files["isos/large.iso"].length + 20_000);
});

t.test("a release that appears is served within two seconds", { skip }, async (t) => {
  if (gateway === undefined) return;
  const store = await unpacked("grows", 1, { "files/a": noise(1000, 8) });
  const name = gateway.name("grows");
  await putStore(store, name);
  const servers = [await serving(name), await serving(name, { workers: 2 })];
  for (const { url } of servers) t.equal((await ask(`${url}/files/b`)).status, 404);
  await unpacked("grows", 2, { "files/b": noise(3_000_000, 9) });
  await putStore(store, name);
  const begin = Date.now();
  for (const { url } of servers) {
    while ((await ask(`${url}/files/b`)).status === 404 && Date.now() - begin < 4000) await sleep(50);
    t.equal((await ask(`${url}/files/b`)).status, 200);
    t.equal((await ask(`${url}/files/a`)).status, 404, "the former release is gone");
  }
  t.ok(Date.now() - begin < 3000, `${Date.now() - begin} ms`);
});

t.test("a bucket that is gone leaves what is cached, and comes back", { skip }, async (t) => {
  if (gateway === undefined || proxy === undefined) return;
  const name = gateway.name("same", proxy.endpoint);
  proxy.fault = () => undefined;
  const { url, cache, it, said } = await serving(name, { workers: 2 });
  const iso = await ask(`${url}/isos/large.iso`, { headers: { range: "bytes=0-1000" } });
  const small = await ask(`${url}/files/small`);
  proxy.fault = () => ({ reset: true });
  const began = Date.now();
  t.match(await ask(`${url}/files/middle`), { status: 503, headers: { "retry-after": "5" } });
  t.ok(Date.now() - began < 5000);
  t.same(await ask(`${url}/isos/large.iso`, { headers: { range: "bytes=0-1000" } }), iso);
  t.same(await ask(`${url}/files/small`), small);
  t.match(await healthOf(url), { status: "degraded", releases: 1 });
  t.match(await (await fetch(`${url}/healthz`)).text(), /^degraded: 1 release; the bucket does not answer since /);
  t.equal(await metricOf(url, "airferry_bucket_up"), 0);
  t.ok((await metricOf(url, "airferry_bucket_errors_total")) > 0);
  const again = Date.now();
  t.equal((await ask(`${url}/files/exact`)).status, 503);
  t.ok(Date.now() - again < 500, "at once: it is known to be gone");
  // A server that starts now serves what is in its cache.
  await it.close();
  const started = await serving(name, { cache });
  t.same(await ask(`${started.url}/isos/large.iso`, { headers: { range: "bytes=0-1000" } }), iso);
  t.match(await healthOf(started.url), { status: "degraded" });
  await t.rejects(serving(name), { code: "ERR_OBJECT_STORAGE" }, "and one without says so");
  proxy.fault = () => undefined;
  for (let wait = 0; (await healthOf(started.url)).status !== "ready" && wait < 60; wait++) await sleep(50);
  t.equal((await ask(`${started.url}/files/middle`)).status, 200);
  t.notMatch(said.join(), /Signature|Credential|airferrytestkey/);
});

t.test("a bucket that only hangs is given up within seconds", { skip }, async (t) => {
  if (gateway === undefined || proxy === undefined) return;
  proxy.fault = () => undefined;
  const { url } = await serving(gateway.name("same", proxy.endpoint));
  t.equal((await ask(`${url}/files/small`)).status, 200);
  proxy.fault = () => ({ delayMs: 60_000 });
  const began = Date.now();
  t.equal((await ask(`${url}/files/middle`)).status, 503);
  t.ok(Date.now() - began < 8000, `${Date.now() - began} ms`);
  t.equal((await ask(`${url}/files/small`)).status, 200);
  proxy.fault = () => undefined;
});

t.test("slow, cut and refusing answers do not reach clients", { skip }, async (t) => {
  if (gateway === undefined || proxy === undefined) return;
  const name = gateway.name("same", proxy.endpoint);
  proxy.fault = () => undefined;
  const { url } = await serving(name);
  let cuts = 0;
  proxy.fault = (request) => {
    if (request.method !== "GET" || !request.url?.includes("/blobs/")) return undefined;
    cuts++;
    return cuts % 2 === 1 ? { cutAfter: 300_000 } : cuts % 4 === 0 ? { status: 503 } : undefined;
  };
  for (const path of Object.keys(files)) {
    const { status, digest } = await ask(`${url}/${path}`);
    t.equal(status, 200, path);
    t.equal(
      digest,
      createHash("sha256")
        .update(files[path as keyof typeof files])
        .digest("hex"),
    );
  }
  t.ok(cuts > 4);
  proxy.fault = () => undefined;
});

t.test("altered blobs are refused, counted, and never sent", { skip }, async (t) => {
  if (gateway === undefined) return;
  const store = await unpacked("altered", 1, files);
  const name = gateway.name("altered");
  await putStore(store, name);
  const blob = (path: keyof typeof files) => {
    const hex = hexOf(digestOf(files[path]));
    return join(gateway.data, "airferry", "altered", "blobs", "sha256", hex.slice(0, 2), hex);
  };
  const spoilt = Buffer.from(files["isos/large.iso"]);
  spoilt[2 * MIB + 5] = (spoilt[2 * MIB + 5] ?? 0) ^ 1;
  writeFileSync(blob("isos/large.iso"), spoilt);
  writeFileSync(blob("files/small"), noise(20_000, 99));
  truncateSync(blob("files/exact"), MIB + 5);
  rmSync(blob("files/middle"));
  const { url } = await serving(name, { workers: 2 });
  const part = { headers: { range: `bytes=0-${MIB - 1}` } };
  t.equal((await ask(`${url}/isos/large.iso`, part)).status, 206, "the pieces before it are right");
  t.equal((await ask(`${url}/isos/large.iso`, { headers: { range: `bytes=${2 * MIB}-${2 * MIB + 9}` } })).status, 500);
  await t.rejects(ask(`${url}/isos/large.iso`), "the connection is cut where it is wrong");
  t.equal((await ask(`${url}/files/small`)).status, 500);
  t.equal((await ask(`${url}/files/middle`)).status, 500);
  await t.rejects(ask(`${url}/files/exact`));
  t.ok((await metricOf(url, "airferry_bucket_refused_total")) >= 4);
  writeFileSync(blob("files/small"), files["files/small"]);
  t.equal((await ask(`${url}/files/small`)).status, 200, "and served once it is right again");
});

t.test("a damaged cache heals, and a foreign folder is refused", { skip }, async (t) => {
  if (gateway === undefined) return;
  const name = gateway.name("same");
  const first = await serving(name);
  const whole = new Map<string, Answer>();
  for (const path of Object.keys(files)) whole.set(path, await ask(`${first.url}/${path}`));
  const { cache } = first;
  const chunks = () =>
    readdirSync(join(cache, "blobs"), { recursive: true, withFileTypes: true })
      .filter((it) => it.isFile())
      .map((it) => join(it.parentPath, it.name));
  const spoil = () => {
    for (const [at, file] of chunks().entries()) {
      if (at % 3 === 0) rmSync(file);
      else if (at % 3 === 1) truncateSync(file, Math.floor(statSync(file).size / 2));
      else writeFileSync(file, noise(statSync(file).size, at));
    }
  };
  spoil();
  for (const [path, it] of whole) t.same(await ask(`${first.url}/${path}`), it, `${path}, while it runs`);
  await first.it.close();
  spoil();
  writeFileSync(join(cache, "releases", "test", "000001", "airferry.json"), "{}");
  const again = await serving(name, { cache, verifyReads: "never" });
  for (const [path, it] of whole) t.same(await ask(`${again.url}/${path}`), it, path);
  await again.it.close();
  rmSync(join(cache, "releases"), { recursive: true });
  const third = await serving(name, { cache });
  t.equal((await ask(`${third.url}/files/small`)).status, 200);

  const foreign = join(dir, "foreign");
  cpSync(join(dir, "same-1"), foreign, { recursive: true });
  await t.rejects(serving(name, { cache: foreign }), { code: "ERR_USAGE", message: /not a cache but another folder/ });
  await t.rejects(serving(gateway.name("grows"), { cache }), { code: "ERR_USAGE", message: /it is the cache of "s3:/ });
  await t.rejects(serving(name, { cache: join(dir, "key.pub") }), { code: "ERR_USAGE", message: /it is a file/ });
  const open = join(dir, "open");
  mkdirSync(open);
  chmodSync(open, 0o777);
  await t.rejects(serving(name, { cache: open }), { code: "ERR_STORE_INVALID", message: /writable by everybody/ });
  await t.rejects(serving(name, { cacheSize: "1MiB" }), { code: "ERR_USAGE", message: /64MiB or more/ });
  await t.rejects(serving(join(dir, "same"), { cache, store: join(dir, "same") }), { code: "ERR_USAGE" });
});

t.test("who is sent to the bucket, and who never is", { skip }, async (t) => {
  if (gateway === undefined || proxy === undefined) return;
  proxy.fault = () => undefined;
  const { url } = await serving(gateway.name("same", proxy.endpoint), { redirect: "above=2MiB", workers: 2 });
  const statusOf = async (path: string) => (await fetch(url + path, { redirect: "manual" })).status;
  t.equal(await statusOf("/files/exact"), 307);
  t.equal(await statusOf("/files/limit"), 200, "it is smaller");
  t.equal(await statusOf("/isos/large.iso"), 200, "installers do not follow");
  const { location } = (await ask(`${url}/files/exact`, { redirect: "manual" })).headers;
  t.equal((await ask(location ?? "")).digest, createHash("sha256").update(files["files/exact"]).digest("hex"));
  proxy.fault = () => ({ reset: true });
  for (let wait = 0; (await healthOf(url)).status === "ready" && wait < 60; wait++) await sleep(50);
  t.equal(await statusOf("/files/exact"), 503, "nobody is sent to a bucket that does not answer");
  proxy.fault = () => undefined;
  for (const redirect of ["64MiB", "above=", "above=x", "below=1MiB"])
    await t.rejects(serving(gateway.name("same"), { redirect }), { code: "ERR_USAGE", message: /--redirect/ });
});

t.test("nobody is sent to what fsck found to be damaged, until it is repaired", { skip }, async (t) => {
  if (gateway === undefined) return;
  const store = await unpacked("known", 1, files);
  const name = gateway.name("known");
  await putStore(store, name);
  const hex = hexOf(digestOf(files["files/exact"]));
  const spoilt = Buffer.from(files["files/exact"]);
  spoilt[5] = (spoilt[5] ?? 0) ^ 1;
  for (const blobs of [join(store, "blobs"), join(gateway.data, "airferry", "known", "blobs")])
    writeFileSync(join(blobs, "sha256", hex.slice(0, 2), hex), spoilt);
  const folder = await serving(store);
  const { url } = await serving(name, { redirect: "above=1MiB", workers: 2 });
  const bundle = join(dir, "known-1");
  const statusOf = async (path: string) => (await fetch(url + path, { redirect: "manual" })).status;
  const becomes = async (status: number) => {
    for (let wait = 0; (await statusOf("/files/exact")) !== status && wait < 100; wait++) await sleep(50);
    t.equal(await statusOf("/files/exact"), status);
  };
  t.equal(await statusOf("/files/exact"), 307, "nobody knows yet");
  t.equal((await fsck(name)).problems.length, 1);
  await becomes(500);
  t.equal((await ask(`${folder.url}/files/exact`)).status, 500, "as of a folder");
  const right = { headers: { range: `bytes=${MIB}-` }, redirect: "manual" as const };
  t.same(await ask(`${url}/files/exact`, right), await ask(`${folder.url}/files/exact`, right), "what is right of it");
  t.equal(await statusOf("/files/limit"), 307, "others are as before");
  await fsck(name, { repairFrom: [bundle], trust });
  await becomes(307);
  const { location } = (await ask(`${url}/files/exact`, { redirect: "manual" })).headers;
  t.equal(digestOf(Buffer.from(await (await fetch(location ?? "")).arrayBuffer())), `sha256:${hex}`);
});

t.test("without the digests of pieces blobs are read whole first", { skip }, async (t) => {
  if (gateway === undefined) return;
  const store = await unpacked("lost", 1, files);
  const name = gateway.name("lost");
  rmSync(join(store, "releases", "test", "000001", "data.pieces"));
  await putStore(store, name);
  const { url } = await serving(name);
  const expected = createHash("sha256").update(files["isos/large.iso"]).digest("hex");
  t.equal((await ask(`${url}/isos/large.iso`)).digest, expected);
  const hex = hexOf(digestOf(files["files/exact"]));
  writeFileSync(join(gateway.data, "airferry", "lost", "blobs", "sha256", hex.slice(0, 2), hex), noise(2 * MIB, 5));
  t.equal((await ask(`${url}/files/exact`)).status, 500);
});
