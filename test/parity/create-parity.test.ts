/** What is written, judged by stock par2. */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { needs } from "../fixtures/clients.ts";
import { burst, makeVolumes, par2, protect, same } from "../fixtures/parity.ts";

const root = t.testdir();
const volumes = (...sizes: number[]) => makeVolumes(root, ...sizes);

t.test("stock par2 verifies a set, and repairs 20 bursts", async (t) => {
  if (!needs(t, "par2")) return;
  const { dir, kept, names } = volumes(3_000_001);
  const { layout } = await protect(dir, names, 10, "data.0000");
  t.match(layout, { blockSize: 4096, blocks: 733, recovery: 74 });
  t.match(par2(dir, "v", "data.0000.par2"), { status: 0, text: /All files are correct/ });
  burst(join(dir, "data.tar.0000"), 20, 5000);
  t.match(par2(dir, "v", "data.0000.par2"), { status: 1, text: /Repair is possible/ });
  t.match(par2(dir, "r", "data.0000.par2"), { status: 0, text: /Repair complete/ });
  t.ok(same(join(dir, "data.tar.0000"), join(kept, "data.tar.0000")));
});

t.test("stock par2 rebuilds a missing volume from a set over all, and finds a renamed one", async (t) => {
  if (!needs(t, "par2")) return;
  const { dir, kept, names } = volumes(700_000, 700_000, 700_000, 123_457);
  await protect(dir, names, 40, "data.set");
  t.match(par2(dir, "v", "data.set.par2"), { status: 0, text: /All files are correct/ });
  rmSync(join(dir, "data.tar.0001"));
  renameSync(join(dir, "data.tar.0002"), join(dir, "renamed.bin"));
  t.match(par2(dir, "r", "data.set.par2", "renamed.bin"), { status: 0, text: /Repair complete/ });
  for (const name of names) t.ok(same(join(dir, name), join(kept, name)), name);
  rmSync(join(dir, "data.tar.0001"));
  rmSync(join(dir, "data.tar.0002"));
  t.match(par2(dir, "v", "data.set.par2"), { status: 2, text: /You need \d+ more recovery blocks/ });
});

t.test("stock par2 reads a set that is divided into several files, any of them alone", async (t) => {
  if (!needs(t, "par2")) return;
  const { dir, kept, names } = volumes(1_600_000);
  const { layout } = await protect(dir, names, 100, "data.0000", 1);
  t.strictSame(
    layout.parity.map((it) => it.name),
    ["data.0000.par2", "data.0000.vol0195-0390.par2"],
  );
  for (const { name, size } of layout.parity) t.equal(statSync(join(dir, name)).size, size, name);
  rmSync(join(dir, "data.0000.par2"));
  burst(join(dir, "data.tar.0000"), 5, 5000);
  t.match(par2(dir, "r", "data.0000.vol0195-0390.par2"), { status: 0, text: /Repair complete/ });
  t.ok(same(join(dir, "data.tar.0000"), join(kept, "data.tar.0000")));
});

t.test("stock par2 repairs although the recovery file is damaged too", async (t) => {
  if (!needs(t, "par2")) return;
  const { dir, kept, names } = volumes(2_000_000);
  await protect(dir, names, 20, "data.0000");
  burst(join(dir, "data.tar.0000"), 10, 4096);
  burst(join(dir, "data.0000.par2"), 4, 3000);
  t.match(par2(dir, "r", "data.0000.par2"), { status: 0, text: /Repair complete/ });
  t.ok(same(join(dir, "data.tar.0000"), join(kept, "data.tar.0000")));
});

t.test("the same files give the same bytes, and the digests are theirs", async (t) => {
  const { dir, names } = volumes(500_000, 4);
  const first = await protect(dir, names, 30, "data.set");
  const bytes = readFileSync(join(dir, "data.set.par2"));
  t.strictSame(first.digests, [{ name: "data.set.par2", digest: digestOf(bytes) }]);
  writeFileSync(join(dir, "data.set.par2"), "what an earlier run left");
  t.strictSame((await protect(dir, names, 30, "data.set")).digests, first.digests);
  t.ok(readFileSync(join(dir, "data.set.par2")).equals(bytes));
});

t.test("one recovery block is the sum of all blocks times a constant each", async (t) => {
  const { dir, kept, names } = volumes(3 * 4096 - 100);
  const { layout } = await protect(dir, names, 1, "data.0000");
  t.match(layout, { blockSize: 4096, blocks: 3, recovery: 1 });
  const file = readFileSync(join(dir, "data.0000.par2"));
  const at = file.indexOf("RecvSlic") + 8;
  t.equal(file.readUInt32LE(at), 0, "the exponent");
  const expected = Buffer.alloc(4096);
  // Every constant to the power of zero is one.
  const volume = readFileSync(join(kept, "data.tar.0000"));
  for (const [index, byte] of volume.entries()) expected[index % 4096]! ^= byte;
  t.ok(file.subarray(at + 4, at + 4 + 4096).equals(expected));
});

t.test("a file that is shorter than planned ends it", async (t) => {
  const { dir, names } = volumes(100_000);
  const done = protect(dir, names, 5, "data.0000");
  writeFileSync(join(dir, "data.tar.0000"), "short");
  await t.rejects(done, { code: "ERR_SIZE_MISMATCH" });
});
