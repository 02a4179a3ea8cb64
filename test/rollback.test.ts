/** rollback serves what is still in the store, and weakens no rule. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../src/io/digest.ts";
import { prune } from "../src/prune.ts";
import { rollback } from "../src/rollback.ts";
import { serve } from "../src/serve.ts";
import { status } from "../src/status.ts";
import { writeKnownDamage } from "../src/store/known-damage.ts";
import { blobPathIn } from "../src/store/layout.ts";
import { openStore } from "../src/store/store.ts";
import { unpack } from "../src/unpack.ts";
import { makeBundle, makeKey } from "./fixtures/bundle-maker.ts";
import { airferry } from "./fixtures/host.ts";
import { scratch } from "./fixtures/program.ts";

const dir = scratch(t);
const key = makeKey();
const trust = [join(dir, "key.pub")];
writeFileSync(join(dir, "key.pub"), key.pem);
const fileOf = (serial: number) => Buffer.from(`serial ${serial}\n`);
const bundleOf = (serial: number, epoch = 1, stream = "test") => {
  const bundle = join(dir, `${stream}-${epoch}-${serial}`);
  if (!existsSync(bundle)) {
    const notAfter = serial === 2 ? { notAfter: "2026-02-01T00:00:00Z" } : {};
    makeBundle(bundle, { files: { "files/x": fileOf(serial) }, keys: [key], serial, epoch, stream, ...notAfter });
  }
  return bundle;
};
let count = 0;
async function storeWith(...serials: number[]) {
  const store = join(dir, `store-${count++}`);
  const now = new Date("2026-01-15T00:00:00Z");
  for (const it of serials) await unpack([bundleOf(it)], { trust, store, now });
  return store;
}
const served = async (store: string) => (await (await openStore(store)).releases()).map((it) => it.serial);
const floor = (store: string) => readFileSync(join(store, "releases/test/floor.json"), "utf8");

t.test("it goes one release back, to a named one, and forward again", async (t) => {
  const store = await storeWith(1, 2, 3, 5);
  const before = floor(store);
  const report = await rollback(store);
  t.match(report, { from: { serial: 5 }, to: { serial: 3, notAfter: null }, changed: true, expired: false });
  t.same(await served(store), [3]);
  t.match(await rollback(store, { to: "2" }), { from: { serial: 3 }, to: { serial: 2 }, expired: true });
  t.match(await rollback(store, { to: "000001" }), { to: { serial: 1 } });
  t.match(await rollback(store, { to: "1" }), { changed: false });
  t.match((await status(store)).streams, [{ floor: { epoch: 1, serial: 5 } }]);
  t.match(await rollback(store, { to: "5" }), { from: { serial: 1 }, to: { serial: 5 }, changed: true });
  t.equal(floor(store), before, "the floor stays");
});

t.test("what was refused before is refused afterwards, also when the floor was lost", async (t) => {
  const store = await storeWith(1, 3, 5);
  await rollback(store, { to: "1" });
  for (const serial of [3, 4]) await t.rejects(unpack([bundleOf(serial)], { trust, store }), { code: "ERR_ROLLBACK" });
  const twin = join(dir, "twin");
  makeBundle(twin, { files: { "files/x": Buffer.from("other") }, keys: [key], serial: 3 });
  await t.rejects(unpack([twin], { trust, store, allowRollback: true }), { code: "ERR_EQUIVOCATION" });
  t.same(await served(store), [1]);
  rmSync(join(store, "releases/test/floor.json"));
  await rollback(store, { to: "3" });
  await t.rejects(unpack([bundleOf(4)], { trust, store }), { code: "ERR_ROLLBACK" }, "5 is in the store");
  t.match(
    await unpack([bundleOf(5)], { trust, store }),
    { already: true, complete: true },
    "the newest may come again",
  );
  t.same(await served(store), [5]);
  await unpack([bundleOf(6)], { trust, store });
  t.same(await served(store), [6]);
});

t.test("epochs count before serials", async (t) => {
  const store = await storeWith(7);
  await unpack([bundleOf(3, 2)], { trust, store });
  t.match(await rollback(store), { from: { epoch: 2, serial: 3 }, to: { epoch: 1, serial: 7 }, floor: { epoch: 2 } });
  t.match(await rollback(store, { to: "3" }), { to: { epoch: 2, serial: 3 } });
});

t.test("a running server switches, and prune keeps what is served", async (t) => {
  const store = await storeWith(1, 3, 5);
  const serving = await serve({ store, listen: "127.0.0.1:0", workers: 1, graceMs: 100 });
  t.teardown(() => serving.close());
  const get = async () => (await fetch(`${serving.urls[0]}/files/x`)).text();
  t.equal(await get(), "serial 5\n");
  await rollback(store);
  const until = Date.now() + 5000;
  while ((await get()) !== "serial 3\n" && Date.now() < until) await new Promise((resolve) => setTimeout(resolve, 100));
  t.equal(await get(), "serial 3\n");
  const report = await prune(store, { keep: 1 });
  t.same(report.releases, ["test/000001", "test/000005"]);
  t.equal(await get(), "serial 3\n");
  await t.rejects(unpack([bundleOf(4)], { trust, store }), { code: "ERR_ROLLBACK" }, "the floor outlives the release");
});

t.test("it refuses what it cannot serve, and says what there is", async (t) => {
  const store = await storeWith(1, 3);
  await t.rejects(rollback(store, { to: "2" }), { code: "ERR_NOT_FOUND", message: /it has 000001, 000003/ });
  for (const to of ["", "-1", "x", "../000001", "e2-000001"])
    await t.rejects(rollback(store, { to }), { code: "ERR_NOT_FOUND" });
  await rollback(store);
  await t.rejects(rollback(store), { code: "ERR_NOT_FOUND", message: /no release before 000001/ });
  await t.rejects(rollback(store, { stream: "none" }), { code: "ERR_NOT_FOUND", message: /it has "test"/ });
  await writeKnownDamage(store, [digestOf(fileOf(3))]);
  await t.rejects(rollback(store, { to: "3" }), {
    code: "ERR_STORE_INVALID",
    message: /damaged in the store, first "files\/x"/,
  });
  await writeKnownDamage(store, []);
  rmSync(blobPathIn(store, digestOf(fileOf(3))));
  await t.rejects(rollback(store, { to: "3" }), { code: "ERR_STORE_INVALID", hint: /airferry fsck --store/ });
  t.same(await served(store), [1]);
  const lock = await (await openStore(store)).lock();
  await t.rejects(rollback(store), { code: "ERR_BUSY" });
  await lock.release();
  await unpack([bundleOf(1, 1, "second")], { trust, store });
  await t.rejects(rollback(store), { code: "ERR_USAGE", message: /"second", "test"/ });
  writeFileSync(join(store, "releases/test/floor.json"), "{");
  await t.rejects(rollback(store, { stream: "test" }), { code: /ERR_STORE_INVALID|ERR_NOT_FOUND/ });
});

t.test("the command says what happens, status shows it", async (t) => {
  const store = await storeWith(1, 3);
  const ran = await airferry(dir, ["rollback", "--store", store]);
  t.equal(ran.status, 0, ran.stderr);
  t.equal(ran.stdout, "test: now serves serial 1\n");
  t.match(ran.stderr, /switch within a second/);
  t.match(ran.stderr, /to take this back: airferry rollback --store \S+ --stream test --to 3/);
  t.match(ran.stderr, /unpack still refuses bundles below serial 3/);
  const shown = await airferry(dir, ["status", "--store", store]);
  t.match(shown.stdout, /test: rolled back: serial 1 is served, 3 was the newest/);
  const json = await airferry(dir, ["rollback", "--store", store, "--to", "3", "--json"]);
  t.match(JSON.parse(json.stdout), { stream: "test", from: { serial: 1 }, to: { serial: 3 }, changed: true });
  const wrong = await airferry(dir, ["rollback", "--store", store, "--to", "9"]);
  t.equal(wrong.status, 1);
});
