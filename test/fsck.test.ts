/** fsck finds what a store lost by the piece, and repairs it from whatever bundle has it. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { fsck } from "../src/fsck.ts";
import { digestOf } from "../src/io/digest.ts";
import { prune } from "../src/prune.ts";
import { readNeed } from "../src/receipt/need-file.ts";
import { status } from "../src/status.ts";
import { blobPathIn } from "../src/store/layout.ts";
import { openStore } from "../src/store/store.ts";
import { unpack } from "../src/unpack.ts";
import { makeBundle, makeKey, noise, sha256 } from "./fixtures/bundle-maker.ts";
import { flip } from "./fixtures/bundle-tamper.ts";
import { airferry } from "./fixtures/host.ts";
import { scratch } from "./fixtures/program.ts";

const MIB = 1024 * 1024;
const dir = scratch(t);
const key = makeKey();
const trust = [join(dir, "key.pub")];
writeFileSync(join(dir, "key.pub"), key.pem);
const iso = noise(4 * MIB + 11, 1);
const small = noise(3000, 2);
const notes = { "BOM.html": Buffer.alloc(2000, 8) };
const bundle = join(dir, "bundle");
makeBundle(bundle, { files: { "isos/a.iso": iso, "files/s": small }, keys: [key], volumeSize: MIB, notes });
/** Another stream's bundle, with the same ISO elsewhere. */
const other = join(dir, "other");
makeBundle(other, { files: { "files/first": noise(700, 3), "isos/b.iso": iso }, keys: [key], stream: "other" });

let count = 0;
async function freshStore(from = [bundle]) {
  const store = join(dir, `store-${count++}`);
  for (const it of from) await unpack([it], { trust, store });
  const blob = (bytes: Buffer) => blobPathIn(store, digestOf(bytes));
  return { store, blob, record: join(store, "releases/test/000001") };
}

t.test("a good store is good, and nothing is written", async (t) => {
  const { store } = await freshStore();
  const before = readdirSync(store, { recursive: true }).sort();
  t.match(await fsck(store), { ok: true, releases: 1, problems: [], repaired: [], need: null });
  t.same(readdirSync(store, { recursive: true }).sort(), before);
});

t.test("damage is named by blob, pieces, entries and releases, noted, and written as a need file", async (t) => {
  const { store, blob } = await freshStore([bundle, other]);
  flip(blob(iso), 5);
  flip(blob(iso), 3 * MIB);
  flip(blob(iso), 4 * MIB + 3);
  rmSync(blob(small));
  const need = join(dir, "need.json");
  const report = await fsck(store, { need });
  t.notOk(report.ok);
  const isoProblem = report.problems.find((it) => it.path === blob(iso));
  t.match(isoProblem, {
    code: "ERR_DIGEST_MISMATCH",
    message: /damaged in pieces 0, 3 to 4; it is "other\/000001: isos\/b.iso", "test\/000001: isos\/a.iso"/,
    pieces: [
      { first: 0, count: 1 },
      { first: 3, count: 2 },
    ],
  });
  t.match(
    report.problems.find((it) => it.path === blob(small)),
    { code: "ERR_BUNDLE_INCOMPLETE", message: /missing/ },
  );
  const blobs = [
    {
      digest: digestOf(iso),
      size: iso.length,
      pieces: [
        [0, 1],
        [3, 2],
      ],
    },
    { digest: digestOf(small), size: 3000 },
  ].sort((a, b) => (a.digest < b.digest ? -1 : 1));
  const written = JSON.parse(readFileSync(need, "utf8"));
  t.match(written, {
    mediaType: "application/vnd.airferry.need.v1+json",
    releases: [{ stream: "other" }, { stream: "test" }],
  });
  t.same(written.blobs, blobs);
  await readNeed(need);
  t.same((await status(store)).damaged, [digestOf(iso), digestOf(small)].sort());
});

t.test("it is repaired by the piece, from a damaged part of another stream's bundle", async (t) => {
  const { store, blob } = await freshStore([bundle, other]);
  flip(blob(iso), 2 * MIB + 5);
  // The bundle is damaged too, in another piece.
  const hurt = join(dir, "hurt");
  const { inventory } = makeBundle(hurt, {
    files: { "files/first": noise(700, 3), "isos/b.iso": iso },
    keys: [key],
    stream: "other",
  });
  flip(join(hurt, "data.tar.0000"), (inventory.entries.find((it) => it.path === "isos/b.iso")?.offset ?? 0) + 9);
  const notices: string[] = [];
  const report = await fsck(store, { repairFrom: [hurt], trust, notice: (it) => notices.push(it) });
  t.match(report, { ok: true, repaired: [{ path: blob(iso), bytes: MIB }] });
  t.equal(sha256(readFileSync(blob(iso))), sha256(iso));
  t.equal(statSync(blob(iso)).mode & 0o777, 0o444);
  t.match(notices, [/^repaired ".*" with 1048576 bytes of a bundle$/]);
  t.same((await status(store)).damaged, []);
  t.notOk(readdirSync(store).some((it) => it.startsWith(".tmp-")));
});

t.test("what no single bundle has comes from several, with volumes missing", async (t) => {
  const { store, blob } = await freshStore();
  truncateSync(blob(iso), 100);
  rmSync(blob(small));
  const [a, b] = ["a", "b"].map((name) => {
    const at = join(dir, `part-${name}`);
    makeBundle(at, { files: { "isos/a.iso": iso, "files/s": small }, keys: [key], volumeSize: MIB, notes });
    return at;
  }) as [string, string];
  for (const it of ["data.tar.0000", "data.tar.0001"]) rmSync(join(a, it));
  for (const it of ["data.tar.0003", "data.tar.0004"]) rmSync(join(b, it));
  const half = await fsck(store, { repairFrom: [a], trust });
  t.notOk(half.ok, "the first volumes are missing");
  t.same((await status(store)).damaged.length > 0, true);
  t.match(await fsck(store, { repairFrom: [a, b], trust }), { ok: true });
  t.equal(sha256(readFileSync(blob(iso))), sha256(iso));
  t.equal(sha256(readFileSync(blob(small))), sha256(small));
});

t.test("documents of a release are repaired from its own bundle, and wrong pieces are not believed", async (t) => {
  const { store, record, blob } = await freshStore();
  flip(join(record, "data.pieces"), 70);
  rmSync(join(record, "BOM.html"));
  const found = await fsck(store);
  t.match(found.problems, [{ path: join(record, "data.pieces"), code: "ERR_DIGEST_MISMATCH" }]);
  flip(blob(iso), MIB);
  t.match(await fsck(store, { repairFrom: [other], trust }), {
    problems: [{ path: join(record, "data.pieces") }],
    repaired: [{ path: blob(iso) }],
  });
  t.match(await fsck(store, { repairFrom: [bundle], trust }), { ok: true });
  rmSync(join(record, "data.pieces"));
  t.match(await fsck(store), { problems: [{ path: join(record, "data.pieces"), message: "missing" }] });
  t.match(await fsck(store, { repairFrom: [bundle], trust }), { ok: true });

  const lying = join(dir, "lying");
  const spoilPieces = (right: Buffer | undefined) => {
    const bytes = Buffer.from(right as Buffer);
    bytes[45] = (bytes[45] as number) ^ 1;
    return bytes;
  };
  makeBundle(lying, { files: { "isos/c.iso": iso }, keys: [key], stream: "lying", spoilPieces });
  await unpack([lying], { trust, store });
  t.match(await fsck(store), { ok: true }, "another release has the right ones");
  const alone = await freshStore([lying]);
  const report = await fsck(alone.store);
  t.match(report.problems, [{ code: "ERR_BUNDLE_INVALID", message: /^it is right, but the digests of its pieces/ }]);
});

t.test("unpack does not count on what fsck found to be damaged, and forgets it when it is written again", async (t) => {
  const { store, blob } = await freshStore();
  flip(blob(iso), 1000);
  flip(blob(small), 10);
  await unpack([bundle], { trust, store });
  t.not(sha256(readFileSync(blob(iso))), sha256(iso), "nobody knew");
  await fsck(store);
  const notices: string[] = [];
  const report = await unpack([bundle], { trust, store, notice: (it) => notices.push(it) });
  t.match(report, { complete: true, already: false, written: iso.length + small.length });
  t.equal(sha256(readFileSync(blob(iso))), sha256(iso));
  t.equal(notices.filter((it) => it.includes("which fsck found to be damaged")).length, 2);
  t.match(await fsck(store), { ok: true });
  t.notOk(existsSync(join(store, "damaged.json")));
});

t.test("what is found to be damaged between two media is wanted from the first one again", async (t) => {
  const first = join(dir, "first");
  makeBundle(first, { files: { "files/s": small, "isos/a.iso": iso }, keys: [key] });
  const { store, blob } = await freshStore([first]);
  const files = { "files/new": noise(500, 8), "files/s": small, "isos/a.iso": iso, "isos/c.iso": noise(MIB, 9) };
  const set = { files, keys: [key], serial: 2, volumeSize: MIB, perMedium: 1 };
  const { folders } = makeBundle(join(dir, "set"), set);
  const [one = "", ...others] = folders;
  t.match(await unpack([one], { trust, store }), { complete: false });
  for (const it of [small, iso]) flip(blob(it), 7);
  await fsck(store);
  for (const it of others) t.match(await unpack([it], { trust, store }), { complete: false });
  t.match((await status(store)).streams, [{ releases: [{ serial: 1, current: true }] }]);
  t.match(await unpack([one], { trust, store }), { complete: true });
  t.match(await fsck(store), { ok: true });
});

t.test("a file that cannot be written keeps no other from its repair", async (t) => {
  const { store, blob } = await freshStore();
  for (const it of [small, iso]) rmSync(blob(it), { force: true });
  const [first = "", second = ""] = [blob(small), blob(iso)].sort();
  mkdirSync(join(first, "x"), { recursive: true });
  const notices: string[] = [];
  const report = await fsck(store, { repairFrom: [bundle], trust, notice: (it) => notices.push(it) });
  t.match(report, { ok: false, problems: [{ path: first }], repaired: [{ path: second }] });
  t.match(notices, [/it is a folder/, /repaired/]);
});

t.test("a delta that does not carry what is damaged leaves it in place", async (t) => {
  const { store, blob } = await freshStore();
  flip(blob(iso), 1000);
  await fsck(store);
  const delta = join(dir, "delta");
  const files = { "isos/a.iso": iso, "files/s": small, "files/n": noise(90, 4) };
  makeBundle(delta, { files, fromStore: ["isos/a.iso", "files/s"], keys: [key], serial: 2 });
  await t.rejects(unpack([delta], { trust, store }), { code: "ERR_DELTA_BASE" });
  t.equal(statSync(blob(iso)).size, iso.length);
  const need = join(dir, "lacks.json");
  t.match(await unpack([delta], { trust, store, need }), { complete: false, need: { blobs: 1 } });
  t.match((await fsck(store)).problems, [{ pieces: [{ first: 0, count: 1 }] }]);
});

t.test("what is pruned is no longer damage", async (t) => {
  const { store, blob } = await freshStore();
  const next = join(dir, "next");
  makeBundle(next, { files: { "files/s": small }, keys: [key], serial: 2 });
  await unpack([next], { trust, store });
  flip(blob(iso), 3);
  flip(blob(small), 3);
  await fsck(store);
  await prune(store, { keep: 1 });
  t.same((await status(store)).damaged, [digestOf(small)]);
});

t.test("it checks beside another process, and refuses to repair beside one", async (t) => {
  const { store, blob } = await freshStore();
  flip(blob(small), 0);
  const lock = await (await openStore(store)).lock();
  const notices: string[] = [];
  t.match(await fsck(store, { notice: (it) => notices.push(it) }), { ok: false });
  t.match(notices, [/not noted in the store: cannot use .* is working on it/]);
  await t.rejects(fsck(store, { repairFrom: [bundle], trust }), { code: "ERR_BUSY" });
  await lock.release();
});

t.test("bundles that are not trusted repair nothing; a kill leaves nothing that counts", async (t) => {
  const { store, blob } = await freshStore();
  flip(blob(small), 0);
  writeFileSync(join(dir, "stranger.pub"), makeKey().pem);
  await t.rejects(fsck(store, { repairFrom: [bundle], trust: [join(dir, "stranger.pub")] }), {
    code: "ERR_KEY_UNTRUSTED",
  });
  writeFileSync(join(store, `.tmp-repair-${sha256(small)}`), "half");
  t.match(await fsck(store, { repairFrom: [bundle], trust }), { ok: true });
  t.notOk(readdirSync(store).some((it) => it.startsWith(".tmp-")));
});

t.test("damaged pointers and records are reported with what helps", async (t) => {
  const { store } = await freshStore([bundle, other]);
  writeFileSync(join(store, "releases/test/floor.json"), "{");
  writeFileSync(join(store, "releases/test/current"), "000007\n");
  renameSync(join(store, "releases/other/000001/SHA256SUMS"), join(dir, "sums"));
  const { problems } = await fsck(store);
  t.equal(problems.length, 3);
  t.same(problems.map((it) => it.code).sort(), ["ERR_NOT_FOUND", "ERR_STORE_INVALID", "ERR_STORE_INVALID"]);
});

t.test("the command prints the result, JSON, and the next command", async (t) => {
  const { store, blob } = await freshStore();
  const good = await airferry(dir, ["fsck", "--store", store]);
  t.equal(good.status, 0, good.stderr);
  t.match(good.stdout, /^good: 1 release, 4 files, /);
  flip(blob(iso), 0);
  const bad = await airferry(dir, ["fsck", "--store", store]);
  t.equal(bad.status, 3);
  t.match(bad.stderr, /hint: .*airferry fsck --store \S+ --repair-from BUNDLE --trust KEY/);
  const untrusted = await airferry(dir, ["fsck", "--store", store, "--repair-from", "bundle"]);
  t.equal(untrusted.status, 2);
  const mended = await airferry(dir, [
    "fsck",
    "--store",
    store,
    "--repair-from",
    "bundle",
    "--trust",
    "key.pub",
    "--json",
  ]);
  t.equal(mended.status, 0, mended.stderr);
  t.match(JSON.parse(mended.stdout), { ok: true, problems: [], repaired: [{ path: blob(iso), bytes: MIB }] });
  for (const need of [dir, join(dir, "nowhere", "need.json")])
    await t.rejects(fsck(store, { need, progress: () => t.fail("it was hashed") }), { code: "ERR_IO" });
  const none = await airferry(dir, ["fsck", "--store", "nowhere"]);
  t.equal(none.status, 1);
});
