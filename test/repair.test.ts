/** `repair` and its neighbours: what is said, what is written, and what `unpack` and stock par2 make of it. */
import {
  appendFileSync,
  copyFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import t from "tap";
import { repair } from "../src/repair.ts";
import { status } from "../src/status.ts";
import { unpack } from "../src/unpack.ts";
import { verify } from "../src/verify.ts";
import { makeBundle, makeKey } from "./fixtures/bundle-maker.ts";
import { needs } from "./fixtures/clients.ts";
import { burst, par2, same } from "./fixtures/parity.ts";
import { makeParityBundle } from "./fixtures/parity-bundle.ts";
import { refusalOf } from "./fixtures/refusal.ts";

const root = t.testdir();
const { good, trust, copyOf, fresh } = await makeParityBundle(root);
const isGood = async (...media: string[]) => (await verify(media, { trust })).ok;

t.test("a bundle that is good needs no repair, and is not changed", async (t) => {
  const dir = fresh();
  t.match(await repair([good], { trust, from: [], out: dir }), { volumes: [], files: [], written: [] });
  t.notOk(existsSync(dir));
});

t.test("bursts in two volumes: said first, then written beside, and unpacked from both", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.tar.0000"), 20, 300);
  burst(join(bundle, "data.tar.0002"), 5, 3000);
  const before = readFileSync(join(bundle, "data.tar.0000"));
  const said = await repair([bundle], { trust, from: [] });
  t.match(said, {
    written: [],
    volumes: [
      { name: "data.tar.0000", state: "repairable", by: "blocks", file: null },
      { name: "data.tar.0002", state: "repairable", by: "blocks", recoveryBlocks: 25 },
    ],
  });
  t.match(said.volumes[0]?.message, /^"data\.tar\.0000": \d+ damaged blocks, 25 recovery blocks; touches "/);
  const dir = fresh();
  const done = await repair([bundle], { trust, from: [], out: dir });
  t.strictSame(done.written, [join(dir, "data.tar.0000"), join(dir, "data.tar.0002")]);
  for (const name of ["data.tar.0000", "data.tar.0002"]) t.ok(same(join(dir, name), join(good, name)), name);
  t.ok(readFileSync(join(bundle, "data.tar.0000")).equals(before), "the medium is as it was");
  t.equal(await isGood(dir), false, "one medium of several");
  t.equal((await verify([dir], { trust, partial: true })).ok, true);
  const store = fresh();
  t.match(await unpack([bundle, dir], { trust, store }), { complete: true });
});

t.test("in place: a volume, and a small file from another copy, each replaced at once", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.tar.0001"), 3, 100);
  truncateSync(join(bundle, "data.tar.0000"), 950_000);
  appendFileSync(join(bundle, "airferry.json"), " ");
  t.match(await refusalOf(repair([bundle], { trust, from: [], inPlace: true })), {
    code: "ERR_DIGEST_MISMATCH",
    hint: /--from/,
  });
  const report = await repair([bundle], { trust, from: [copyOf()], inPlace: true });
  t.match(report, {
    volumes: [
      { name: "data.tar.0000", state: "repaired", by: "copy" },
      { name: "data.tar.0001", state: "repaired", by: "copy" },
    ],
    files: [{ name: "airferry.json", state: "repaired" }],
  });
  t.ok(await isGood(bundle));
  t.strictSame(readdirSync(bundle).sort(), readdirSync(good).sort(), "nothing is left beside");
});

t.test("a volume that only another copy has is missing, not good", async (t) => {
  const bundle = copyOf();
  rmSync(join(bundle, "data.tar.0001"));
  for (const inPlace of [false, true]) {
    const { volumes, written } = await repair([bundle], { trust, from: [good], inPlace });
    t.match(volumes, [{ name: "data.tar.0001", state: "missing", file: null, other: good }]);
    t.equal(volumes.length, 1);
    t.match(volumes[0]?.message, `"data.tar.0001" is missing; "${good}" has a good one`);
    t.strictSame(written, []);
  }
  const { volumes } = await repair([bundle], { trust, from: [join(good, "data.tar.0001")], inPlace: true });
  t.match(volumes, [{ name: "data.tar.0001", state: "repaired", by: "copy" }], "a single file is for this bundle");
  t.ok(await isGood(bundle));
});

t.test("a volume that lost a sector is repaired: the blocks behind it are found where they are", async (t) => {
  const bundle = copyOf();
  const file = join(bundle, "data.tar.0000");
  const bytes = readFileSync(file);
  writeFileSync(file, Buffer.concat([bytes.subarray(0, 300_000), bytes.subarray(302_048)]));
  const report = await repair([bundle], { trust, from: [], inPlace: true });
  t.match(report.volumes, [{ name: "data.tar.0000", state: "repaired", by: "blocks" }]);
  t.ok((report.volumes[0]?.damagedBlocks ?? 99) <= 3);
  t.ok(await isGood(bundle));
});

t.test("a volume of the same content under another signed root is written, not counted on", async (t) => {
  const bundle = copyOf();
  rmSync(join(bundle, "data.tar.0001"));
  const packedAgain = copyOf();
  truncateSync(join(packedAgain, "SHA256SUMS"), 100);
  t.match((await repair([bundle], { trust, from: [packedAgain], inPlace: true })).volumes, [
    { name: "data.tar.0001", state: "repaired", by: "copy" },
  ]);
  t.ok(await isGood(bundle));
});

t.test("stock par2 verifies and repairs what is carried", async (t) => {
  if (!needs(t, "par2")) return;
  const bundle = copyOf();
  for (const name of ["data.0000.par2", "data.set.par2"]) t.match(par2(bundle, "v", name), { status: 0 });
  burst(join(bundle, "data.tar.0000"), 20, 300);
  t.match(par2(bundle, "r", "data.0000.par2"), { status: 0 });
  t.ok(same(join(bundle, "data.tar.0000"), join(good, "data.tar.0000")));
});

t.test("damaged or missing parity is a notice, and one that is not listed is refused", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.0000.par2"), 1, 10);
  rmSync(join(bundle, "data.set.par2"));
  const notices: string[] = [];
  const report = await verify([bundle], { trust, notice: (line) => notices.push(line) });
  t.match(report, { ok: true, parity: { missing: ["data.set.par2"], damaged: ["data.0000.par2"] } });
  t.match(notices.join("\n"), /digest mismatch in ".*data\.0000\.par2".*; the bundle does without it/);
  t.match(notices.join("\n"), /not on these media: data\.set\.par2; the bundle does without/);
  t.match(await unpack([bundle], { trust, store: fresh() }), { complete: true });
  copyFileSync(join(good, "data.set.par2"), join(bundle, "data.other.par2"));
  t.match(await verify([bundle], { trust }), { ok: false, problems: [{ code: "ERR_BUNDLE_EXTRA" }] });
  t.match(await refusalOf(repair([bundle], { trust, from: [] })), { code: "ERR_BUNDLE_EXTRA" });
});

t.test("unpack keeps the rest of a bundle with a damaged volume, and a second copy of it completes it", async (t) => {
  for (const spoil of [(file: string) => burst(file, 2, 100), (file: string) => truncateSync(file, 100_000)]) {
    const bundle = copyOf();
    spoil(join(bundle, "data.tar.0001"));
    const store = fresh();
    const refusal = await refusalOf(unpack([bundle], { trust, store }));
    t.match(refusal.problems, [{ path: "data.tar.0001", message: /touches "isos\/big\.iso"/ }]);
    t.match(refusal.hint, /give a second copy of the medium as well, or repair this one: airferry repair/);
    t.match(await status(store), { incoming: [{ missing: ["data.tar.0001"] }] });
    const dir = fresh();
    await repair([bundle], { trust, from: [], out: dir });
    const report = await unpack([bundle, dir], { trust, store });
    t.match(report, { complete: true });
    t.ok(report.written < 2_100_000, `${report.written} bytes: the volume, once more if its damage was not obvious`);
  }
});

t.test("a damaged recovery file is taken from another copy, and is a notice without one", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.0001.par2"), 1, 100);
  const notices: string[] = [];
  const alone = await repair([bundle], { trust, from: [], inPlace: true, notice: (it) => notices.push(it) });
  t.match(alone, { files: [], volumes: [], written: [] });
  t.match(notices, [/"data\.0001\.par2" in ".*" is damaged; the bundle does without it/]);
  t.match(await repair([bundle], { trust, from: [good], inPlace: true }), { files: [{ state: "repaired" }] });
  t.match(await verify([bundle], { trust }), { ok: true, parity: { damaged: [] } });
});

t.test("what a killed repair leaves is no part of the bundle, and is replaced", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.tar.0001"), 3, 100);
  const left = join(bundle, "._airferry-data.tar.0001");
  writeFileSync(left, "half");
  t.match(await verify([copyOf(), bundle], { trust }), { problems: [{ path: "data.tar.0001" }] });
  await repair([bundle], { trust, from: [], inPlace: true });
  t.ok(await isGood(bundle));
  t.notOk(existsSync(left));
});

t.test("a program is replaced with the mode that it had", async (t) => {
  const key = makeKey();
  const [one, two] = [fresh(), fresh()];
  writeFileSync(join(root, "own.pub"), key.pem);
  makeBundle(one, { files: {}, keys: [key], notes: { "bin/airferry-linux-x64": Buffer.alloc(3000, 7) } });
  cpSync(one, two, { recursive: true });
  writeFileSync(join(one, "bin/airferry-linux-x64"), "spoilt");
  const report = await repair([one], { trust: [join(root, "own.pub")], from: [two], inPlace: true });
  t.match(report.files, [{ name: "bin/airferry-linux-x64", state: "repaired" }]);
  t.equal(statSync(join(one, "bin/airferry-linux-x64")).mode & 0o777, 0o755);
});
