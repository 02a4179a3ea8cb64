/**
 * Fuzzes the dependency solver against libsolv: random universes, the same bytes to both. Prints every disagreement
 * with its seed and ends with 1 when there is one. solver/compare.ts defines agreement. Arguments: --minutes N (default
 * 1), --seed N (first seed; default 1), --count N (universes instead of minutes), --show SEED (print one universe,
 * reduced to the smallest one with the same disagreement, for test/rpm/universes/), --choices (also list the seeds with
 * another valid choice).
 */
import { parseArgs } from "node:util";
import { compare } from "./solver/compare.ts";
import { hasLibsolv, Libsolv } from "./solver/libsolv.ts";
import { reduce } from "./solver/reduce.ts";
import { formatUniverse } from "./solver/text.ts";
import { type Universe, universeOf } from "./solver/universe.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string", default: "1" },
    count: { type: "string" },
    show: { type: "string" },
    choices: { type: "boolean" },
  },
});
if (!hasLibsolv()) {
  console.error("fuzz solver: python3-solv is not installed; run: scripts/lib/clients.sh");
  process.exit(2);
}
const libsolv = new Libsolv();
if (values.show !== undefined) {
  const universe = universeOf(Number(values.show));
  const kind = async (it: Universe) => (await compare(it, libsolv)).faults.map(kindOf);
  const wanted = await kind(universe);
  const isFaulty = async (it: Universe) => (await kind(it)).some((fault) => wanted.includes(fault));
  const smallest = wanted.length === 0 ? universe : await reduce(universe, isFaulty);
  console.log(formatUniverse(smallest));
  console.log((await compare(smallest, libsolv)).faults.join("\n"));
} else {
  const end = Date.now() + Number(values.minutes) * 60_000;
  const first = Number(values.seed);
  const last = values.count === undefined ? Number.POSITIVE_INFINITY : first + Number(values.count) - 1;
  let [tried, installable, same, disagreeing] = [0, 0, 0, 0];
  for (let seed = first; seed <= last && (values.count !== undefined || Date.now() < end); seed++) {
    const found = await compare(universeOf(seed), libsolv);
    tried++;
    if (found.installable) installable++;
    if (found.same) same++;
    if (found.faults.length > 0) {
      disagreeing++;
      console.log(`seed ${seed}: ${found.faults.join("; ")}`);
    } else if (!found.same && values.choices) console.log(`seed ${seed}: another choice`);
  }
  console.log(
    `solver: ${tried} universes, ${installable} installable, ${((100 * same) / tried).toFixed(2)} % carry libsolv's very choice: ${disagreeing} disagreements`,
  );
  process.exitCode = disagreeing > 0 ? 1 : 0;
}
libsolv.close();

/** The fault without its packages, which stays the same while the universe is reduced. */
function kindOf(fault: string): string {
  return fault.replaceAll(/\(.*?\)|\S+-\d+:\S+/g, "");
}
