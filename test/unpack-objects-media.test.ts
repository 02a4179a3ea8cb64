/** unpack into object storage of a set of media of which one is in the drive at a time. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t, { type Test } from "tap";
import { prune } from "../src/prune.ts";
import { status } from "../src/status.ts";
import { checkStore } from "../src/store/check-store.ts";
import { type UnpackReport, unpack } from "../src/unpack.ts";
import { startBucketBench } from "./fixtures/bucket-bench.ts";
import { makeBundle, noise, sampleFiles, sha256 } from "./fixtures/bundle-maker.ts";
import { flip } from "./fixtures/bundle-tamper.ts";
import { COMPILE_CACHE } from "./fixtures/program.ts";
import { refused } from "./fixtures/refused.ts";
import { seeded } from "./fixtures/seeded.ts";
import { blobsOf, holds } from "./fixtures/unpacked.ts";

const { skip, gateway, key, keyFile, trust, fresh, freshStore, root } = await startBucketBench(t);
const KILLS = 6;
/** Small volumes: entries begin on one medium, and end up to three later. */
const files = sampleFiles();
function smallSet(serial = 1): string[] {
  return makeBundle(fresh("set"), { files, keys: [key], volumeSize: 1_048_576, perMedium: 1, serial }).folders;
}
/** Medium 1 has a blob of several parts, medium 2 a piece of several parts; the last file goes on on medium 3. */
const large: Record<string, Buffer> = {
  ...files,
  "isos/large.iso": noise(17_500_000, 9),
  "isos/second.iso": noise(26_000_000, 10),
  "isos/third.iso": noise(4_000_000, 11),
};
const sets = skip
  ? []
  : makeBundle(join(root, "large"), { files: large, keys: [key], volumeSize: 25_000_320, perMedium: 1 }).folders;
const piecesIn = (folder: string) =>
  existsSync(join(folder, "incoming"))
    ? readdirSync(join(folder, "incoming"), { recursive: true, withFileTypes: true }).filter((it) => it.isFile())
    : [];
function allRight(t: Test, folder: string): void {
  for (const file of blobsOf(folder)) t.equal(sha256(readFileSync(file)), file.slice(-64));
}
async function finished(t: Test, folder: string, expected: Record<string, Buffer>): Promise<void> {
  t.equal(await holds(folder, expected), true);
  t.match(await checkStore(folder), { ok: true });
  t.same(piecesIn(folder), [], "nothing of the quarantine is left");
}

t.test("media come one after the other, in any order, and twice", { skip }, async (t) => {
  const set = smallSet();
  t.equal(set.length, 4);
  for (const order of [
    [0, 1, 2, 3],
    [3, 1, 0, 2],
  ]) {
    const { store, folder } = freshStore();
    let report: UnpackReport | undefined;
    for (const [at, index] of order.entries()) {
      const medium = set[index] ?? "";
      report = await unpack([medium], { trust, store });
      const isLast = at === set.length - 1;
      t.match(report, { complete: isLast, missing: { length: isLast ? 0 : set.length - at - 1 } });
      t.equal(existsSync(join(folder, "releases/test/current")), isLast);
      allRight(t, folder);
      if (isLast) continue;
      t.equal((await status(store)).incoming?.[0]?.missing.length, set.length - at - 1);
      const again = await unpack([medium], { trust, store });
      t.match(again, { complete: false, written: 0, missing: report.missing }, "the same once more");
    }
    t.match(await unpack(set, { trust, store }), { complete: true, already: true, written: 0 });
    await finished(t, folder, files);
  }
});

t.test("some media at once, and one of another bundle in between", { skip }, async (t) => {
  const [set, other] = [smallSet(1), smallSet(2)];
  const [a = "", b = "", c = "", d = ""] = set;
  const { store, folder } = freshStore();
  t.match(await unpack([a, c], { trust, store }), { complete: false, missing: ["data.tar.0001", "data.tar.0003"] });
  t.match(await refused(unpack([b, other[3] ?? ""], { trust, store })), { code: /^ERR_BUNDLE_/ });
  t.match(await unpack([other[1] ?? ""], { trust, store }), { complete: false, serial: 2 });
  t.equal((await status(store)).incoming?.length, 2);
  t.match(await unpack([b, d], { trust, store }), { complete: true, serial: 1 });
  t.equal((await status(store)).incoming?.length, 1, "the other waits");
  t.match(await unpack(other, { trust, store }), { complete: true, serial: 2 });
  await finished(t, folder, files);
});

t.test("a damaged medium is refused by name, its good copy finishes the set", { skip }, async (t) => {
  const set = smallSet();
  const good = smallSet();
  const { store, folder } = freshStore();
  await unpack([set[0] ?? ""], { trust, store });
  flip(join(set[1] ?? "", "data.tar.0001"), 700_000);
  t.match(await refused(unpack([set[1] ?? ""], { trust, store })), {
    code: "ERR_DIGEST_MISMATCH",
    problems: [{ path: "data.tar.0001" }],
  });
  t.ok((await status(store)).incoming?.[0]?.missing.includes("data.tar.0001"));
  for (const at of [2, 3]) t.match(await unpack([set[at] ?? ""], { trust, store }), { complete: false });
  t.match(await unpack([good[1] ?? ""], { trust, store }), { complete: true });
  await finished(t, folder, files);
});

t.test("a piece that is damaged in the bucket is asked for again", { skip }, async (t) => {
  const set = smallSet();
  const { store, folder } = freshStore();
  for (const at of [0, 1, 2]) await unpack([set[at] ?? ""], { trust, store });
  const piece = piecesIn(folder).find((it) => it.name.endsWith("data.tar.0001"));
  flip(join(piece?.parentPath ?? "", piece?.name ?? ""), 1000);
  const notices: string[] = [];
  const report = await unpack([set[3] ?? ""], { trust, store, notice: (it) => notices.push(it) });
  t.match(report, { complete: false });
  t.match(notices.join("\n"), /what earlier media brought of "isos\/big.iso" was not right/);
  t.ok(report.missing.includes("data.tar.0001") && !report.missing.includes("data.tar.0003"));
  allRight(t, folder);
  for (const at of [0, 2, 1].filter((it) => report.missing.includes(`data.tar.000${it}`)))
    await unpack([set[at] ?? ""], { trust, store });
  await finished(t, folder, files);
});

t.test("prune leaves an unfinished set alone, and drops it with --incoming", { skip }, async (t) => {
  const set = smallSet();
  const { store, folder } = freshStore();
  await unpack([set[1] ?? ""], { trust, store });
  const before = piecesIn(folder).length;
  t.ok(before > 1);
  await prune(store, { keep: 1 });
  t.equal(piecesIn(folder).length, before);
  await prune(store, { keep: 1, incoming: true });
  t.same([piecesIn(folder), blobsOf(folder)], [[], []]);
});

t.test(`large files: killed ${KILLS} times, and a rerun with the same medium goes on`, { skip }, async (t) => {
  if (gateway === undefined) return;
  t.equal(sets.length, 3);
  const { store, folder } = freshStore();
  const random = seeded(2026);
  const run = async (medium: string, afterMs: number): Promise<boolean> => {
    const program = join(import.meta.dirname, "fixtures/unpack-main.ts");
    const child = spawn(process.execPath, [program, medium, store, keyFile], {
      env: { ...process.env, NODE_COMPILE_CACHE: COMPILE_CACHE },
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    const exit = once(child, "exit");
    const isDone = (await Promise.race([exit, sleep(afterMs)])) !== undefined;
    child.kill("SIGKILL");
    await exit;
    allRight(t, folder);
    return isDone;
  };
  const [first = "", second = "", third = ""] = sets;
  for (let killed = 0; killed < KILLS / 2; ) if (!(await run(second, random(900) + 1))) killed++;
  t.notOk(existsSync(join(folder, "releases/test/current")));
  const missing = ["data.tar.0000", "data.tar.0002"];
  t.match(await unpack([second], { trust, store }), { complete: false, missing });
  t.match(await unpack([second], { trust, store }), { complete: false, written: 0, missing });
  for (let killed = 0; killed < KILLS / 2; killed++) await run(first, random(900) + 1);
  t.match(await unpack([first], { trust, store }), { complete: false, missing: ["data.tar.0002"] });
  // Blobs of several parts, of which the storage says no digest, are not asked for again.
  t.match(await unpack([third], { trust, store }), { complete: true });
  await finished(t, folder, large);
});
