/** Damage of every kind, and what mends it. The signed digest decides each time. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { takeLock } from "../../src/io/process-lock.ts";
import { setPackets } from "../../src/parity/packets.ts";
import { repair } from "../../src/repair.ts";
import { verify } from "../../src/verify.ts";
import { burst, noise, protect, same } from "../fixtures/parity.ts";
import { makeParityBundle } from "../fixtures/parity-bundle.ts";

const root = t.testdir();
const { good, volumes: names, trust, copyOf, fresh } = await makeParityBundle(root);
const isGood = async (...media: string[]) => (await verify(media, { trust })).ok;

t.test("more damage than the volume's own recovery blocks is repaired from those of all volumes", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.tar.0001"), 40, 5000);
  t.match(await repair([bundle], { trust, from: [], inPlace: true }), {
    volumes: [{ state: "repaired", by: "blocks" }],
  });
  t.ok(await isGood(bundle));
});

t.test("a lost volume is rebuilt from the recovery blocks of all; two are not", async (t) => {
  const bundle = copyOf();
  rmSync(join(bundle, "data.tar.0002"));
  t.match(await repair([bundle], { trust, from: [], inPlace: true }), {
    volumes: [{ name: "data.tar.0002", state: "repaired", damagedBlocks: 245 }],
  });
  t.ok(await isGood(bundle));
  rmSync(join(bundle, "data.tar.0002"));
  rmSync(join(bundle, "data.tar.0001"));
  const { volumes } = await repair([bundle], { trust, from: [], inPlace: true });
  t.match(volumes, [
    { name: "data.tar.0001", state: "missing", by: null, file: null },
    { name: "data.tar.0002", state: "missing" },
  ]);
  t.match(volumes[0]?.message, /245 damaged blocks, 245 of other files, \d+ recovery blocks; touches/);
});

t.test("a bad volume and a lost one: the first from its own parity, then the other from that of all", async (t) => {
  const bundle = copyOf();
  rmSync(join(bundle, "data.tar.0002"));
  burst(join(bundle, "data.tar.0000"), 20, 300);
  t.match(await repair([bundle], { trust, from: [] }), { volumes: [{ state: "repairable" }, { state: "repairable" }] });
  const dir = fresh();
  t.match(await repair([bundle], { trust, from: [], out: dir }), {
    volumes: [{ state: "repaired" }, { state: "repaired" }],
  });
  t.ok(same(join(dir, "data.tar.0002"), join(good, "data.tar.0002")));
});

t.test("two copies, both damaged, and both their recovery files", async (t) => {
  const [one, two] = [copyOf(), copyOf()];
  for (const name of readdirSync(one).filter((it) => it.endsWith(".par2") && it !== "data.0001.par2"))
    rmSync(join(one, name));
  rmSync(join(two, "data.0001.par2"));
  rmSync(join(two, "data.set.par2"));
  burst(join(one, "data.0001.par2"), 4, 3000);
  burst(join(one, "data.tar.0001"), 40, 500);
  burst(join(two, "data.tar.0001"), 30, 100);
  t.match(await repair([one], { trust, from: [two], inPlace: true }), {
    volumes: [{ state: "repaired", by: "blocks" }],
  });
  t.ok(await isGood(one));
});

t.test("recovery files that lead elsewhere: what they give is not what was signed", async (t) => {
  const bundle = copyOf();
  const forged = join(root, "forged");
  mkdirSync(forged);
  for (const name of names) writeFileSync(join(forged, name), noise(readFileSync(join(good, name)).length, 9));
  for (const name of readdirSync(bundle).filter((it) => it.endsWith(".par2"))) rmSync(join(bundle, name));
  await protect(forged, ["data.tar.0001"], 100, "data.0001");
  copyFileSync(join(forged, "data.0001.par2"), join(bundle, "data.0001.par2"));
  burst(join(bundle, "data.tar.0001"), 1, 10);
  const dir = fresh();
  const { volumes } = await repair([bundle], { trust, from: [], out: dir });
  t.match(volumes, [
    { name: "data.tar.0001", state: "lost", by: null, message: /what was rebuilt is not what was signed/ },
  ]);
  t.notOk(existsSync(join(dir, "data.tar.0001")));
});

t.test("the same volume is damaged on two media of one bundle: both are mended in place", async (t) => {
  const [one, two] = [copyOf(), copyOf()];
  burst(join(one, "data.tar.0000"), 3, 300);
  burst(join(two, "data.tar.0000"), 7, 300);
  const { volumes } = await repair([one, two], { trust, from: [], inPlace: true });
  const files = [one, two].map((it) => join(it, "data.tar.0000"));
  t.strictSame(
    volumes.map((it) => [it.state, it.file]),
    files.map((it) => ["repaired", it]),
  );
  for (const it of files) t.ok(same(it, join(good, "data.tar.0000")), it);
});

t.test("while one repair writes to a folder, another does not", async (t) => {
  const bundle = copyOf();
  burst(join(bundle, "data.tar.0000"), 3, 300);
  const before = readFileSync(join(bundle, "data.tar.0000"));
  const other = await takeLock(join(bundle, "._airferry-lock"), bundle);
  writeFileSync(join(bundle, "._airferry-data.tar.0000"), "of the other");
  await t.rejects(repair([bundle], { trust, from: [], inPlace: true }), { code: "ERR_BUSY" });
  t.equal(readFileSync(join(bundle, "._airferry-data.tar.0000"), "utf8"), "of the other");
  t.ok(readFileSync(join(bundle, "data.tar.0000")).equals(before));
  await other.release();
  t.match(await repair([bundle], { trust, from: [], inPlace: true }), { volumes: [{ state: "repaired" }] });
  t.strictSame(readdirSync(bundle).sort(), readdirSync(good).sort(), "nothing is left beside");
});

t.test("a recovery file that claims blocks of petabytes is left alone", async (t) => {
  const bundle = copyOf();
  for (const name of readdirSync(bundle).filter((it) => it.endsWith(".par2"))) rmSync(join(bundle, name));
  const [name = ""] = names;
  burst(join(bundle, name), 3, 300);
  const { length: size } = readFileSync(join(bundle, name));
  const sums = { md5: Buffer.alloc(16), md5Of16k: Buffer.alloc(16), sums: Buffer.alloc(20) };
  const others = [{ name: "larger", size: 2 ** 52, ...sums }];
  const file = join(root, "claims.par2");
  writeFileSync(file, setPackets([{ name, size, ...sums }, ...others], 2 ** 52).packets);
  const { volumes } = await repair([bundle], { trust, from: [file] });
  t.match(volumes, [{ name, state: "lost", damagedBlocks: null }]);
});
