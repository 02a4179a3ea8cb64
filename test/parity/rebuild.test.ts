/** What stock par2 makes, repaired here; and our own sets, with damage of every kind. */
import { copyFileSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readParity } from "../../src/parity/read-parity.ts";
import { type FileCopy, findBlocks, rebuild } from "../../src/parity/rebuild.ts";
import { needs } from "../fixtures/clients.ts";
import { burst, makeStock, makeVolumes, makeZeros, protect, same, withPool } from "../fixtures/parity.ts";

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
