/** A power loss after any system call of `unpack` and `pack`: nothing wrong is served or taken for finished, and a rerun finishes. */

import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseInventory } from "../../src/bundle/inventory.ts";
import { parseSums } from "../../src/bundle/sums.ts";
import { digestOf } from "../../src/io/digest.ts";
import { blobPathIn } from "../../src/store/layout.ts";
import { openStore } from "../../src/store/store.ts";
import { unpack } from "../../src/unpack.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { ROOT, scratch, writeManifest } from "../fixtures/program.ts";
import { type Disk, disksAfter, materialise, record } from "../fixtures/syscall-trace.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const BIN = [process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, "src/bin.ts")];
/** So many of the states are made real and continued from. */
const RERUNS = 12;

t.test("unpack: every release on every disk is whole, and a rerun finishes", async (t) => {
  if (!needs(t, "strace")) return;
  const dir = scratch(t);
  const key = makeKey();
  writeFileSync(join(dir, "k.pub"), key.pem);
  const files = {
    "files/a": Buffer.from("a"),
    "files/empty": Buffer.alloc(0),
    "files/b": noise(5000, 1),
    "isos/large.iso": noise(1_300_000, 2),
  };
  makeBundle(join(dir, "bundle"), { files, keys: [key] });
  const store = join(dir, "store");
  const command = [...BIN, "unpack", "bundle", "--trust", "k.pub", "--store", "store", "-q"];
  const ops = record(command, store, { cwd: dir, env: process.env });
  t.ok(ops.length > 50, `${ops.length} operations`);
  t.ok(ops.some((it) => it.kind === "sync") && ops.some((it) => it.kind === "rename"));
  const disks = [...disksAfter(ops, store)];
  const faults = new Set<string>();
  const releases = disks.filter((it) => it.files.has(join(store, "releases/test/current")));
  for (const disk of disks) for (const fault of faultsOfStore(disk, store)) faults.add(`${fault} (${disk.what})`);
  t.same([...faults].slice(0, 5), [], `${disks.length} disks, ${releases.length} with a release`);
  t.ok(releases.length > 4);
  const last = disks.at(-4) as Disk;
  for (const [path, bytes] of last.files) {
    // With all names and bytes, the whole of the recording is what is there: nothing was missed.
    if (!path.endsWith("/lock")) t.ok(readFileSync(path).equals(bytes), path.slice(store.length));
  }
  for (let index = 0; index < RERUNS; index++) {
    const disk = disks[Math.floor((index * disks.length) / RERUNS)] as Disk;
    const again = join(dir, "again");
    materialise(disk, store, again);
    const report = await unpack([join(dir, "bundle")], { trust: [join(dir, "k.pub")], store: again });
    const open = await openStore(again);
    const [release] = await open.releases();
    const right = [...(release?.inventory.entries ?? [])].every((it) =>
      readFileSync(open.blobPath(it.digest)).equals(files[it.path as keyof typeof files]),
    );
    t.ok(report.complete && release?.inventory.entries.length === 4 && right, disk.what);
    rmSync(again, { recursive: true });
  }
});

function* faultsOfStore(disk: Disk, store: string): Generator<string> {
  for (const [path, bytes] of disk.files) {
    const [, name] = /\/blobs\/sha256\/[0-9a-f]{2}\/([0-9a-f]{64})$/.exec(path) ?? [];
    if (name !== undefined && sha256(bytes) !== name) yield "a blob is not what its name says";
  }
  const releases = join(store, "releases/test");
  const current = disk.files.get(join(releases, "current"));
  if (current === undefined) return;
  const folder = join(releases, current.toString().trim());
  const [sums, inventory, evidence, floor] = ["SHA256SUMS", "airferry.json", "import.json", "../floor.json"].map((it) =>
    disk.files.get(join(folder, it)),
  );
  if (!sums || !inventory || !evidence || !floor) return yield "current names a release without its record";
  if (parseSums(sums).lines.find((it) => it.name === "airferry.json")?.digest !== digestOf(inventory))
    yield "a broken record";
  for (const it of parseInventory(inventory).entries) {
    if (!disk.files.has(blobPathIn(store, it.digest))) yield "a release lacks a blob";
  }
}

t.test("pack: a bundle under its final name is whole on every disk, and a rerun finishes", async (t) => {
  if (!needs(t, "strace")) return;
  const dir = scratch(t);
  writeFileSync(join(dir, "a"), "a");
  writeFileSync(join(dir, "large"), noise(1_300_000, 3));
  const file = writeManifest(dir, { files: [{ path: "a" }, { path: "large" }] });
  t.equal((await airferry(dir, ["lock", file])).status, 0);
  const out = join(dir, "out");
  const env = { ...process.env, AIRFERRY_CACHE: join(dir, "cache"), SOURCE_DATE_EPOCH: "1800000000" };
  const ops = record([...BIN, "pack", file, "--unsigned", "--out", "out", "--serial", "1", "-q"], out, {
    cwd: dir,
    env,
  });
  const disks = [...disksAfter(ops, out)];
  const faults = new Set<string>();
  let finished = 0;
  for (const disk of disks) {
    const sums = disk.files.get(join(out, "test-000001/SHA256SUMS"));
    if (!disk.folders.has(join(out, "test-000001"))) continue;
    finished++;
    if (sums === undefined) faults.add(`no SHA256SUMS (${disk.what})`);
    else {
      for (const it of parseSums(sums).lines) {
        const bytes = disk.files.get(join(out, "test-000001", it.name));
        if (bytes === undefined || digestOf(bytes) !== it.digest) faults.add(`${it.name} is broken (${disk.what})`);
      }
    }
  }
  t.same([...faults].slice(0, 5), [], `${disks.length} disks, ${finished} with a bundle`);
  t.ok(finished > 1);
  const expected = readFileSync(join(out, "test-000001/data.tar.0000"));
  for (let index = 0; index < RERUNS; index++) {
    const disk = disks[Math.floor((index * disks.length) / RERUNS)] as Disk;
    rmSync(out, { recursive: true });
    rmSync(join(dir, "m.state.json"), { force: true });
    materialise(disk, out, out);
    const ran = await airferry(dir, ["pack", file, "--unsigned", "--out", "out", "--serial", "1", "-q"], {
      SOURCE_DATE_EPOCH: "1800000000",
    });
    t.equal(ran.status, 0, `${disk.what}: ${ran.stderr}`);
    t.ok(readFileSync(join(out, "test-000001/data.tar.0000")).equals(expected), disk.what);
  }
});
