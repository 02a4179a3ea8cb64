/** A tree in a bucket: in which order it changes, what stays, what is found to be wrong, and who is refused. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { exportTree } from "../../src/export.ts";
import { digestOf } from "../../src/io/digest.ts";
import { IsoImage } from "../../src/iso/iso-image.ts";
import { Bucket, openBucket } from "../../src/s3/bucket.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { faultsOf } from "../fixtures/bucket-reader.ts";
import { noise } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { TestImages } from "../fixtures/images.ts";
import { directory, dots, makeIso, NM, PX, SECTOR, SL } from "../fixtures/iso-maker.ts";
import { scratch } from "../fixtures/program.ts";
import { makeRepository } from "../fixtures/rpm-metadata.ts";
import { startFaultyProxy } from "../fixtures/s3-faults.ts";
import { startGateway } from "../fixtures/s3-gateway.ts";
import { createTestStore, type TestRelease, type TestStore } from "../fixtures/store-reader.ts";

const skip = !needs(t, "versitygw");
const root = scratch(t, "af-bucket-tree");
const gateway = skip ? undefined : await startGateway(join(root, "gateway"));
t.teardown(() => gateway?.stop());
Object.assign(process.env, gateway?.env);
const BASE = "http://mirror.example.com";
const REPOSITORIES = ["rpms/r"];
const TAGS = ["quay.io/lab/app:v1", "lab/app:v1"];
let count = 0;

interface Bench {
  store: TestStore;
  name: string;
  write(more?: Partial<Parameters<typeof exportTree>[0]>): ReturnType<typeof exportTree>;
  /** Path of an object in the gateway's folder. */
  at(key: string): string;
  read(key: string): string;
  bucket: Bucket;
}

async function bench(t: Test, ...releases: TestRelease[]): Promise<Bench> {
  if (gateway === undefined) throw new Error("no gateway");
  const store = createTestStore(join(root, `store-${count}`));
  mkdirSync(store.dir);
  for (const it of releases) await store.put(it);
  const prefix = `trees/t-${count++}`;
  const name = gateway.name(prefix);
  const at = (key: string) => join(gateway.data, gateway.bucket, prefix, key);
  const bucket = await openBucket(parseS3Target(name));
  t.teardown(() => bucket.close());
  return {
    store,
    name,
    at,
    bucket,
    read: (key) => readFileSync(at(key), "utf8"),
    write: (more = {}) =>
      exportTree({ dir: name, store: store.dir, base: BASE, openStore: async () => store, ...more }),
  };
}

/** A release in which everything that moves is another than in the one before, and some of the rest. */
async function everything(serial: number): Promise<TestRelease> {
  const packages = [
    { name: "same", evr: "1-1" },
    { name: "tool", evr: `${serial}-1` },
  ];
  const repository = await makeRepository(packages, { revision: String(serial) });
  const images = new TestImages();
  const parts = ["linux/amd64", "linux/arm64"].map((it) => images.image(it, [{ "etc/motd": `${it} ${serial}\n` }]));
  const app = images.index(parts);
  const content: Record<string, string | Uint8Array> = {
    ...images.content(),
    "files/same": "same",
    "files/tool": `tool ${serial}`,
    [`files/only-${serial}`]: "only",
  };
  for (const [path, bytes] of repository.files) content[`rpms/r/${path}`] = bytes;
  for (const it of ["same-1-1", `tool-${serial}-1`]) content[`rpms/r/Packages/${it}.noarch.rpm`] = it;
  const catalog = {
    files: [{ path: "files/tool" }],
    images: [images.catalogImage("quay.io/lab/app:v1", app, { manifests: parts.map((it) => it.digest) })],
  };
  return { stream: "a", serial, content, catalog };
}

/** Calls back before each object is written. */
function beforeEachPut(t: Test, hear: (key: string, bucket: Bucket) => Promise<void> | void): string[] {
  const keys: string[] = [];
  const { put } = Bucket.prototype;
  t.intercept(Bucket.prototype, "put", {
    value: async function (this: Bucket, ...args: Parameters<typeof put>) {
      keys.push(args[0]);
      await hear(args[0], this);
      return put.apply(this, args);
    },
  });
  return keys;
}

t.test("whoever reads while it changes finds all that it is led to", { skip }, async (t) => {
  const { store, write, at, read } = await bench(t, await everything(1));
  t.match(await write(), { changed: true, generation: "1", removed: { files: 0 }, foreign: 0 });
  const faults: string[] = [];
  let pairs = 0;
  const keys = beforeEachPut(t, () => {
    faults.push(...faultsOf(at(""), REPOSITORIES, TAGS));
    const sum = digestOf(readFileSync(at("files/tool"))).slice("sha256:".length);
    if (!read("files/tool.sha256").startsWith(sum)) pairs++;
  });
  for (const serial of [2, 3]) {
    await store.put(await everything(serial));
    keys.length = 0;
    t.match(await write(), { changed: true, generation: String(serial) });
    t.strictSame(faults, [], "no reader is led to what is not there");
    const last = (pattern: RegExp) => keys.findLastIndex((it) => pattern.test(it) && !it.startsWith(".airferry/"));
    const first = (pattern: RegExp) => keys.findIndex((it) => pattern.test(it));
    t.ok(last(/\.rpm$|-primary\./) < first(/repomd\.xml$/), "packages and metadata, then repomd.xml");
    t.ok(last(/images\/blobs\/\w+\/\w+$|manifests\/sha256:/) < first(/manifests\/v1$/), "contents, then tags");
    t.ok(last(/manifests\/v1$/) < first(/^index\.html$/), "then pages");
    t.notOk(keys.includes("files/same"), "what is the same is not written");
    t.equal(read("files/tool"), `tool ${serial}`);
  }
  t.ok(pairs > 0 && pairs < 20, `a file and its sidecars are apart for a moment: at ${pairs} of ${keys.length} writes`);
  t.ok(existsSync(at("rpms/r/Packages/tool-2-1.noarch.rpm")), "what the generation before led to is there");
  t.ok(existsSync(at("files/only-2")));
  t.notOk(existsSync(at("rpms/r/Packages/tool-1-1.noarch.rpm")), "what the one before that had is not");
  t.notOk(existsSync(at("files/only-1")));
  t.strictSame(faultsOf(at(""), REPOSITORIES, TAGS), []);
  t.equal(readdirSync(at(".airferry/lists")).length, 2, "the lists of both");

  keys.length = 0;
  t.match(await write(), { changed: false, generation: "3", written: { files: 0, bytes: 0 }, removed: { files: 0 } });
  t.strictSame(keys, [], "the same again writes nothing");
  t.match(await write({ base: undefined }), { changed: true, base: null });
  t.notOk(existsSync(at("config/airferry.repo")), "what leads to a rendered address goes at once");
});

t.test("objects say what they are", { skip }, async (t) => {
  const { write, bucket } = await bench(t, await everything(1));
  await write();
  const says = async (key: string) => (await bucket.head(key))?.headers;
  const immutable = "public, max-age=31536000, immutable";
  const index = await says("v2/lab/app/manifests/v1");
  t.match(index, { contentType: "application/vnd.oci.image.index.v1+json", cacheControl: "no-cache" });
  const digest = index?.metadata?.["docker-content-digest"] ?? "";
  t.match(await says(`v2/lab/app/manifests/${digest}`), { contentType: index?.contentType, cacheControl: immutable });
  // A browser would run the scripts of XML at a website, which sends no policy.
  const bytes = "application/octet-stream";
  t.match(await says("rpms/r/repodata/repomd.xml"), { contentType: bytes, cacheControl: "no-cache" });
  t.match(await says("index.html"), { contentType: "text/html; charset=utf-8", cacheControl: "no-cache" });
  for await (const { key, size } of bucket.list("")) {
    if (/^images\/blobs\/sha256\/[0-9a-f]{64}$|\/repodata\/[0-9a-f]{64}-/.test(key))
      t.match(await says(key), { cacheControl: immutable }, key);
    if (!/^v2\/.*\/blobs\//.test(key)) continue;
    t.match(await says(key), { redirect: /^\/images\/blobs\/sha256\/[0-9a-f]{64}$/ }, key);
    t.equal(size, 0);
  }
});

t.test("what others changed is put right; what they brought stays", { skip }, async (t) => {
  const { write, read, bucket, store } = await bench(t, await everything(1));
  await write();
  await bucket.put("files/tool", Buffer.from("tool X"));
  await bucket.remove(["files/same"]);
  await bucket.put("favicon.ico", Buffer.from("icon"));
  t.match(await write(), { changed: true, generation: "1", written: { files: 2 }, foreign: 1 });
  t.equal(read("files/tool"), "tool 1");
  t.match(await write(), { changed: false });
  // The same bytes with other headers have the same ETag.
  await bucket.put("index.html", readFileSync(join(gateway?.data ?? "", "airferry", bucket.fullKey("index.html"))));
  t.match(await write(), { changed: false });
  t.match(await write({ recheck: true }), { changed: true, written: { files: 1 } });
  t.match((await bucket.head("index.html"))?.headers, { contentType: /html/ });
  // Without its list everything is looked at, and nothing is sent again.
  for await (const { key } of bucket.list(".airferry/lists/")) await bucket.remove([key]);
  t.match(await write(), { changed: false, foreign: 1 });
  await store.put(await everything(2));
  t.match(await write(), { generation: "2" });
  t.equal(read("favicon.ico"), "icon");
});

t.test("a large file goes up in parts, once; a damaged blob stops it", { skip }, async (t) => {
  const large = noise(17_000_000, 5);
  const content = { "files/large": large, "files/small": "small" };
  const { write, at, read, bucket, store } = await bench(t, { stream: "a", content });
  await write();
  t.ok(readFileSync(at("files/large")).equals(large));
  t.match((await bucket.head("files/large"))?.headers, { cacheControl: "no-cache" });
  t.match(await write({ recheck: true }), { changed: false, written: { bytes: 0 } });
  for (const [path, other] of [
    ["files/large", noise(17_000_000, 6)],
    ["files/small", Buffer.from("other")],
  ] as const) {
    await store.put({ stream: "a", serial: 2, content: { ...content, [path]: other } });
    const blob = store.blobPath(digestOf(other));
    const wrong = Buffer.from(other);
    wrong[4] = (wrong[4] ?? 0) ^ 1;
    writeFileSync(blob, wrong);
    const before = readFileSync(at("index.html"));
    for (let tries = 0; tries < 2; tries++) {
      await t.rejects(write(), { code: "ERR_STORE_INVALID", path: blob });
      t.match(JSON.parse(read(".airferry/tree.json")).pending, { length: 1 }, "what will be written is said once");
    }
    t.ok(readFileSync(at(path)).equals(Buffer.from(content[path])), "what was served is served on");
    t.ok(readFileSync(at("index.html")).equals(before));
    writeFileSync(blob, other);
    // As a run that was killed leaves it.
    const begin = (key: string) =>
      bucket.attempt("write", key, (client, signal) => client.createUpload(bucket.fullKey(key), signal));
    await begin("files/small");
    const foreign = { key: bucket.fullKey("elsewhere/theirs"), id: await begin("elsewhere/theirs") };
    t.match(await write(), { changed: true });
    const left = await bucket.attempt("list", "", (client, signal) => client.listUploads(bucket.fullKey(""), signal));
    t.match(left, [foreign], "only what others are sending stays");
    t.equal(left.length, 1);
    await bucket.attempt("stop", "", (client, signal) => client.abortUpload(foreign, signal));
    t.ok(readFileSync(at(path)).equals(other));
    await store.put({ stream: "a", serial: 3, content });
    await write();
  }
});

t.test("names that are ours elsewhere stay what they are", { skip }, async (t) => {
  const content = { "files/docs/index.html": "<script>x</script>", [`files/${"long/".repeat(199)}name`]: "long" };
  const { write, read, bucket } = await bench(t, { stream: "a", content });
  const { leftOut, notes } = await write();
  t.equal(read("files/docs/index.html"), content["files/docs/index.html"]);
  t.match((await bucket.head("files/docs/index.html"))?.headers, { contentType: "application/octet-stream" });
  t.match(notes.join("\n"), /files\/docs\/index\.html: another file has the name/);
  t.match(notes.join("\n"), /long\/.*: S3 has names of at most 1024 bytes/);
  t.ok(leftOut > 1);
});

t.test("ISOs: files inside, and links to folders are folders", { skip }, async (t) => {
  const link = (name: string, ...parts: [number, string][]) => ({
    id: name.toUpperCase().slice(0, 8),
    block: 0,
    size: 0,
    use: Buffer.concat([PX(0o120777), NM(name), SL(...parts)]),
  });
  const file = { id: "FILE.TXT", block: 22, size: 7, use: Buffer.concat([PX(0o100644), NM("file.txt")]) };
  const iso = makeIso(
    [
      { id: "REAL", block: 21, size: SECTOR, flags: 2, use: Buffer.concat([PX(0o40755), NM("real")]) },
      link("alias.txt", [0, "real"], [0, "file.txt"]),
      link("folder", [0, "real"]),
      link("loop", [2, ""]),
    ],
    new Map([
      [21, directory([...dots(21, 20), file])],
      [22, Buffer.from("inside\n")],
    ]),
  );
  const release = {
    stream: "a",
    content: { "isos/d.iso": iso },
    catalog: { isos: [{ name: "d", path: "isos/d.iso" }] },
  };
  const { write, read, at, bucket } = await bench(t, release);
  const written = await write();
  for (const it of ["real/file.txt", "alias.txt", "folder/file.txt"]) t.equal(read(`isos/d/${it}`), "inside\n", it);
  t.match(written.notes.join("\n"), /isos\/d\/loop: it is a link to a folder that it is in/);
  const walked = t.intercept(IsoImage.prototype, "walk", {
    value: () => {
      throw new Error("the image is read again");
    },
  });
  t.match(await write(), { changed: false });
  t.equal(walked().length, 0);
  // What is missing is read from the image without a walk.
  await (await openBucket(parseS3Target(written.dir))).remove(["isos/d/real/file.txt"]);
  t.match(await write(), { written: { files: 1 } });
  t.equal(read("isos/d/real/file.txt"), "inside\n");
  walked.restore();
  // A note of what is in the image that somebody changed is not believed, and put right.
  const note = `.airferry/isos/${readdirSync(at(".airferry/isos"))[0]}`;
  const right = read(note);
  for (const wrong of [right.replace(/"[0-9a-f]{64}"/, `"${"a".repeat(64)}"`), right.replace(/\["real[^\]]*\],/, "")]) {
    t.not(wrong, right);
    await bucket.put(note, Buffer.from(wrong));
    t.match(await write(), { generation: "1", written: { files: 1 } });
    t.equal(read(note), right);
  }
  t.match(await write({ isos: "none" }), { changed: true });
  t.ok(existsSync(at("isos/d.iso")));
});

t.test("two at once: one is told to wait; who lost the lock changes nothing more", { skip }, async (t) => {
  const { store, write, read, bucket } = await bench(t, await everything(1));
  const results = await Promise.allSettled([write(), write()]);
  t.strictSame(results.map((it) => (it.status === "rejected" ? (it.reason as { code: string }).code : "done")).sort(), [
    "ERR_BUSY",
    "done",
  ]);
  await store.put(await everything(2));
  const state = read(".airferry/tree.json");
  let seen = 0;
  beforeEachPut(t, async (key) => {
    // As another process does that takes it for gone; the list of what will be written comes first.
    if (key.startsWith(".airferry/lists/") && ++seen === 2) await bucket.put(".airferry/lock", Buffer.from("{}"));
  });
  await t.rejects(write(), { code: "ERR_BUSY", message: /process|is working/ });
  t.match(JSON.parse(read(".airferry/tree.json")), { generation: 1, current: JSON.parse(state).current });
  await bucket.put(".airferry/lock", Buffer.from('{"holder":null,"writes":0}\n'));
  t.match(await write(), { generation: "2" });
});

t.test("what is refused", { skip }, async (t) => {
  const { name, write, bucket } = await bench(t, await everything(1));
  if (gateway === undefined) return;
  const { prefix } = parseS3Target(name);
  await bucket.put("mine.txt", Buffer.from("mine"));
  await t.rejects(write(), { code: "ERR_USAGE", message: /it has other objects: "mine\.txt"/ });
  await bucket.remove(["mine.txt"]);
  await bucket.put("airferry-store.json", Buffer.from('{"storeVersion":1}\n'));
  await t.rejects(write(), { code: "ERR_USAGE", message: /it has other objects/ });
  const beside = { hint: /such as 's3:\/\/airferry\/trees\/[^/]+-tree\?endpoint=/ };
  await t.rejects(write(), { code: "ERR_USAGE", ...beside });
  const below = { dir: gateway.name(`${prefix}/below`) };
  await t.rejects(write(below), { code: "ERR_USAGE", message: /it is inside a store/, ...beside });
  await bucket.remove(["airferry-store.json"]);
  await bucket.put(".airferry/tree.json", Buffer.from('{"treeVersion":2}'));
  await t.rejects(write(), { code: "ERR_USAGE", message: /its version is not 1/ });
  await bucket.remove([".airferry/tree.json"]);
  const usage: [Parameters<typeof write>[0], RegExp][] = [
    [{ dir: "s3://b" }, /cannot use tree "s3:\/\/b"/],
    [{ dir: "s3://key:secret@bucket/p" }, /credentials have no place/],
    [{ dir: "gs://bucket/p" }, /only to a folder, or to s3:/],
    [{ link: true }, /cannot make hard links in/],
    [{ isos: "mount" }, /cannot mount ISOs in/],
  ];
  for (const [options, message] of usage)
    await t.rejects(write(options), { code: "ERR_USAGE", message }, JSON.stringify(options));
  // The command that a hint has writes the same tree, not one without the rest of the flags.
  const flags = { isos: "mount", base: "http://a.example", stream: "everything" } as const;
  const words = / --base http:\/\/a\.example --isos none --stream everything$/;
  await t.rejects(write(flags), { code: "ERR_USAGE", hint: words });
  await t.rejects(write({ dir: `s3://nothing-here/x?endpoint=${gateway.endpoint}` }), {
    code: "ERR_NOT_FOUND",
    message: /cannot read "\.airferry\/tree\.json" of tree ".*": there is no bucket "nothing-here"/,
  });
  process.env["AWS_SECRET_ACCESS_KEY"] = "wrong";
  await t.rejects(write(), { code: "ERR_OBJECT_STORAGE", message: /SignatureDoesNotMatch/ });
  Object.assign(process.env, gateway.env);

  const proxy = await startFaultyProxy(gateway.endpoint);
  t.teardown(() => proxy.close());
  const through = { dir: name.replace(gateway.endpoint, proxy.endpoint) };
  for (const [status, code] of [
    [403, "ERR_OBJECT_STORAGE"],
    [507, "ERR_SPACE"],
  ] as const) {
    proxy.fault = ({ method, url = "" }) => (method === "PUT" && url.includes("/files/") ? { status } : undefined);
    await t.rejects(write(through), { code, path: /trees/ });
  }
  proxy.fault = ({ method }, n) => (method === "PUT" && n % 9 === 0 ? { reset: true } : undefined);
  t.match(await write(through), { changed: true, generation: "1" }, "after all of it, and with lost connections");
});
