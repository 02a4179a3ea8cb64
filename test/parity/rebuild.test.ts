/** What stock par2 makes, repaired here; and our own sets, with damage of every kind. */
import { copyFileSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import t from "tap";
import { readParity } from "../../src/parity/read-parity.ts";
import { type FileCopy, findBlocks, rebuild } from "../../src/parity/rebuild.ts";
import { needs } from "../fixtures/clients.ts";
import { burst, makeStock, makeVolumes, makeZeros, noise, par2, protect, same, withPool } from "../fixtures/parity.ts";

const root = t.testdir();
const volumes = (...sizes: number[]) => makeVolumes(root, ...sizes);

/** Repairs the files of the one set in a folder; returns how many blocks were damaged, and the names that are right. */
async function repaired(
  dir: string,
  kept: string,
  more: Record<string, FileCopy[]> = {},
): Promise<{ damaged: number; right: string[]; isRepairable: boolean }> {
  return withPool(async (pool) => {
    const parity = readdirSync(dir).filter((it) => it.endsWith(".par2"));
    const [set] = await readParity(
      parity.map((it) => join(dir, it)),
      pool,
    );
    if (set === undefined) throw new Error("no set");
    const copiesOf = (name: string): FileCopy[] => {
      const path = join(dir, name);
      const there = statSync(path, { throwIfNoEntry: false });
      return [...(there === undefined ? [] : [{ path, size: there.size }]), ...(more[name] ?? [])];
    };
    const damage = await findBlocks(set, copiesOf, pool);
    const { damaged, isRepairable } = damage;
    if (!isRepairable) return { damaged, isRepairable, right: [] };
    const targets = new Map(set.files.map((it) => [it.name, makeZeros(join(dir, `${it.name}.new`), it.size)]));
    t.equal(await rebuild(damage, targets, pool), true);
    const right = set.files.map((it) => it.name).filter((it) => same(join(dir, `${it}.new`), join(kept, it)));
    return { damaged, isRepairable, right: right.sort() };
  });
}

t.test("a set of stock par2: 20 bursts and a truncated file", async (t) => {
  if (!needs(t, "par2")) return;
  const { dir, kept, names } = volumes(2_000_000, 600_001);
  makeStock(dir, "-r20", "-b501", "-n3", "data.set.par2", ...names);
  burst(join(dir, "data.tar.0000"), 20, 3000);
  truncateSync(join(dir, "data.tar.0001"), 450_000);
  t.match(await repaired(dir, kept), { isRepairable: true, right: names });
});

t.test("a set of stock par2 with blocks of an odd multiple of four bytes, of which one file is missing", async (t) => {
  if (!needs(t, "par2")) return;
  const { dir, kept, names } = volumes(100_000, 30_000, 17, 90_000);
  makeStock(dir, "-r50", "-s2012", "-n1", "data.set.par2", ...names);
  rmSync(join(dir, "data.tar.0003"));
  rmSync(join(dir, "data.tar.0002"));
  t.match(await repaired(dir, kept), { damaged: 46, isRepairable: true, right: names });
});

t.test("our own set: as many damaged blocks as there are recovery blocks, and not one more", async (t) => {
  const { dir, kept, names } = volumes(400_000);
  const { layout } = await protect(dir, names, 10, "data.0000");
  t.equal(layout.recovery, 10);
  burst(join(dir, "data.tar.0000"), 10, 1);
  t.match(await repaired(dir, kept), { damaged: 10, right: names });
  burst(join(dir, "data.tar.0000"), 12, 1);
  t.match(await repaired(dir, kept), { isRepairable: false });
});

t.test("recovery blocks that are left of damaged recovery files suffice", async (t) => {
  const { dir, kept, names } = volumes(1_000_000);
  await protect(dir, names, 40, "data.0000");
  burst(join(dir, "data.tar.0000"), 20, 5000);
  burst(join(dir, "data.0000.par2"), 10, 5000);
  const { damaged, right } = await repaired(dir, kept);
  t.ok(damaged >= 20 && damaged <= 60, `${damaged}`);
  t.strictSame(right, names);
});

t.test("two damaged copies make a good file with hardly any recovery block", async (t) => {
  const { dir, kept, names } = volumes(1_000_000);
  await protect(dir, names, 1, "data.0000");
  const other = join(root, "other");
  copyFileSync(join(dir, "data.tar.0000"), other);
  burst(join(dir, "data.tar.0000"), 20, 2000);
  burst(other, 7, 2000);
  truncateSync(other, 999_000);
  // Both begin with a burst, and their ends are damaged.
  const copy = { path: other, size: 999_000 };
  t.match(await repaired(dir, kept, { "data.tar.0000": [copy] }), { damaged: 3, isRepairable: true, right: names });
});

t.test("large blocks are rebuilt in several columns", async (t) => {
  if (!needs(t, "par2")) return;
  const { dir, kept, names } = volumes(3_000_000, 1_000_001);
  makeStock(dir, "-r30", "-s600004", "-n1", "data.set.par2", ...names);
  burst(join(dir, "data.tar.0001"), 1, 700_000);
  t.match(await repaired(dir, kept), { damaged: 2, isRepairable: true, right: names });
});

t.test(
  "a copy that lost a sector, or has bytes that were never there: its blocks are found where they are",
  async (t) => {
    const { dir, kept, names } = volumes(3_000_001, 500_000);
    await protect(dir, names, 4, "data.set");
    const file = join(dir, "data.tar.0000");
    const bytes = readFileSync(file);
    const parts = [
      bytes.subarray(0, 700_000),
      bytes.subarray(702_048, 1_500_000),
      noise(777, 9),
      bytes.subarray(1_500_000, 2_200_000),
      bytes.subarray(2_200_001),
    ];
    for (const odd of [parts, [noise(1, 8), bytes], [bytes.subarray(1)], [noise(400_000, 7), bytes, noise(1000, 6)]]) {
      writeFileSync(file, Buffer.concat(odd));
      const { damaged, isRepairable, right } = await repaired(dir, kept);
      t.ok(damaged <= 5, `${damaged} blocks`);
      t.strictSame([isRepairable, right], [true, names]);
      if (needs(t, "par2")) t.match(par2(dir, "v", "data.set.par2"), { text: /Repair is possible/ });
    }
    // Every block of zeros looks alike.
    writeFileSync(file, Buffer.alloc(3_500_000));
    t.match(await repaired(dir, kept), { isRepairable: false });
  },
);

t.test("checksums that are right everywhere, and blocks that are not, cost no more than the file", async (t) => {
  const sum = Buffer.concat([Buffer.alloc(16), Buffer.alloc(4)]);
  sum.writeUInt32LE(crc32(Buffer.alloc(4096)), 16);
  const file = makeZeros(join(root, "zeros"), 8_000_000);
  const wanted = [{ block: 0, sum }];
  const before = process.cpuUsage();
  const { moved } = await withPool((pool) =>
    pool.run({ type: "search", file, from: 0, to: 8_000_000, blockSize: 4096, wanted }),
  );
  t.strictSame(moved, []);
  const { user, system } = process.cpuUsage(before);
  t.ok(user + system < 5e6, `${(user + system) / 1e6} s`);
});
