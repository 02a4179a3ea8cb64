/** Damaged copies without any recovery file: entries and pieces tell which parts are good. */
import { cpSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { repair } from "../../src/repair.ts";
import { verify } from "../../src/verify.ts";
import { makeBundle, makeKey, sampleFiles } from "../fixtures/bundle-maker.ts";
import { burst, noise, same } from "../fixtures/parity.ts";

const root = t.testdir();
const key = makeKey();
const trust = [join(root, "key.pub")];
writeFileSync(trust[0] ?? "", key.pem);
const good = join(root, "good");
const files = { ...sampleFiles(), "isos/large.iso": noise(5_000_000, 5) };
makeBundle(good, { files, keys: [key], volumeSize: 2_500_000 });
let count = 0;

function copyOf(): string {
  const dir = join(root, `copy-${count++}`);
  cpSync(good, dir, { recursive: true });
  return dir;
}

t.test("two copies that are damaged in different pieces make a good volume", async (t) => {
  const [one, two] = [copyOf(), copyOf()];
  burst(join(one, "data.tar.0001"), 1, 100);
  truncateSync(join(two, "data.tar.0001"), 2_000_000);
  t.match(await repair([one], { trust, from: [two] }), {
    written: [],
    volumes: [{ state: "repairable", by: "pieces" }],
  });
  t.match(await repair([one], { trust, from: [two], inPlace: true }), {
    volumes: [{ state: "repaired", by: "pieces" }],
  });
  t.ok(same(join(one, "data.tar.0001"), join(good, "data.tar.0001")));
});

t.test("what is damaged in both is named", async (t) => {
  const [one, two] = [copyOf(), copyOf()];
  burst(join(one, "data.tar.0001"), 1, 100);
  burst(join(two, "data.tar.0001"), 2, 100);
  const { volumes } = await repair([one], { trust, from: [two], inPlace: true });
  t.match(volumes, [{ state: "lost", by: null, message: /good in no copy: piece \d+ of "isos\/big\.iso"$/ }]);
});

t.test("what is damaged in one is taken from the other, across the ends of volumes", async (t) => {
  const [one, two] = [copyOf(), copyOf()];
  for (const name of readdirSync(good).filter((it) => it.startsWith("data.tar."))) {
    const odd = Number(name.slice(-1)) % 2 === 1;
    // Halves of the volume; the cut is within a small or a large entry, and that is in one of both copies whole.
    truncateSync(join(odd ? one : two, name), 1_800_000);
  }
  for (const name of readdirSync(one).filter((it) => it.startsWith("data.tar."))) {
    if (!same(join(one, name), join(good, name))) burst(join(two, name), 1, 9);
  }
  const out = join(root, `out-${count++}`);
  const report = await repair([one], { trust, from: [two], out });
  for (const it of report.volumes) {
    t.match(it, { state: "repaired", by: "pieces" }, it.message);
    t.ok(same(join(out, it.name), join(good, it.name)), it.name);
  }
  t.ok(report.volumes.length > 0);
});

t.test("a single damaged copy: the pieces that are lost are named", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.tar.0001"), 1, 10);
  const { volumes } = await repair([bundle], { trust, from: [] });
  t.match(volumes, [{ name: "data.tar.0001", state: "lost", by: null, damagedBlocks: null }]);
  t.match(volumes[0]?.message, /good in no copy: pieces? \d+ of "isos\/\w+\.iso"$/);
  t.equal((await verify([bundle], { trust })).ok, false);
});

t.test("without the list of pieces small entries still count", async (t) => {
  const bundle = copyOf();
  rmSync(join(bundle, "data.tar.0000"));
  t.match(await repair([bundle], { trust, from: [] }), { volumes: [{ state: "missing", by: null }] });
});
