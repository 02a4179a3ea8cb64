/** Serials go on wherever the lock is: in a fresh clone, after a lost state file, after a kill between the two. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const packed = (dir: string, ...args: string[]) => airferry(dir, ["pack", "m.yaml", "--unsigned", ...args]);

t.test("a fresh clone with the committed lock goes on with the next serial, and says so", async (t) => {
  const first = scratch(t);
  writeFileSync(join(first, "a"), "one");
  writeManifest(first, { files: [{ path: "a" }] });
  t.match((await packed(first)).stdout, /test-000001/);
  const before = readFileSync(join(first, "m.lock.json"), "utf8");
  t.match(JSON.parse(before).last, { serial: 1, sha256: /^[0-9a-f]{64}$/ });

  for (const frozen of [false, true]) {
    const clone = scratch(t);
    for (const name of ["m.yaml", "m.lock.json", "a"]) cpSync(join(first, name), join(clone, name));
    const { stdout, stderr, status } = await packed(clone, ...(frozen ? ["--frozen"] : []));
    t.equal(status, 0, stderr);
    t.match(stdout, /test-000002/, `frozen: ${frozen}`);
    t.match(stderr, /serial 2 follows serial 1, which is recorded in the lock/);
    const { previous } = JSON.parse(readFileSync(join(clone, "bundles/test-000002/airferry.json"), "utf8"));
    t.strictSame(previous, { epoch: 1, ...JSON.parse(before).last }, "it follows the release that the lock knows");
    t.equal(JSON.parse(readFileSync(join(clone, "m.lock.json"), "utf8")).last.serial, 2);
    t.match((await packed(clone)).stderr, /nothing to do/, "the lock's own change makes no new bundle");
  }
});

t.test("a lost state file makes no second bundle of the same, and an older lock no older serial", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "a"), "one");
  writeManifest(dir, { files: [{ path: "a" }] });
  await packed(dir);
  rmSync(join(dir, "m.state.json"));
  const again = await packed(dir);
  t.match(again.stderr, /nothing to do/);
  t.match(again.stdout, /test-000001/);
  // Killed between the note in the lock and the one in the state, or a lock that was reset to an older commit.
  const old = readFileSync(join(dir, "m.lock.json"), "utf8");
  writeFileSync(join(dir, "a"), "two");
  await airferry(dir, ["lock", "m.yaml", "--update"]);
  t.match((await packed(dir)).stdout, /test-000002/);
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8"));
  writeFileSync(join(dir, "m.lock.json"), JSON.stringify({ ...lock, last: JSON.parse(old).last }));
  writeFileSync(join(dir, "b"), "more");
  writeManifest(dir, { files: [{ path: "a" }, { path: "b" }] });
  t.match((await packed(dir)).stdout, /test-000003/);
});

t.test("two packs of one manifest at once never give one serial to two bundles", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "a"), Buffer.alloc(4_000_000, 1));
  writeManifest(dir, { files: [{ path: "a" }] });
  mkdirSync(join(dir, "x"));
  const both = await Promise.all([packed(dir, "--out", "x"), packed(dir, "--out", "y")]);
  const made = both.filter((it) => it.status === 0).map((it) => it.stdout.trim().split("/").at(-1));
  t.ok(made.length >= 1);
  t.equal(new Set(made).size, made.length, made.join(" "));
});
