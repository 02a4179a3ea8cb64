/**
 * src/rpm/closure.ts over real CentOS Stream 9 metadata, against libsolv's answers for hundreds of seeds. Where they differ,
 * closure-differences.json says why; anything else is a failure, and so is a difference that is listed but gone.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test as Tap } from "tap";
import { closureOf } from "../../src/rpm/closure.ts";
import { APPSTREAM, BASEOS, openCs9, readOracle, withCs9 } from "../fixtures/cs9.ts";

const DIFFERENCES = JSON.parse(readFileSync(join(import.meta.dirname, "closure-differences.json"), "utf8")) as Record<
  string,
  Record<string, { ours: string[]; libsolv: string[]; why: string }>
>;

async function compare(t: Tap, sample: "baseos" | "joint", folders: string[]): Promise<void> {
  const oracle = readOracle(sample);
  const { pool, findFiles, newest } = await openCs9(folders);
  const known = DIFFERENCES[sample] ?? {};
  let identical = 0;
  for (const [seed, expected] of Object.entries(oracle.solved)) {
    const closure = await closureOf(pool, [{ label: seed, candidates: [newest(seed)] }], {
      recommends: false,
      findFiles,
    });
    const got = closure.packages.map((id) => pool.nevra(id));
    const ours = got.filter((it) => !expected.includes(it)).sort();
    const libsolv = expected.filter((it) => !got.includes(it)).sort();
    if (ours.length + libsolv.length === 0 && closure.unresolved.length === 0) {
      identical++;
      if (known[seed]) t.fail(`${seed} is listed as different but is identical now`);
    } else t.same({ ours, libsolv }, { ours: known[seed]?.ours, libsolv: known[seed]?.libsolv }, seed);
  }
  for (const seed of oracle.unsolvable) {
    const closure = await closureOf(pool, [{ label: seed, candidates: [newest(seed)] }], {
      recommends: false,
      findFiles,
    });
    t.equal(closure.unresolved.length, 1, `${seed} cannot be had`);
    t.ok((closure.unresolved[0]?.faults.length ?? 0) > 0, "and it says why");
  }
  const total = Object.keys(oracle.solved).length;
  t.ok(identical / total >= 0.99, `${identical} of ${total} sets identical`);
  t.ok(total > 100, "the sample is not empty");
}

t.test("closures of BaseOS seeds are libsolv's", withCs9, (t) => compare(t, "baseos", [BASEOS]));
t.test("closures over AppStream and BaseOS together are libsolv's", withCs9, (t) =>
  compare(t, "joint", [APPSTREAM, BASEOS]),
);
