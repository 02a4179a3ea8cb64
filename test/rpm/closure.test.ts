/**
 * src/rpm/closure.ts over real CentOS Stream 9 metadata, against libsolv's answers for hundreds of seeds: the same packages,
 * without exception.
 */
import t, { type Test as Tap } from "tap";
import { closureOf } from "../../src/rpm/closure.ts";
import { APPSTREAM, BASEOS, openCs9, readOracle, withCs9 } from "../fixtures/cs9.ts";

async function compare(t: Tap, sample: "baseos" | "joint", folders: string[]): Promise<void> {
  const oracle = readOracle(sample);
  const { pool, findFiles, newest } = await openCs9(folders);
  for (const [seed, expected] of Object.entries(oracle.solved)) {
    const closure = await closureOf(pool, [{ label: seed, candidates: [newest(seed)] }], {
      recommends: false,
      findFiles,
    });
    t.same(closure.unresolved, [], `${seed} can be had`);
    t.same(closure.packages.map((id) => pool.nevra(id)).sort(), [...expected].sort(), seed);
  }
  for (const seed of oracle.unsolvable) {
    const closure = await closureOf(pool, [{ label: seed, candidates: [newest(seed)] }], {
      recommends: false,
      findFiles,
    });
    t.equal(closure.unresolved.length, 1, `${seed} cannot be had`);
    t.ok((closure.unresolved[0]?.faults.length ?? 0) > 0, "and it says why");
  }
  t.ok(Object.keys(oracle.solved).length > 100, "the sample is not empty");
}

t.test("closures of BaseOS seeds are libsolv's", withCs9, (t) => compare(t, "baseos", [BASEOS]));
t.test("closures over AppStream and BaseOS together are libsolv's", withCs9, (t) =>
  compare(t, "joint", [APPSTREAM, BASEOS]),
);
