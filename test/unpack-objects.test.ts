/** unpack into object storage: what is in the bucket is a store, byte for byte; older releases, damage, sets of media. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../src/io/digest.ts";
import { status } from "../src/status.ts";
import { checkStore } from "../src/store/check-store.ts";
import { writeKnownDamage } from "../src/store/known-damage.ts";
import { blobPathIn } from "../src/store/layout.ts";
import { openNamedStore } from "../src/store/object-store.ts";
import { unpack } from "../src/unpack.ts";
import { startBucketBench } from "./fixtures/bucket-bench.ts";
import { makeBundle, noise, sampleFiles, sha256 } from "./fixtures/bundle-maker.ts";
import { flip } from "./fixtures/bundle-tamper.ts";
import { refused } from "./fixtures/refused.ts";
import { blobsOf, holds } from "./fixtures/unpacked.ts";

const { skip, root, key, trust, fresh, freshStore } = await startBucketBench(t);
const files: Record<string, Buffer> = {
  ...sampleFiles(),
  "files/copy-of-513": noise(513, 4),
  "isos/copy.iso": noise(3_300_000, 8),
  "isos/large.iso": noise(17_500_000, 9),
};

t.test("unpack() takes a bundle into a bucket, where it is a store; again is no work", { skip }, async (t) => {
  const bundle = fresh("bundle");
  const { store, folder } = freshStore();
  const notes = { "BOM.html": noise(2_500_000, 5), "BOM.cdx.json": noise(10, 6) };
  const { digest } = makeBundle(bundle, { files, keys: [key], volumeSize: 5_000_000, notes });
  let last = 0;
  let total = 0;
  const report = await unpack([bundle], { trust, store, progress: (done, all) => ([last, total] = [done, all]) });
  t.match(report, { complete: true, already: false, stream: "test", serial: 1, digest });
  t.equal(last, total);
  t.equal(await holds(folder, files), true);
  t.match(await checkStore(folder), { ok: true, releases: 1 });
  t.same(readdirSync(join(folder, "releases/test/000001")).sort(), [
    "BOM.cdx.json",
    "BOM.html",
    "SHA256SUMS",
    "airferry.json",
    "data.pieces",
    "import.json",
    "signatures",
    "trust",
  ]);
  t.equal(readFileSync(join(folder, "journal.jsonl"), "utf8").trim().split("\n").length, 1);
  t.notOk(existsSync(join(folder, "incoming")) && readdirSync(join(folder, "incoming")).length > 0);
  t.match(await unpack([bundle], { trust, store }), { complete: true, already: true, written: 0 });
  t.same(
    readdirSync(tmpdir()).filter((it) => it.startsWith(`airferry-s3-${process.pid}-`)),
    [],
    "the work folder is gone",
  );
});

t.test("unpack() brings a second release, and refuses an older one", { skip }, async (t) => {
  const { store, folder } = freshStore();
  const bundles = [1, 2].map((serial) => {
    const bundle = fresh("bundle");
    makeBundle(bundle, { files: { ...sampleFiles(), "files/n": noise(100, serial) }, keys: [key], serial });
    return bundle;
  });
  const [first = "", second = ""] = bundles;
  await unpack([first], { trust, store });
  const { written } = await unpack([second], { trust, store });
  t.equal(written, 100, "only what is new is sent");
  const back = await refused(unpack([first], { trust, store }));
  t.match(back, { code: "ERR_ROLLBACK" });
  t.notMatch(`${back.message} ${back.hint}`, tmpdir());
  t.equal(readFileSync(join(folder, "releases/test/current"), "utf8"), "000002\n");
  t.match(await unpack([first], { trust, store, allowRollback: true }), { complete: true });
  t.equal(readFileSync(join(folder, "releases/test/current"), "utf8"), "000001\n");
  const lines = readFileSync(join(folder, "journal.jsonl"), "utf8").trim().split("\n");
  t.same(
    lines.map((it) => JSON.parse(it).result),
    ["done", "done", "refused", "done"],
  );
});

t.test("a damaged bundle is refused, nothing wrong is there, and a good copy finishes it", { skip }, async (t) => {
  const { store, folder } = freshStore();
  const [bundle, good] = [fresh("bundle"), fresh("good")];
  makeBundle(bundle, { files, keys: [key], volumeSize: 5_000_000 });
  makeBundle(good, { files, keys: [key], volumeSize: 5_000_000 });
  flip(join(bundle, "data.tar.0003"), 1_000_000);
  const error = await refused(unpack([bundle], { trust, store }));
  t.match(error, { code: "ERR_DIGEST_MISMATCH", problems: [{ path: "data.tar.0003" }] });
  t.notOk(existsSync(join(folder, "releases/test/current")));
  for (const file of blobsOf(folder)) t.equal(sha256(readFileSync(file)), file.slice(-64));
  t.match(await unpack([bundle, good], { trust, store }), { complete: true }, "the other copy is read");
  t.equal(await holds(folder, files), true);
});

t.test("a set of media comes in one command", { skip }, async (t) => {
  const { store, folder } = freshStore();
  const { folders } = makeBundle(fresh("bundle"), { files, keys: [key], volumeSize: 5_000_000, perMedium: 4 });
  t.match(await unpack(folders, { trust, store }), { complete: true });
  t.equal(await holds(folder, files), true);
});

t.test("a delta takes the rest from the bucket, and builds by recipes there", { skip }, async (t) => {
  const { store, folder } = freshStore();
  const base = noise(3_000_000, 40);
  const extra = noise(5000, 41);
  const whole = { ...sampleFiles(), "isos/base.iso": base };
  const [first, second, third] = [fresh("bundle"), fresh("bundle"), fresh("bundle")];
  makeBundle(first, { files: whole, keys: [key] });
  const built = Buffer.concat([
    base.subarray(100, 1_500_100),
    Buffer.alloc(700_000),
    extra,
    base.subarray(7, 2_000_000),
  ]);
  const next = { ...whole, "files/extra": extra, "isos/new.iso": built };
  const ranges = (): [Buffer | undefined, number, number][] => [
    [base, 100, 1_500_000],
    [undefined, 0, 700_000],
    [extra, 0, extra.length],
    [base, 7, 1_999_993],
  ];
  makeBundle(second, {
    files: next,
    fromStore: Object.keys(whole),
    built: { "isos/new.iso": ranges() },
    keys: [key],
    serial: 2,
  });
  const need = join(root, "need.json");
  t.match(await refused(unpack([second], { trust, store })), { code: "ERR_DELTA_BASE", hint: /--need need.json/ });
  t.match(await unpack([second], { trust, store, need }), { complete: false, need: { file: need } });
  await unpack([first], { trust, store });
  t.match(await unpack([second], { trust, store }), { complete: true, written: built.length });
  t.equal(await holds(folder, next), true);
  // What it would be built of is not what it was.
  flip(blobPathIn(folder, digestOf(base)), 1_000_000);
  const other = Buffer.concat([base.subarray(0, 2_000_000), extra]);
  const last = { "files/extra": extra, "isos/other.iso": other };
  const parts: [Buffer | undefined, number, number][] = [
    [base, 0, 2_000_000],
    [extra, 0, extra.length],
  ];
  makeBundle(third, {
    files: last,
    fromStore: ["files/extra"],
    built: { "isos/other.iso": parts },
    keys: [key],
    serial: 3,
  });
  const notices: string[] = [];
  const error = await refused(unpack([third], { trust, store, notice: (it) => notices.push(it) }));
  t.match(error, { code: "ERR_DELTA_BASE", problems: [{ message: /nor can it be built/ }] });
  t.match(notices.join("\n"), /"s3:\/\/airferry\/.*\/blobs\/sha256\/.*" is damaged/);
  t.same((await status(store)).damaged, [digestOf(base)]);
  t.equal(readFileSync(join(folder, "releases/test/current"), "utf8"), "000002\n");
  // The bundle that has it makes it right again.
  t.match(await unpack([first], { trust, store, allowRollback: true }), { complete: true, written: base.length });
  t.match(await unpack([third], { trust, store }), { complete: true });
  t.equal(await holds(folder, last), true);
});

t.test("what was built and is damaged now is built again, whatever the storage says", { skip }, async (t) => {
  const { store, folder } = freshStore();
  const base = noise(100_000, 50);
  const built = Buffer.concat([base, Buffer.alloc(17_000_000)]);
  const [first, second] = [fresh("bundle"), fresh("bundle")];
  makeBundle(first, { files: { "files/base": base }, keys: [key] });
  const operations: [Buffer | undefined, number, number][] = [
    [base, 0, base.length],
    [undefined, 0, 17_000_000],
  ];
  const next = { "files/base": base, "isos/new.iso": built };
  makeBundle(second, {
    files: next,
    fromStore: ["files/base"],
    built: { "isos/new.iso": operations },
    keys: [key],
    serial: 2,
  });
  await unpack([first], { trust, store });
  await unpack([second], { trust, store });
  flip(blobPathIn(folder, digestOf(built)), 9_000_000);
  const opened = await openNamedStore(store);
  const lock = await opened.lock();
  await writeKnownDamage(opened.dir, [digestOf(built)]);
  await opened.save();
  await lock.release();
  await opened.close();
  t.match(await unpack([second], { trust, store }), { complete: true, written: built.length });
  t.equal(await holds(folder, next), true);
});
