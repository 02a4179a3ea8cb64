/** Stores in object storage under all verbs that keep house in them; versioned and locked buckets; what others changed. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { fsck } from "../../src/fsck.ts";
import { readLines, verifyJournal } from "../../src/journal.ts";
import { prune } from "../../src/prune.ts";
import { receipt } from "../../src/receipt.ts";
import { rollback } from "../../src/rollback.ts";
import { openBucket } from "../../src/s3/bucket.ts";
import { S3Lease } from "../../src/s3/s3-lease.ts";
import { parseS3Target } from "../../src/s3/s3-target.ts";
import { status } from "../../src/status.ts";
import { checkStore } from "../../src/store/check-store.ts";
import { blobPathIn } from "../../src/store/layout.ts";
import { openNamedStore } from "../../src/store/object-store.ts";
import { unpack } from "../../src/unpack.ts";
import { startBucketBench } from "../fixtures/bucket-bench.ts";
import { makeBundle, noise, sampleFiles, sha256 } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";
import { refused } from "../fixtures/refused.ts";
import { startFaultyProxy } from "../fixtures/s3-faults.ts";
import { blobsOf, holds } from "../fixtures/unpacked.ts";

const { skip, root, gateway, key, trust, freshStore } = await startBucketBench(t);
const filesOf = (serial: number) => ({ ...sampleFiles(), "files/n": noise(2_500_000, serial) });
const bundles = [1, 2, 3].map((serial) => {
  const bundle = join(root, `bundle-${serial}`);
  makeBundle(bundle, { files: filesOf(serial), keys: [key], serial });
  return bundle;
});
/** A store with these serials, and the folder in which the gateway keeps its objects. */
async function storeWith(...serials: number[]): Promise<{ store: string; folder: string }> {
  const made = freshStore();
  for (const it of serials) await unpack([bundles[it - 1] ?? ""], { trust, store: made.store });
  return made;
}

t.test("status, rollback, prune, receipt and journal work as on a folder", { skip }, async (t) => {
  const { store, folder } = await storeWith(1, 2, 3);
  const report = await status(store);
  t.match(report, { store, freeBytes: null, incoming: [], problems: [], damaged: [] });
  t.same(
    report.streams[0]?.releases.map((it) => [it.serial, it.current]),
    [
      [1, false],
      [2, false],
      [3, true],
    ],
  );
  t.same(report.blobs, (await status(folder)).blobs);
  t.match(await rollback(store), { changed: true, to: { serial: 2 }, floor: { serial: 3 } });
  t.equal(await holds(folder, filesOf(2)), true);
  t.match(await refused(rollback(store, { to: "9" })), {
    code: "ERR_NOT_FOUND",
    hint: `choose one that is in the store: airferry status --store '${store}'`,
  });
  t.match(await receipt(store, { digests: true, signer: { passphrase: async () => "" } }), {
    releases: [{ serial: 1 }, { serial: 2 }, { serial: 3 }],
  });
  t.match(await prune(store, { keep: 2, dryRun: true }), { releases: ["test/000001"], kept: 2, blobs: 1 });
  t.match(await prune(store, { keep: 2 }), { releases: ["test/000001"], kept: 2, blobs: 1, size: 2_500_000 });
  t.same(readdirSync(join(folder, "releases/test")).sort(), ["000002", "000003", "current", "floor.json"]);
  t.match(await checkStore(folder), { ok: true, releases: 2 });
  t.match(await verifyJournal(store), { lines: 6, missing: [] });
  t.same(
    (await readLines(store)).lines.map((it) => `${it.action} ${it.result}`),
    ["unpack done", "unpack done", "unpack done", "rollback done", "rollback refused", "prune done"].map((it) =>
      it.replace("refused", "failed"),
    ),
  );
  t.same(
    readdirSync(tmpdir()).filter((it) => it.startsWith(`airferry-s3-${process.pid}-`)),
    [],
  );
});

t.test("fsck names what was altered behind the gateway's back, and unpack writes it again", { skip }, async (t) => {
  const { store, folder } = await storeWith(1);
  t.match(await fsck(store), { ok: true, releases: 1 });
  const altered = blobPathIn(folder, `sha256:${sha256(filesOf(1)["files/n"])}`);
  flip(altered, 1_500_000);
  const report = await fsck(store);
  t.match(report, { ok: false, problems: [{ code: "ERR_DIGEST_MISMATCH", pieces: [{ first: 1, count: 1 }] }] });
  const [problem] = report.problems;
  t.match(problem?.path, /^s3:\/\/airferry\/st-\d+\/deep\/blobs\/sha256\//);
  t.match(problem?.message, /files\/n/);
  t.same((await status(store)).damaged.length, 1);
  t.match(await refused(rollback(store, { to: "1" })), { code: "ERR_STORE_INVALID" });
  t.match(await unpack([bundles[0] ?? ""], { trust, store }), { complete: true, written: 2_500_000 });
  t.same((await status(store)).damaged, []);
  t.match(await fsck(store), { ok: true });
  // By the piece, and what is gone altogether, from any bundle that has it.
  flip(altered, 1_500_000);
  const mended = await fsck(store, { repairFrom: [bundles[0] ?? ""], trust });
  t.match(mended, { ok: true, repaired: [{ path: problem?.path, bytes: 1024 * 1024 }] });
  t.match(await fsck(store), { ok: true });
  // Objects that are gone altogether.
  const bucket = await openBucket(parseS3Target(store));
  t.teardown(() => bucket.close());
  await bucket.remove([altered.slice(folder.length + 1)]);
  t.match(await fsck(store), { ok: false, problems: [{ code: "ERR_BUNDLE_INCOMPLETE", message: /^missing/ }] });
  t.match(await fsck(store, { repairFrom: [bundles[0] ?? ""], trust }), {
    ok: true,
    repaired: [{ bytes: 2_500_000 }],
  });
  t.match(await fsck(store), { ok: true });
  await bucket.remove([altered.slice(folder.length + 1)]);
  t.match(await unpack([bundles[0] ?? ""], { trust, store }), { complete: true, written: 2_500_000 });
  t.match(await fsck(store), { ok: true });
});

t.test("a record that was cut is found, and replaced by its bundle's", { skip }, async (t) => {
  const { store, folder } = await storeWith(1, 2);
  const bucket = await openBucket(parseS3Target(store));
  t.teardown(() => bucket.close());
  await bucket.put("releases/test/000002/airferry.json", Buffer.from("{}"));
  const { problems } = await status(store);
  t.match(problems, [{ code: "ERR_STORE_INVALID", path: /^s3:\/\/.*\/releases\/test\/000002$/ }]);
  t.match(await unpack([bundles[1] ?? ""], { trust, store }), { complete: true });
  t.match(await checkStore(folder), { ok: true });
  await bucket.put("releases/test/000002/data.pieces", Buffer.alloc(96));
  t.match(await fsck(store), { ok: false });
  t.match(await fsck(store, { repairFrom: [bundles[1] ?? ""], trust }), {
    ok: true,
    repaired: [{ path: /000002\/data.pieces$/ }],
  });
  t.match(await checkStore(folder), { ok: true });
  // The mark of a record comes last: without it, an import was interrupted.
  await bucket.remove(["releases/test/000001/import.json"]);
  t.match(await status(store), { problems: [], streams: [{ releases: [{ serial: 2 }] }] });
});

t.test("a lease is held by one, given back, and taken from who is gone", { skip }, async (t) => {
  const bucket = await openBucket(parseS3Target(gateway?.name("lease") ?? ""));
  t.teardown(() => bucket.close());
  const times = { lease: 5000, renew: 400 };
  const first = await S3Lease.take(bucket, "lock", times);
  t.match(await refused(S3Lease.take(bucket, "lock", times)), {
    code: "ERR_BUSY",
    message: new RegExp(`process ${process.pid} on`),
  });
  await first.check();
  await first.release();
  const all = await Promise.allSettled(Array.from({ length: 5 }, () => S3Lease.take(bucket, "lock", times)));
  const held = all.flatMap((it) => (it.status === "fulfilled" ? [it.value] : []));
  t.equal(held.length, 1);
  await held[0]?.release();
  const mark = JSON.parse((await bucket.get("lock", 4096))?.bytes.toString() ?? "{}");
  t.equal(mark.holder, null);
  const other = { id: "x", pid: 2 ** 22 + 1, started: "1@elsewhere", host: "another-host", space: "" };
  await bucket.put("lock", Buffer.from(JSON.stringify({ holder: other, writes: 9 })));
  t.match(await refused(S3Lease.take(bucket, "lock", times)), { code: "ERR_BUSY", message: /on another-host/ });
  await new Promise((done) => setTimeout(done, 6600));
  const taken = await S3Lease.take(bucket, "lock", times);
  await bucket.put("lock", Buffer.from(JSON.stringify({ holder: other, writes: 10 })));
  t.match(await refused(taken.check()), { code: "ERR_BUSY" });
  await taken.release();
  t.match(JSON.parse((await bucket.get("lock", 4096))?.bytes.toString() ?? "{}"), { holder: { id: "x" } });
});

t.test("what is no store, or hostile, is refused", { skip }, async (t) => {
  const { store: name } = freshStore();
  const none = await refused(status(name));
  t.match(none, { code: "ERR_NOT_FOUND", message: `cannot open store "${name}": no airferry-store.json there` });
  t.match(none.hint, `--store '${name}'`);
  const bucket = await openBucket(parseS3Target(name));
  t.teardown(() => bucket.close());
  await bucket.put("airferry-store.json", Buffer.from('{"storeVersion":2}'));
  t.match(await refused(status(name)), { code: "ERR_STORE_INVALID", message: /version 2: expected 1/ });
  await bucket.put("airferry-store.json", Buffer.from('{"storeVersion":1}'));
  for (const it of [
    "releases/../../x/current",
    "releases/a b/000001/import.json",
    "trust/..%2fx",
    "releases/test/000001/x/y/z",
  ])
    await bucket.put(it, Buffer.from("x")).catch(() => undefined);
  const before = readdirSync(tmpdir()).length;
  t.match(await status(name), { problems: [], incoming: [] });
  t.ok(Math.abs(readdirSync(tmpdir()).length - before) < 50);
  t.notOk(existsSync(join(tmpdir(), "x")));
});

t.test("versioned buckets, and those with object lock, are stores as well", { skip }, async (t) => {
  if (gateway === undefined) return;
  const S3 = await import("@aws-sdk/client-s3");
  const client = new S3.S3Client({ endpoint: gateway.endpoint, region: "us-east-1", forcePathStyle: true });
  t.teardown(() => client.destroy());
  await client.send(new S3.CreateBucketCommand({ Bucket: "locked", ObjectLockEnabledForBucket: true }));
  const rule = { DefaultRetention: { Mode: "GOVERNANCE" as const, Days: 1 } };
  await client.send(
    new S3.PutObjectLockConfigurationCommand({
      Bucket: "locked",
      ObjectLockConfiguration: { ObjectLockEnabled: "Enabled", Rule: rule },
    }),
  );
  const store = gateway.name("st").replace("s3://airferry", "s3://locked");
  for (const it of bundles) t.match(await unpack([it], { trust, store }), { complete: true });
  t.match(await rollback(store), { changed: true });
  t.match(await prune(store, { keep: 2 }), { releases: ["test/000001"] });
  t.match(await unpack([bundles[2] ?? ""], { trust, store }), { complete: true });
  t.match(await fsck(store), { ok: true, releases: 2 });
  const versions = await client.send(
    new S3.ListObjectVersionsCommand({ Bucket: "locked", Prefix: "st/releases/test/current" }),
  );
  t.ok((versions.Versions?.length ?? 0) >= 4, "each switch is a version");
  t.notOk(
    versions.DeleteMarkers?.some((it) => it.Key?.endsWith("/current")),
    "what is written on a condition is never deleted",
  );
});

t.test("a small store is opened with few requests", { skip }, async (t) => {
  const { store } = await storeWith(1);
  const open = await openNamedStore(store);
  t.teardown(() => open.close());
  t.equal(open.name, store);
  t.ok(blobsOf(open.dir).length === 0, "no blob is local");
  t.equal(readFileSync(join(open.dir, "releases/test/current"), "utf8"), "000001\n");
});

t.test("who lost the lock while the storage failed removes nothing any more", { skip }, async (t) => {
  if (gateway === undefined) return;
  const { store, folder } = await storeWith(1, 2, 3);
  const before = blobsOf(folder);
  const proxy = await startFaultyProxy(gateway.endpoint);
  t.teardown(() => proxy.close());
  const bucket = await openBucket(parseS3Target(store, {}));
  t.teardown(() => bucket.close());
  const isDelete = (it: string) => /^POST \S+\?delete/.test(it);
  let blobDeletes = 0;
  proxy.fault = ({ method, url }, n) => {
    if (!isDelete(`${method} ${url}`)) return undefined;
    // Those before are of documents of the release.
    if (existsSync(join(folder, "releases", "test", "000001", "SHA256SUMS"))) return undefined;
    if (++blobDeletes > 1) return undefined;
    void bucket.put("lock", Buffer.from(`{"holder":null,"writes":${1000 + n}}\n`));
    return { delayMs: 500, status: 503 };
  };
  const name = store.replace(gateway.endpoint, proxy.endpoint);
  t.match(await refused(prune(name, { keep: 2 })), { code: "ERR_BUSY" });
  t.equal(blobDeletes, 1, "it is not tried again");
  t.same(blobsOf(folder), before);
});
