/** A power loss after any system call of `fsck --repair-from` and `rollback`: what has a name is right, and a rerun finishes. */

import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import t from "tap";
import { fsck } from "../../src/fsck.ts";
import { digestOf } from "../../src/io/digest.ts";
import { verifyJournal } from "../../src/journal.ts";
import { rollback } from "../../src/rollback.ts";
import { blobPathIn } from "../../src/store/layout.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey, noise, sha256 } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";
import { needs } from "../fixtures/clients.ts";
import { foldersOf, lay } from "../fixtures/power-loss.ts";
import { ROOT, scratch } from "../fixtures/program.ts";
import { type Disk, disksAfter, record } from "../fixtures/syscall-trace.ts";

const BIN = [process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, "src/bin.ts")];
const RERUNS = 6;
const key = makeKey();
const files = { "isos/large.iso": noise(1_300_000, 1), "files/small": noise(3000, 2) };

t.test("fsck: a blob has its old bytes or the right ones, and a rerun finishes", async (t) => {
  if (!needs(t, "strace")) return;
  const dir = scratch(t);
  const trust = [join(dir, "k.pub")];
  writeFileSync(join(dir, "k.pub"), key.pem);
  makeBundle(join(dir, "bundle"), { files, keys: [key] });
  const store = join(dir, "store");
  await unpack([join(dir, "bundle")], { trust, store });
  flip(blobPathIn(store, digestOf(files["isos/large.iso"])), 1_100_000);
  rmSync(blobPathIn(store, digestOf(files["files/small"])));
  const pristine = join(dir, "pristine");
  cpSync(store, pristine, { recursive: true });
  const command = [...BIN, "fsck", "--store", "store", "--repair-from", "bundle", "--trust", "k.pub", "-q"];
  const ops = record(command, store, { cwd: dir, env: process.env });
  t.ok(ops.filter((it) => it.kind === "rename").length >= 2);
  const disks = [...disksAfter(ops, store, foldersOf(store))];
  const faults = new Set<string>();
  let named = 0;
  for (const disk of disks) {
    for (const [path, bytes] of disk.files) {
      if (!/\/blobs\/sha256\/..\/[0-9a-f]{64}$/.test(path)) continue;
      named++;
      if (sha256(bytes) !== basename(path)) faults.add(`${basename(dirname(path))} is wrong (${disk.what})`);
    }
  }
  t.same([...faults].slice(0, 5), [], `${disks.length} disks`);
  t.ok(named > 0);
  for (let index = 0; index < RERUNS; index++) {
    const disk = disks[Math.floor((index * disks.length) / RERUNS)] as Disk;
    lay(disk, store, pristine, ops);
    rmSync(join(store, "lock"), { force: true });
    const report = await fsck(store, { repairFrom: [join(dir, "bundle")], trust });
    t.ok(report.ok, disk.what);
    t.match(await fsck(store), { ok: true });
  }
});

t.test("rollback: one of both releases is served, and the floor stays", async (t) => {
  if (!needs(t, "strace")) return;
  const dir = scratch(t);
  const trust = [join(dir, "k.pub")];
  writeFileSync(join(dir, "k.pub"), key.pem);
  const store = join(dir, "store");
  for (const serial of [1, 2]) {
    const bundle = join(dir, `bundle-${serial}`);
    makeBundle(bundle, { files: { "files/x": Buffer.from(String(serial)) }, keys: [key], serial });
    await unpack([bundle], { trust, store });
  }
  const pristine = join(dir, "pristine");
  cpSync(store, pristine, { recursive: true });
  const ops = record([...BIN, "rollback", "--store", "store", "-q"], store, { cwd: dir, env: process.env });
  const disks = [...disksAfter(ops, store, foldersOf(store))];
  const lines = readFileSync(join(pristine, "journal.jsonl"), "utf8");
  const floor = readFileSync(join(pristine, "releases/test/floor.json"));
  const served = new Set<string>();
  for (const disk of disks) {
    const current = disk.files.get(join(store, "releases/test/current"))?.toString() ?? "000002\n";
    served.add(current);
    // The recording has what was appended, not what was there before.
    const appended = disk.files.get(join(store, "journal.jsonl"));
    const journal = `${lines}${appended?.toString() ?? ""}`;
    if (appended !== undefined) disk.files.set(join(store, "journal.jsonl"), Buffer.from(journal));
    // No line tells of what did not happen.
    if (journal !== lines) t.equal(current, "000001\n", disk.what);
    t.ok(floor.equals(disk.files.get(join(store, "releases/test/floor.json")) ?? floor), disk.what);
  }
  t.same([...served].sort(), ["000001\n", "000002\n"]);
  lay(disks[disks.length >> 1] as Disk, store, pristine, ops);
  rmSync(join(store, "lock"), { force: true });
  await rollback(store, { to: "1" });
  t.same(
    (await (await openStore(store)).releases()).map((it) => it.serial),
    [1],
  );
  for (const disk of disks.filter(
    (_, index) => index % Math.ceil(disks.length / RERUNS) === 0 || index === disks.length - 1,
  )) {
    lay(disk, store, pristine, ops);
    rmSync(join(store, "lock"), { force: true });
    await rollback(store, { to: "1" });
    t.match(await verifyJournal(store), { torn: 0, missing: [] }, disk.what);
  }
});
