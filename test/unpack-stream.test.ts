import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../src/io/digest.ts";
import { readNeed } from "../src/receipt/need-file.ts";
import { writeKnownDamage } from "../src/store/known-damage.ts";
import { blobPathIn } from "../src/store/layout.ts";
import { unpack, unpackStream } from "../src/unpack.ts";
import { verify, verifyStream } from "../src/verify.ts";
import { makeBundle, makeKey, noise, sampleFiles } from "./fixtures/bundle-maker.ts";
import { seeded } from "./fixtures/seeded.ts";
import { changed, doubled, dropped, headerAt, streamOf, withStream } from "./fixtures/streams.ts";
import { blobsOf, holds } from "./fixtures/unpacked.ts";

const root = t.testdir();
const key = makeKey();
const trust = [join(root, "key.pub")];
writeFileSync(join(root, "key.pub"), key.pem);
const MIB = 1024 * 1024;
const VOLUME = 768 * 1024;
const large = noise(3 * MIB + 777, 8);
const files: Record<string, Buffer> = { ...sampleFiles(), "isos/large.iso": large, "files/after": noise(300_000, 9) };
const bundle = join(root, "bundle");
const { inventory } = makeBundle(bundle, { files, keys: [key], volumeSize: VOLUME });
const whole = await streamOf(bundle);
let count = 0;
const fresh = (name: string) => join(root, `${name}-${count++}`);
const take = (bytes: Uint8Array, store: string, options: { need?: string; notice?: (line: string) => void } = {}) =>
  withStream(join(root, "stream"), bytes, (fd) => unpackStream({ trust, store, ...options }, fd));
/** Where content of the large file is in the stream: its n-th byte. */
const largeAt = (position: number) => {
  const at = (inventory.entries.find((it) => it.path === "isos/large.iso")?.offset ?? 0) + position;
  return headerAt(whole, `data.tar.${String(Math.floor(at / VOLUME)).padStart(4, "0")}`) + 512 + (at % VOLUME);
};

t.test("the stream of a bundle is a tar archive, of which stock tar makes its folder", async (t) => {
  const dir = fresh("tar");
  mkdirSync(dir);
  execFileSync("tar", ["-xf", "-"], { cwd: dir, input: whole });
  t.same(readdirSync(dir), ["test-000001"]);
  execFileSync("diff", ["-r", join(dir, "test-000001"), bundle]);
  execFileSync("sha256sum", ["-c", "--quiet", "SHA256SUMS"], { cwd: join(dir, "test-000001") });
  t.match(await verify([join(dir, "test-000001")], { trust }), { ok: true });
  t.equal(whole.length % 512, 0);
});

t.test("unpackStream() takes it in as unpack() does a folder", async (t) => {
  const store = fresh("store");
  const notes: string[] = [];
  const [report] = await take(whole, store, { notice: (it) => notes.push(it) });
  t.match(report, { complete: true, already: false, missing: [], serial: 1, signers: [key.keyid] });
  t.same(notes, []);
  const other = fresh("store");
  t.equal(report?.written, (await unpack([bundle], { trust, store: other })).written);
  t.equal(await holds(store, files), true);
  t.same(
    blobsOf(store)
      .map((it) => it.slice(-64))
      .sort(),
    blobsOf(other)
      .map((it) => it.slice(-64))
      .sort(),
  );
  t.ok(blobsOf(store).every((it) => (statSync(it).mode & 0o777) === 0o444));
  t.same(readdirSync(join(store, "incoming")), []);
  t.match(JSON.parse(readFileSync(join(store, "releases/test/000001/import.json"), "utf8")), { media: ["-"] });
  t.match(await take(whole, store), [{ already: true, written: 0 }], "again is no work");
});

t.test("a pipe is read like a file, and zeros after the end do no harm", async (t) => {
  const fifo = fresh("fifo");
  const store = fresh("store");
  execFileSync("mkfifo", [fifo]);
  writeFileSync(join(root, "padded"), Buffer.concat([whole, Buffer.alloc(20_000)]));
  execFileSync("sh", ["-c", `cat padded > ${fifo} &`], { cwd: root, stdio: "ignore" });
  const notes: string[] = [];
  const reports = await unpackStream({ trust, store, notice: (it) => notes.push(it) }, openSync(fifo, "r"));
  t.match(reports, [{ complete: true }]);
  t.same(notes, []);
});

t.test("one fault of a link costs what it is in: a file, or the pieces of a large one", async (t) => {
  const at = largeAt(2 * MIB + 5000);
  const faults: [string, Buffer][] = [
    ["a changed bit", changed(whole, at)],
    ["a lost datagram", dropped(whole, at, 1400)],
    ["one lost byte", dropped(whole, at, 1)],
    ["a repeated block", doubled(whole, at, 4096)],
  ];
  for (const [name, bytes] of faults) {
    const store = fresh("store");
    const need = fresh("need");
    const [report] = await take(bytes, store, { need });
    t.match(report, { complete: false, lost: { files: 1, bytes: MIB }, need: { file: need, blobs: 1 } }, name);
    t.match(await readNeed(need), { blobs: [{ size: large.length, pieces: [{ first: 2, count: 1 }] }] }, name);
    t.notOk(existsSync(join(store, "releases/test")), name);
    const [again] = await take(whole, store);
    t.match(again, { complete: true, written: MIB }, `${name}: only the gap is written`);
    t.equal(await holds(store, files), true);
  }
});

t.test("several gaps in one volume cost what they are in, and nothing between them", async (t) => {
  const parts = Array.from(
    { length: 12 },
    (_, index) => [`files/part-${index}`, noise(9000 + index, 30 + index)] as const,
  );
  const own: Record<string, Buffer> = {
    ...Object.fromEntries(parts),
    "isos/x.iso": noise(12 * MIB + 5, 3),
    "files/z": noise(900, 4),
  };
  const dir = fresh("bundle");
  const { inventory: it } = makeBundle(dir, { files: own, keys: [key], volumeSize: 64 * MIB });
  const sent = await streamOf(dir);
  const at = (path: string, position: number) =>
    headerAt(sent, "data.tar.0000") + 512 + (it.entries.find((one) => one.path === path)?.offset ?? 0) + position;
  const gaps: [string, number, number][] = [
    ["isos/x.iso", 10 * MIB + 100, 7 * 1400],
    ["isos/x.iso", 7 * MIB - 200, 1400],
    ["isos/x.iso", 3 * MIB + 77, 2800],
    ["files/part-8", 4000, 1400],
    ["files/part-2", 100, 999],
  ];
  const bytes = gaps.reduce((left, [path, position, count]) => dropped(left, at(path, position), count), sent);
  const store = fresh("store");
  const need = fresh("need");
  t.match(await take(bytes, store, { need }), [{ complete: false }]);
  const { blobs } = await readNeed(need);
  t.same(
    blobs.map((one) => [one.size, one.pieces]).sort(([a], [b]) => Number(a) - Number(b)),
    [
      [9002, undefined],
      [9008, undefined],
      [
        12 * MIB + 5,
        [
          { first: 3, count: 1 },
          { first: 6, count: 2 },
          { first: 10, count: 1 },
        ],
      ],
    ],
  );
  t.match(await take(dropped(sent, at("isos/x.iso", 12 * MIB), 1), store), [{ complete: true }]);
  t.equal(await holds(store, own), true);
});

t.test("a fault in headers costs nothing, and one in the list of files nothing either", async (t) => {
  for (const [name, bytes] of [
    ["the header of a volume", changed(whole, headerAt(whole, "data.tar.0002") + 20)],
    ["all of it", dropped(whole, headerAt(whole, "data.tar.0002"), 512)],
    ["the header of the last volume", changed(whole, headerAt(whole, inventory.volumes.at(-1)?.name ?? "") + 20)],
    ["the signed root", changed(whole, 600)],
    ["bytes of the signed root", dropped(whole, 600, 1400)],
    ["the header of the signed root", dropped(whole, 3, 100)],
    ["the inventory", changed(whole, headerAt(whole, "airferry.json") + 700)],
    ["bytes of the inventory", dropped(whole, headerAt(whole, "airferry.json") + 700, 1000)],
    ["a signature", changed(whole, headerAt(whole, `signatures/${key.keyid.slice(0, 16)}.sig`) + 520)],
    ["the second copy of the signed root", changed(whole, headerAt(whole, "SHA256SUMS", 1) + 600)],
    ["what a tape has before it", Buffer.concat([noise(10_000, 3), whole])],
  ] as const) {
    const store = fresh("store");
    t.match(await take(bytes, store), [{ complete: true }], name);
    t.equal(await holds(store, files), true, name);
  }
});

t.test("texts that are lost keep nothing from being taken, but verify names them", async (t) => {
  const name = headerAt(whole, "ENTRIES.sha256") + 520;
  const bytes = changed(changed(whole, name), headerAt(whole, "ENTRIES.sha256", 1) + 520);
  const store = fresh("store");
  const notes: string[] = [];
  t.match(await take(bytes, store, { notice: (it) => notes.push(it) }), [{ complete: true }]);
  t.match(notes, [/^ENTRIES.sha256 did not come whole: going on without$/]);
  const checked = (it: Buffer) => withStream(join(root, "stream"), it, (fd) => verifyStream({ trust }, fd));
  t.match(await checked(bytes), [{ ok: false, problems: [{ path: "ENTRIES.sha256" }] }]);
  t.match(await checked(whole), [{ ok: true, problems: [] }]);
  const pieces = changed(changed(whole, headerAt(whole, "data.pieces") + 520), headerAt(whole, "data.pieces", 1) + 520);
  await t.rejects(take(pieces, store), { code: "ERR_BUNDLE_INCOMPLETE", message: /data\.pieces/ });
  t.match(await checked(dropped(whole, largeAt(MIB), 1400)), [
    { ok: false, problems: [{ code: "ERR_DIGEST_MISMATCH", path: /^data\.tar/ }], volumes: { missing: [] } },
  ]);
});

t.test("of a stream that ends early the rest is listed, and comes from a second one or a folder", async (t) => {
  for (const end of [largeAt(1000), largeAt(2 * MIB), whole.length - 3000]) {
    const store = fresh("store");
    const [report] = await take(whole.subarray(0, end), store);
    t.match(report, { complete: false });
    const need = await readNeed(report?.need?.file ?? "");
    t.equal(need.blobs.length, report?.lost?.files);
    const later = end === largeAt(2 * MIB) ? await unpack([bundle], { trust, store }) : (await take(whole, store))[0];
    t.match(later, { complete: true });
    t.equal(await holds(store, files), true);
  }
});

t.test("what an earlier run left is checked, whatever it says of itself", async (t) => {
  for (const isNoted of [true, false]) {
    const store = fresh("store");
    await take(changed(whole, largeAt(MIB + 9)), store);
    const parts = join(store, "incoming", readdirSync(join(store, "incoming"))[0] ?? "", "parts");
    const [file = ""] = readdirSync(parts).filter((it) => it.endsWith(".pieces"));
    writeFileSync(join(parts, file), changed(readFileSync(join(parts, file)), 5));
    if (!isNoted) rmSync(join(parts, `${file}.good`));
    const [again] = await take(whole, store);
    t.equal(again?.complete, !isNoted, "its own digest decides");
    if (isNoted) t.match(await take(whole, store), [{ complete: true }]);
    t.equal(await holds(store, files), true);
  }
});

t.test("a carousel: whoever comes in the middle waits for the next round", async (t) => {
  const store = fresh("store");
  const notes: string[] = [];
  const bytes = Buffer.concat([whole.subarray(largeAt(MIB)), whole, whole]);
  t.match(await take(bytes, store, { notice: (it) => notes.push(it) }), [{ complete: true }]);
  t.match(notes, [/^skipped .* of the stream/]);
  const both = fresh("store");
  const first = changed(whole, largeAt(MIB + 5));
  t.match(await take(Buffer.concat([first, dropped(whole, largeAt((5 * MIB) / 2), 9000)]), both), [{ complete: true }]);
  t.equal(await holds(both, files), true, "each round fills the gaps of the other");
});

t.test("several bundles on one tape are taken in order", async (t) => {
  const second = fresh("bundle");
  makeBundle(second, { files: { "files/new": noise(2000, 3) }, keys: [key], serial: 2 });
  const store = fresh("store");
  const bytes = Buffer.concat([whole, Buffer.alloc(10_240), await streamOf(second)]);
  t.match(await take(bytes, store), [
    { serial: 1, complete: true },
    { serial: 2, complete: true },
  ]);
  await t.rejects(take(whole, store), { code: "ERR_ROLLBACK" });
  const third = fresh("bundle");
  makeBundle(third, { files: { "files/x": noise(2000, 4), "files/y": noise(2000, 5) }, keys: [key], stream: "third" });
  const sent = await streamOf(third);
  const need = fresh("need");
  const damaged = changed(sent, headerAt(sent, "data.tar.0000") + 1100);
  await take(Buffer.concat([changed(whole, largeAt(9)), damaged]), fresh("store"), { need });
  const listed = await readNeed(need);
  t.match(listed.releases, [{ stream: "test" }, { stream: "third" }]);
  t.same(listed.blobs.map((it) => it.size).sort(), [2000, large.length]);
  const torn = fresh("store");
  const cut = Buffer.concat([whole.subarray(0, largeAt(2 * MIB)), await streamOf(second)]);
  t.match(await take(cut, torn), [
    { serial: 1, complete: false },
    { serial: 2, complete: true },
  ]);
});

t.test("nothing is taken before the signatures are good", async (t) => {
  const store = fresh("store");
  const stranger = fresh("bundle");
  makeBundle(stranger, { files, keys: [makeKey()], volumeSize: VOLUME });
  const foreign = await streamOf(stranger);
  await t.rejects(take(foreign, store), { code: "ERR_KEY_UNTRUSTED" });
  t.notOk(existsSync(store));
  await t.rejects(take(foreign.subarray(0, 8000), store), { code: "ERR_KEY_UNTRUSTED" }, "also of one that ends early");
  t.match(await take(Buffer.concat([foreign.subarray(0, headerAt(foreign, "SHA256SUMS", 1)), whole]), store), [
    { complete: true },
  ]);
  // Another one every time: none comes twice, and the first is what is told.
  const once = foreign.subarray(0, headerAt(foreign, "ENTRIES.sha256"));
  const many = Array.from({ length: 70 }, (_, index) => changed(once, 512 + index));
  const left = () => readdirSync(tmpdir()).filter((it) => it.startsWith(`airferry-stream-${process.pid}-`));
  await t.rejects(take(Buffer.concat([once, ...many]), fresh("store")), { code: "ERR_KEY_UNTRUSTED" });
  await t.rejects(take(Buffer.concat([once, ...many.slice(0, 3), many[1] ?? once]), fresh("store")), {
    code: "ERR_SIGNATURE_INVALID",
  });
  t.same(left(), []);
  await t.rejects(take(noise(3 * MIB, 5), fresh("store")), {
    code: "ERR_BUNDLE_INCOMPLETE",
    message: /no bundle came/,
  });
  await t.rejects(take(Buffer.alloc(0), fresh("store")), { code: "ERR_BUNDLE_INCOMPLETE" });
  await t.rejects(take(whole.subarray(0, 4000), fresh("store")), { code: "ERR_BUNDLE_INCOMPLETE" });
});

t.test("a need file that could not be written is refused before anything comes", async (t) => {
  const other = fresh("other");
  writeFileSync(other, "something else");
  const store = fresh("store");
  await t.rejects(take(changed(whole, largeAt(9)), store, { need: other }), { code: "ERR_USAGE", path: other });
  await t.rejects(take(whole, store, { need: join(root, "nowhere/need.json") }), { code: "ERR_IO" });
  t.notOk(existsSync(store));
  t.equal(readFileSync(other, "utf8"), "something else");
});

t.test("a damaged blob stays until what comes has replaced it", async (t) => {
  const store = fresh("store");
  await take(whole, store);
  const blob = blobPathIn(store, digestOf(large));
  const damaged = changed(large, MIB);
  chmodSync(blob, 0o644);
  writeFileSync(blob, damaged);
  await writeKnownDamage(store, [digestOf(large)]);
  t.match(await take(whole.subarray(0, largeAt(5)), store), [{ complete: false, lost: { files: 1 } }]);
  t.ok(readFileSync(blob).equals(damaged));
  t.match(await take(whole, store), [{ complete: true }]);
  t.equal(await holds(store, files), true);
});

t.test("headers with other paths, links and sizes are none", async (t) => {
  const dir = fresh("hostile");
  mkdirSync(dir);
  writeFileSync(join(dir, "passwd"), "evil");
  execFileSync("ln", ["-s", "/etc/passwd", join(dir, "link")]);
  const evil = execFileSync("tar", ["-cf", "-", "-P", "--transform", "s,^,../../,", "passwd", "link"], { cwd: dir });
  const at = headerAt(whole, "airferry.json");
  const store = fresh("store");
  const bytes = Buffer.concat([evil, whole.subarray(0, at), evil, whole.subarray(at)]);
  t.match(await take(bytes, store), [{ complete: true }]);
  t.equal(await holds(store, files), true);
});

t.test("whatever a link does, what is taken is right, and the next copy completes it", async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    const random = seeded(seed);
    let bytes = whole;
    for (let left = 1 + random(8); left > 0; left--) {
      const at = random(bytes.length - 2000);
      const many = [1, 512, 1400, 70_000][random(4)] ?? 1;
      const kind = random(4);
      if (kind === 0) bytes = changed(bytes, at);
      else if (kind === 1) bytes = dropped(bytes, at, many);
      else if (kind === 2) bytes = doubled(bytes, at, many);
      else bytes = Buffer.concat([bytes.subarray(0, at), noise(many, seed), bytes.subarray(at + many)]);
    }
    const store = fresh("store");
    const reports = await take(bytes, store).catch((error: Error) => {
      t.match(error, { code: /^ERR_(BUNDLE_INCOMPLETE|SIGNATURE|THRESHOLD|KEY)/ }, `seed ${seed}`);
      return [];
    });
    if (reports[0]?.complete !== true) t.match(await take(whole, store), [{ complete: true }], `seed ${seed}`);
    t.equal(await holds(store, files), true, `seed ${seed}`);
  }
});

t.test("a damaged medium between two streams takes nothing of what the first one brought", async (t) => {
  const at = largeAt(MIB / 2);
  const volume = inventory.volumes.find((it) => {
    const from = headerAt(whole, it.name) + 512;
    return from <= at && at < from + it.size;
  });
  for (const isPart of [false, true]) {
    const store = fresh("store");
    await take(changed(whole, largeAt(2 * MIB + 5000)), store);
    const dir = fresh("damaged");
    cpSync(bundle, dir, { recursive: true });
    const file = join(dir, volume?.name ?? "");
    const from = headerAt(whole, volume?.name ?? "") + 512;
    writeFileSync(file, changed(readFileSync(file), at - from));
    if (isPart) rmSync(join(dir, inventory.volumes.at(-1)?.name ?? ""));
    await t.rejects(unpack([dir], { trust, store }), { code: "ERR_DIGEST_MISMATCH" });
    t.match(await take(whole, store), [{ complete: true }], isPart ? "one medium" : "all media");
    t.equal(await holds(store, files), true);
  }
});
