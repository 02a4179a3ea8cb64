/** Volumes that stand on several media: `unpack` takes a good copy where the first is damaged; `verify` tells of every bad one. */
import { cpSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { makeBundle, makeKey, sampleFiles } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";
import { scratch } from "../fixtures/program.ts";

const dir = scratch(t);
const key = makeKey();
const trust = [join(dir, "key.pub")];
writeFileSync(join(dir, "key.pub"), key.pem);
const files = sampleFiles();
const good = join(dir, "good");
const { inventory } = makeBundle(good, { files, keys: [key], volumeSize: 700_000 });
const names = inventory.volumes.map((it) => it.name);
let count = 0;
const copyOf = () => {
  const to = join(dir, `copy-${count++}`);
  cpSync(good, to, { recursive: true });
  return to;
};
const holdsAll = async (store: string) => {
  const open = await openStore(store);
  const entries = [...((await open.releases())[0]?.inventory.entries ?? [])];
  return (
    entries.length === Object.keys(files).length &&
    entries.every((it) => readFileSync(open.blobPath(it.digest)).equals(files[it.path] as Buffer))
  );
};

/** What is done to the volumes of the first folder, by their index. */
const SPOILED: [string, (file: string, index: number) => void][] = [
  ["one byte in the first", (file, index) => index === 0 && flip(file, 5000)],
  ["one byte in each", (file) => flip(file, 1)],
  ["the last byte of the last, the archive's end", (file, index) => index === names.length - 1 && flip(file, -1)],
  ["one that is cut", (file, index) => index === 2 && truncateSync(file, 100_000)],
  ["all cut to nothing", (file) => truncateSync(file, 0)],
  ["one that is missing", (file, index) => index === 1 && rmSync(file)],
];

for (const [what, spoil] of SPOILED) {
  t.test(what, async (t) => {
    const bad = copyOf();
    for (const [index, name] of names.entries()) spoil(join(bad, name), index);
    const notices: string[] = [];
    const store = join(dir, `store-${count++}`);
    const report = await unpack([bad, good], { trust, store, notice: (line) => notices.push(line) });
    t.equal(report.complete, true);
    t.ok(await holdsAll(store));
    if (!what.includes("missing")) t.match(notices.join("\n"), /data\.tar\.\d+.*another copy|reading the copy/);
    const checked = await verify([bad, good], { trust });
    t.equal(checked.ok, what.includes("missing"), "verify tells of the copy");
    t.match(await verify([good], { trust }), { ok: true });
  });
}

t.test("bad here in one volume and there in another", async (t) => {
  const [one, two] = [copyOf(), copyOf()] as [string, string];
  flip(join(one, names[0] as string), 3);
  flip(join(two, names[1] as string), 3);
  flip(join(one, names[3] as string), 3);
  const store = join(dir, `store-${count++}`);
  t.match(await unpack([one, two], { trust, store }), { complete: true });
  t.ok(await holdsAll(store));
});

t.test("with some volumes still to come", async (t) => {
  const [one, two] = [copyOf(), copyOf()] as [string, string];
  for (const it of [one, two]) rmSync(join(it, names[4] as string));
  flip(join(one, names[0] as string), 3);
  flip(join(one, names[2] as string), 3);
  const store = join(dir, `store-${count++}`);
  t.match(await unpack([one, two], { trust, store }), { complete: false, missing: [names[4]] });
  t.match(await unpack([good], { trust, store }), { complete: true });
  t.ok(await holdsAll(store));
});

t.test("no copy is good: refused by name, nothing is current", async (t) => {
  const [one, two] = [copyOf(), copyOf()] as [string, string];
  for (const it of [one, two]) flip(join(it, names[1] as string), 777);
  const store = join(dir, `store-${count++}`);
  await t.rejects(unpack([one, two], { trust, store }), {
    code: "ERR_DIGEST_MISMATCH",
    problems: [{ path: names[1] }],
  });
  t.same(await (await openStore(store)).releases(), []);
});

t.test("a link in place of a copy is refused whatever else there is", async (t) => {
  const bad = copyOf();
  rmSync(join(bad, names[0] as string));
  symlinkSync(join(good, names[0] as string), join(bad, names[0] as string));
  const store = join(dir, `store-${count++}`);
  await t.rejects(unpack([bad, good], { trust, store }), { code: "ERR_PATH_UNSAFE" });
});
