import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { inspect } from "../src/inspect.ts";
import { hexOf } from "../src/io/digest.ts";
import { prune } from "../src/prune.ts";
import { status } from "../src/status.ts";
import { checkStore } from "../src/store/check-store.ts";
import { openStore } from "../src/store/store.ts";
import { unpack } from "../src/unpack.ts";
import { verify } from "../src/verify.ts";
import { makeBundle, makeKey, noise, sampleFiles, sha256 } from "./fixtures/bundle-maker.ts";
import { flip } from "./fixtures/bundle-tamper.ts";
import { seeded } from "./fixtures/seeded.ts";
import { blobsOf, holds } from "./fixtures/unpacked.ts";

const root = t.testdir();
const key = makeKey();
const keyFile = join(root, "key.pub");
const trust = [keyFile];
writeFileSync(keyFile, key.pem);
const files: Record<string, Buffer> = {
  ...sampleFiles(),
  "files/copy-of-513": noise(513, 4),
  "isos/copy.iso": noise(3_300_000, 8),
};
let count = 0;
const fresh = (name: string) => join(root, `${name}-${count++}`);

t.test("unpack() takes a bundle in: read-only blobs, the record, no leftovers; again is no work", async (t) => {
  const bundle = fresh("bundle");
  const store = fresh("store");
  const { digest } = makeBundle(bundle, { files, keys: [key], volumeSize: 1_000_000 });
  let last = 0;
  let total = 0;
  const report = await unpack([bundle], { trust, store, progress: (done, all) => ([last, total] = [done, all]) });
  t.match(report, {
    complete: true,
    already: false,
    stream: "test",
    serial: 1,
    digest,
    signers: [key.keyid],
  });
  t.equal(
    report.written,
    Object.values(sampleFiles()).reduce((sum, it) => sum + it.length, 0),
    "each digest once",
  );
  t.equal(last, total);
  t.equal(await holds(store, files), true);
  for (const file of blobsOf(store)) {
    t.equal(sha256(readFileSync(file)), file.slice(-64));
    t.equal(statSync(file).mode & 0o777, 0o444);
  }
  t.same(readdirSync(join(store, "incoming")), []);
  t.notOk(existsSync(join(store, "lock")));
  const release = join(store, "releases/test/000001");
  t.same(readdirSync(release).sort(), [
    "SHA256SUMS",
    "airferry.json",
    "data.pieces",
    "import.json",
    "signatures",
    "trust",
  ]);
  t.same(readFileSync(join(release, "SHA256SUMS")), readFileSync(join(bundle, "SHA256SUMS")));
  t.equal(readFileSync(join(release, "trust", `${key.keyid.slice(0, 16)}.pub`), "utf8"), key.pem);
  t.equal(readFileSync(join(store, "releases/test/current"), "utf8"), "000001\n");
  t.match(await unpack([bundle], { trust, store }), { complete: true, already: true, written: 0 });
});

t.test("unpack() keeps the bill of materials, however large, with the record; a lost one comes back", async (t) => {
  const bundle = fresh("bundle");
  const store = fresh("store");
  const notes = { "BOM.html": noise(2_500_000, 5), "BOM.cdx.json": noise(10, 6) };
  const { folders } = makeBundle(bundle, { files, keys: [key], volumeSize: 1_000_000, perMedium: 2, notes });
  await unpack([bundle], { trust, store });
  const kept = (name: string) => join(store, "releases/test/000001", name);
  for (const [name, bytes] of Object.entries(notes)) t.ok(readFileSync(kept(name)).equals(bytes), name);
  const [release] = await (await openStore(store)).releases();
  t.match(release?.bom, [
    { name: "BOM.cdx.json", size: 10 },
    { name: "BOM.html", size: 2_500_000, file: kept("BOM.html") },
  ]);
  flip(kept("BOM.html"), 2_000_000);
  t.match((await checkStore(store)).problems, [{ code: "ERR_DIGEST_MISMATCH", path: kept("BOM.html") }]);
  rmSync(kept("BOM.html"));
  await unpack([bundle], { trust, store });
  t.same((await checkStore(store)).problems, []);
  t.ok(readFileSync(kept("BOM.html")).equals(notes["BOM.html"]));
  flip(join(folders[0] ?? "", "BOM.html"), 1000);
  await t.rejects(unpack([bundle], { trust, store: fresh("store") }), { code: "ERR_DIGEST_MISMATCH" });
});

t.test("a store notices a new release at once, and costs nothing while there is none", async (t) => {
  const store = fresh("store");
  const open = async (serial: number, content: string) => {
    const bundle = fresh("bundle");
    makeBundle(bundle, { files: { "files/a": Buffer.from(content) }, keys: [key], serial });
    await unpack([bundle], { trust, store });
  };
  await open(1, "one");
  const reader = await openStore(store);
  const before = await reader.releases();
  t.equal(await reader.releases(), before, "the very same array");
  await open(2, "two");
  const [after] = await reader.releases();
  t.equal(after?.serial, 2);
  t.match(await status(store), {
    streams: [
      {
        stream: "test",
        releases: [
          { serial: 1, current: false },
          { serial: 2, current: true },
        ],
      },
    ],
  });
});

t.test("unpack() takes a set of media in any order, at once or one by one", async (t) => {
  const random = seeded(7);
  for (const volumeSize of [4096 * 25, 500_000, 1_234_567]) {
    const set = fresh("set");
    const { folders } = makeBundle(set, { files, keys: [key], volumeSize, perMedium: 3 });
    const store = fresh("store");
    const order = [...folders];
    for (let at = order.length - 1; at > 0; at--) {
      const other = random(at + 1);
      [order[at], order[other]] = [order[other]!, order[at]!];
    }
    let written = 0;
    for (const [index, folder] of order.entries()) {
      const report = await unpack([folder], { trust, store });
      written += report.written;
      if (report.complete) {
        t.ok(index >= order.length - 2, "complete with the last one, or when nothing new is left");
        break;
      }
      t.ok(report.missing.length > 0);
      t.same((await status(store)).streams, [], "nothing is current yet");
      t.same((await status(store)).incoming?.[0]?.missing, report.missing);
    }
    t.equal(await holds(store, files), true, `volumes of ${volumeSize}`);
    t.ok(written <= 1.02 * Object.values(sampleFiles()).reduce((sum, it) => sum + it.length, 0), "each byte once");
    t.same(readdirSync(join(store, "incoming")), []);
    const all = fresh("store");
    t.match(await unpack(folders.toReversed(), { trust, store: all }), { complete: true });
    t.equal(await holds(all, files), true);
  }
});

t.test("unpack() of a set refuses a damaged medium by name, and a good copy of it continues", async (t) => {
  const set = fresh("set");
  const { folders } = makeBundle(set, { files, keys: [key], volumeSize: 1_000_000, perMedium: 1 });
  const store = fresh("store");
  flip(join(folders[2]!, "data.tar.0002"), 5);
  t.match(await unpack([folders[0]!], { trust, store }), { complete: false });
  await t.rejects(unpack([folders[2]!], { trust, store }), { code: "ERR_DIGEST_MISMATCH", path: "data.tar.0002" });
  flip(join(folders[2]!, "data.tar.0002"), 5);
  for (const folder of folders.slice(1)) await unpack([folder], { trust, store });
  t.equal(await holds(store, files), true);
});

t.test("unpack() of a set takes an empty entry whose header crosses into the next volume", async (t) => {
  const volumeSize = 100 * 512;
  const crossing = {
    "files/a": noise(volumeSize - 512 - 1024, 1),
    [`files/${"é".repeat(60)}`]: Buffer.alloc(0),
    "files/c": noise(3000, 2),
  };
  const { folders, inventory } = makeBundle(fresh("set"), { files: crossing, keys: [key], volumeSize, perMedium: 1 });
  const empty = inventory.entries.find((it) => it.size === 0);
  t.ok((empty?.offset ?? 0) > volumeSize && (empty?.offset ?? 0) < volumeSize + 1024);
  for (const order of [folders, folders.toReversed()]) {
    const store = fresh("store");
    for (const folder of order) await unpack([folder], { trust, store });
    t.equal(await holds(store, crossing), true);
  }
});

t.test("unpack() continues after a refusal without reading again what is stored", async (t) => {
  const bundle = fresh("bundle");
  const store = fresh("store");
  const { inventory } = makeBundle(bundle, { files, keys: [key] });
  const volume = join(bundle, "data.tar.0000");
  const last = inventory.entries.find((it) => it.path === "files/last")!;
  const iso = inventory.entries.find((it) => it.path === "isos/big.iso")!;
  flip(volume, last.offset!);
  await t.rejects(unpack([bundle], { trust, store }), { code: "ERR_DIGEST_MISMATCH" });
  t.ok(blobsOf(store).length > 0, "what was good stays");
  t.ok(existsSync((await openStore(store)).blobPath(iso.digest)));
  flip(volume, last.offset!);
  // Were it read again it would be refused.
  flip(volume, iso.offset! + 1000);
  const report = await unpack([bundle], { trust, store });
  t.equal(report.complete, true);
  t.ok(report.written < 100_000, `${report.written} bytes`);
  t.equal(await holds(store, files), true);
});

t.test("unpack() continues a large entry where it stopped; a torn beginning is taken anew", async (t) => {
  const bundle = fresh("bundle");
  const { inventory, digest } = makeBundle(bundle, { files, keys: [key] });
  const iso = inventory.entries.find((it) => it.path === "isos/big.iso")!;
  const content = files["isos/big.iso"]!;
  for (const [what, part, written] of [
    ["good", content.subarray(0, 2_000_000), content.length - 2_000_000],
    ["torn", Buffer.alloc(2_000_000), content.length * 2 - 2_000_000],
    ["too long", Buffer.alloc(4_000_000), content.length],
    ["whole", content, 0],
  ] as const) {
    const store = fresh("store");
    await openStore(store, { create: true });
    const parts = join(store, "incoming", hexOf(digest), "parts");
    execFileSync("mkdir", ["-p", parts]);
    writeFileSync(join(parts, hexOf(iso.digest)), part);
    const small = Object.values(sampleFiles()).reduce((sum, it) => sum + it.length, 0) - content.length;
    t.equal((await unpack([bundle], { trust, store })).written, small + written, what);
    t.equal(await holds(store, files), true, what);
  }
});

t.test("unpack() holds to the order of releases", async (t) => {
  const store = fresh("store");
  const make = (serial: number, more: Partial<Parameters<typeof makeBundle>[1]> = {}) => {
    const dir = fresh("bundle");
    makeBundle(dir, { files: { "files/a": Buffer.from(`serial ${serial}`) }, keys: [key], serial, ...more });
    return dir;
  };
  const current = async () => (await (await openStore(store)).releases())[0]?.serial;
  const two = make(2);
  await unpack([two], { trust, store });
  const one = make(1);
  await t.rejects(unpack([one], { trust, store }), { code: "ERR_ROLLBACK" });
  t.equal(await current(), 2);
  const twin = make(2, { files: { "files/a": Buffer.from("another") } });
  await t.rejects(unpack([twin], { trust, store }), { code: "ERR_EQUIVOCATION" });
  await t.rejects(unpack([twin], { trust, store, allowRollback: true }), { code: "ERR_EQUIVOCATION" });
  t.equal(await current(), 2);
  t.match(await unpack([one], { trust, store, allowRollback: true }), { complete: true });
  t.equal(await current(), 1);
  await t.rejects(unpack([one], { trust, store }), { code: "ERR_ROLLBACK" }, "the floor stays");
  t.match(await unpack([two], { trust, store }), { complete: true, already: true });
  t.equal(await current(), 2, "forward again");
  t.match(await unpack([make(1, { epoch: 2 })], { trust, store }), { complete: true }, "a new epoch starts again");
  t.ok(existsSync(join(store, "releases/test/e2-000001")));
  await t.rejects(unpack([make(9)], { trust, store }), { code: "ERR_ROLLBACK" }, "the old epoch is over");
  const stale = make(5, { epoch: 2, notAfter: "2026-02-01T00:00:00Z" });
  await t.rejects(unpack([stale], { trust, store, now: new Date("2026-03-01") }), { code: "ERR_EXPIRED" });
  const later = make(6, { epoch: 2, created: "2026-06-01T00:00:00Z" });
  await unpack([later], { trust, store, now: new Date("2026-06-01T12:00:00Z") });
  const back = make(7, { epoch: 2, notAfter: "2026-02-01T00:00:00Z" });
  await t.rejects(
    unpack([back], { trust, store, now: new Date("2026-01-15") }),
    { code: "ERR_EXPIRED" },
    "clock set back",
  );
  t.same(readdirSync(join(store, "incoming")), []);
});

t.test("a bundle that a clock in 2049 made is told, and does not end all others", async (t) => {
  const store = fresh("store");
  const make = (serial: number, more: Partial<Parameters<typeof makeBundle>[1]> = {}) => {
    const dir = fresh("bundle");
    makeBundle(dir, { files: { "files/a": Buffer.from(`serial ${serial}`) }, keys: [key], serial, ...more });
    return dir;
  };
  const notices: string[] = [];
  const notice = (line: string) => notices.push(line);
  const at = (time: string) => ({ trust, store, notice, now: new Date(time) });
  const far = make(1, { created: "2049-01-01T00:00:00Z" });
  const said =
    /^the bundle was created at 2049-01-01T00:00:00Z, here it is 2026-03-01T00:00:00Z: the clock of this host or of the one/;
  for (const act of [verify, unpack, inspect]) {
    t.ok(await act([far], at("2026-03-01T00:00:00Z")));
    t.match(notices.splice(0), [said], act.name);
  }
  await unpack([make(2, { notAfter: "2027-01-01T00:00:00Z" })], at("2026-03-02T00:00:00Z"));
  // A day is no more than zones and drifting clocks.
  await unpack([make(3, { created: "2026-03-03T00:00:00Z" })], at("2026-03-02T00:00:00Z"));
  t.same(notices, []);
  await t.rejects(
    unpack([make(4, { notAfter: "2026-02-28T00:00:00Z" })], at("2026-01-01T00:00:00Z")),
    { code: "ERR_EXPIRED", actual: "2026-03-02T00:00:00.000Z" },
    "what both clocks agreed on stays the floor when this one is set back",
  );
});

t.test("unpack() applies a delta when the store has its base, and lists what is missing when not", async (t) => {
  const base = { "files/a": noise(5000, 1), "isos/b.iso": noise(2_000_000, 2) };
  const all = { ...base, "files/c": noise(700, 3) };
  const full = fresh("bundle");
  const delta = fresh("bundle");
  makeBundle(full, { files: base, keys: [key], serial: 1 });
  makeBundle(delta, { files: all, fromStore: Object.keys(base), keys: [key], serial: 2 });
  const empty = fresh("store");
  const error = await unpack([delta], { trust, store: empty }).catch((it) => it);
  t.match(error, { code: "ERR_DELTA_BASE", problems: [{ path: "files/a" }, { path: "isos/b.iso" }] });
  t.same(readdirSync(join(empty, "releases")), []);
  const store = fresh("store");
  await unpack([full], { trust, store });
  t.match(await unpack([delta], { trust, store }), { complete: true, written: 700 });
  t.equal(await holds(store, all), true);
});

t.test("several streams live side by side; prune() keeps what they need", async (t) => {
  const store = fresh("store");
  const shared = noise(3000, 1);
  for (const [stream, serial] of [
    ["a", 1],
    ["a", 2],
    ["a", 3],
    ["b", 1],
  ] as const) {
    const dir = fresh("bundle");
    const own = Buffer.from(`${stream}${serial}`);
    makeBundle(dir, { files: { "files/shared": shared, "files/own": own }, keys: [key], stream, serial });
    await unpack([dir], { trust, store });
  }
  t.equal(blobsOf(store).length, 5);
  t.match(await prune(store, { keep: 1, dryRun: true }), { releases: ["a/000001", "a/000002"], blobs: 2, size: 4 });
  t.equal(blobsOf(store).length, 5, "a dry run changes nothing");
  t.match(await prune(store, { keep: 2 }), { releases: ["a/000001"], blobs: 1 });
  t.equal(blobsOf(store).length, 4);
  t.equal(await holds(store, { "files/shared": shared, "files/own": Buffer.from("a3") }, "a"), true);
  t.equal(await holds(store, { "files/shared": shared, "files/own": Buffer.from("b1") }, "b"), true);
  await t.rejects(prune(store, { keep: 0 }), { code: "ERR_USAGE" });
});

t.test("unpack() refuses what is no store, and a store that is in use", async (t) => {
  const bundle = fresh("bundle");
  makeBundle(bundle, { files: { "files/a": Buffer.from("a") }, keys: [key] });
  const store = fresh("store");
  execFileSync("mkdir", ["-p", store]);
  writeFileSync(join(store, "precious"), "x");
  await t.rejects(unpack([bundle], { trust, store }), { code: "ERR_STORE_INVALID" });
  t.same(readdirSync(store), ["precious"]);
  const newer = fresh("store");
  execFileSync("mkdir", ["-p", newer]);
  writeFileSync(join(newer, "airferry-store.json"), '{"storeVersion":2}');
  await t.rejects(openStore(newer), { code: "ERR_STORE_INVALID" });
  await t.rejects(openStore(fresh("nowhere")), { code: "ERR_NOT_FOUND" });
  const used = fresh("store");
  const lock = await (await openStore(used, { create: true })).lock();
  await t.rejects(unpack([bundle], { trust, store: used }), { code: "ERR_BUSY" });
  await lock.release();
  t.match(await unpack([bundle], { trust, store: used }), { complete: true });
});

t.test("unpack() says how much is missing on a full disk, and continues when there is room", async (t) => {
  if (process.getuid?.() !== 0) return t.pass("tmpfs", { skip: "only root may mount a small tmpfs" });
  const mount = fresh("mount");
  const bundle = fresh("bundle");
  const many = { ...files, "isos/large.iso": noise(9_000_000, 20) };
  makeBundle(bundle, { files: many, keys: [key], volumeSize: 4_000_000 });
  execFileSync("mkdir", ["-p", mount]);
  const resize = (size: string, how = "remount,") =>
    execFileSync(
      "mount",
      how === "" ? ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", mount] : ["-o", `remount,size=${size}`, mount],
    );
  try {
    resize("40m", "");
  } catch {
    return t.pass("tmpfs", { skip: "mounting is not allowed here" });
  }
  try {
    const store = join(mount, "store");
    // The check at the start sees enough room; then somebody else takes it.
    let taken = false;
    const progress = (done: number) => {
      if (taken || done < 100_000) return;
      taken = true;
      try {
        writeFileSync(join(mount, "filler"), Buffer.alloc(40_000_000));
      } catch {}
    };
    const error = await unpack([bundle], { trust, store, progress }).catch((it) => it);
    t.match(error, { code: "ERR_SPACE", message: /about [\d.]+ MiB missing, .* free$/ });
    t.same(readdirSync(join(store, "releases")), []);
    const early = await unpack([bundle], { trust, store }).catch((it) => it);
    t.match(
      early,
      { code: "ERR_SPACE", message: /[\d.]+ MiB missing: [\d.]+ MiB needed, / },
      "told before the first byte",
    );
    rmSync(join(mount, "filler"));
    t.match(await unpack([bundle], { trust, store }), { complete: true });
    t.equal(await holds(store, many), true);
  } finally {
    execFileSync("umount", [mount]);
  }
});
