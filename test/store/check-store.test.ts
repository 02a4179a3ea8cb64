/** What `status --check` finds in a store whose disk lost something, and that what it says heals the store. */
import { chmodSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { checkStore, type StoreCheck } from "../../src/store/check-store.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey, noise, sha256 } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch } from "../fixtures/program.ts";

const dir = scratch(t);
const key = makeKey();
const trust = [join(dir, "key.pub")];
writeFileSync(join(dir, "key.pub"), key.pem);
const first = {
  "files/old": noise(700, 1),
  "files/same": noise(800, 2),
  "files/twin": noise(800, 2),
  "isos/a.iso": noise(3_000_000, 3),
};
const second = { "files/empty": Buffer.alloc(0), "files/same": first["files/same"], "isos/a.iso": first["isos/a.iso"] };
const store = join(dir, "store");
for (const [index, files] of [first, second].entries()) {
  const bundle = join(dir, `bundle-${index + 1}`);
  makeBundle(bundle, { files, keys: [key], serial: index + 1 });
  await unpack([bundle], { trust, store });
}
const blobOf = (bytes: Buffer) => join(store, "blobs/sha256", sha256(bytes).slice(0, 2), sha256(bytes));
const names = () => readdirSync(store, { recursive: true }).sort();
const check = (...more: string[]) => airferry(dir, ["status", "--store", "store", "--check", ...more]);

t.test("a whole store is good, also while somebody writes it; all of it is read and nothing changed", async (t) => {
  const lock = await (await openStore(store)).lock();
  const before = names();
  const seen: [number, number][] = [];
  const report = await checkStore(store, { progress: (...it) => seen.push(it) });
  // And data.pieces of each release.
  const size = 3_000_000 + 700 + 800 + 2 * (40 + 3 * 32);
  t.same(report, { ok: true, store, releases: 2, blobs: { count: 6, size }, problems: [] });
  t.same(seen.at(-1), [size, size]);
  t.same(names(), before);
  await lock.release();
  const ran = await check();
  t.equal(ran.status, 0);
  t.equal(ran.stdout, "good: 2 releases, 6 blobs, 2.86 MiB\n");
  const none = await airferry(dir, ["status", "--store", "nowhere", "--check"]);
  t.equal(none.status, 1);
});

t.test(
  "all that is damaged or missing is named with its entries; removed and unpacked again, all is good",
  async (t) => {
    const flipped = blobOf(first["isos/a.iso"]);
    const short = blobOf(first["files/same"]);
    const gone = blobOf(first["files/old"]);
    for (const it of [flipped, short]) chmodSync(it, 0o644);
    flip(flipped, 2_999_999);
    truncateSync(short, 799);
    rmSync(gone);
    const ran = await check("--json");
    t.equal(ran.status, 3, ran.stderr);
    const report = JSON.parse(ran.stdout) as StoreCheck;
    t.match(
      new Map(report.problems.map((it) => [it.path, it])),
      new Map([
        [
          flipped,
          {
            code: "ERR_DIGEST_MISMATCH",
            message:
              /^digest mismatch: expected sha256:.*, got sha256:.*; it is "test\/000001: isos\/a\.iso", "test\/0/,
            entries: ["test/000001: isos/a.iso", "test/000002: isos/a.iso"],
          },
        ],
        [
          short,
          {
            code: "ERR_SIZE_MISMATCH",
            message: /^wrong size: expected 800 bytes, got 799; it is /,
            entries: ["test/000001: files/same", "test/000001: files/twin", "test/000002: files/same"],
          },
        ],
        [gone, { code: "ERR_BUNDLE_INCOMPLETE", message: 'missing; it is "test/000001: files/old"' }],
      ]),
    );
    const said = await check();
    t.equal(said.status, 3);
    t.equal(said.stdout, "");
    t.match(
      said.stderr,
      /^airferry: error: cannot trust store "store": 3 problems\n( {2}\/.*\n){3}airferry: hint: .*airferry fsck --store store --repair-from/m,
    );
    for (const { path } of report.problems) rmSync(path, { force: true });
    t.match(await unpack([join(dir, "bundle-2")], { trust, store }), { complete: true, written: 3_000_800 });
    t.match((await checkStore(store)).problems, [{ path: gone }], "what only the older release had");
    await unpack([join(dir, "bundle-1")], { trust, store, allowRollback: true });
    await unpack([join(dir, "bundle-2")], { trust, store });
    t.match(await checkStore(store), { ok: true });
  },
);

t.test("a record that is damaged is a problem like others", async (t) => {
  const folder = join(store, "releases/test/000001");
  chmodSync(join(folder, "airferry.json"), 0o644);
  flip(join(folder, "airferry.json"), 10);
  t.match(await checkStore(store), {
    ok: false,
    releases: 1,
    problems: [{ code: "ERR_STORE_INVALID", path: folder, entries: [] }],
  });
});

t.test("a record that becomes unreadable while its blobs are read is told: one of them was bad", async (t) => {
  const folder = join(store, "releases/test/000002");
  const blob = blobOf(first["files/same"]);
  for (const it of [blob, join(folder, "airferry.json")]) chmodSync(it, 0o644);
  flip(blob, 5);
  let isSpoiled = false;
  const progress = () => {
    if (!isSpoiled) flip(join(folder, "airferry.json"), 10);
    isSpoiled = true;
  };
  const report = await checkStore(store, { progress });
  t.match(report, { ok: false, releases: 1 });
  t.same(
    report.problems.map((it) => it.path).sort(),
    ["1", "2"].map((it) => join(store, `releases/test/00000${it}`)),
  );
});
