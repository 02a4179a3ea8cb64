/** A short run of the solver's fuzzer (scripts/fuzz solver): random universes, and those that it once found, judged by libsolv. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { compare } from "../../scripts/fuzz-parts/solver/compare.ts";
import { hasLibsolv, Libsolv } from "../../scripts/fuzz-parts/solver/libsolv.ts";
import { formatUniverse, parseUniverse } from "../../scripts/fuzz-parts/solver/text.ts";
import { universeOf } from "../../scripts/fuzz-parts/solver/universe.ts";

const COUNT = 400;

t.test("closures install what libsolv installs", hasLibsolv() ? {} : { skip: "no python3-solv" }, async (t) => {
  const libsolv = new Libsolv();
  t.teardown(() => libsolv.close());
  let [installable, same] = [0, 0];
  for (let seed = 1; seed <= COUNT; seed++) {
    const found = await compare(universeOf(seed), libsolv);
    if (found.faults.length > 0) t.fail(`seed ${seed}`, { faults: found.faults });
    if (found.installable) installable++;
    if (found.same) same++;
  }
  t.ok(installable > COUNT / 4 && installable < (COUNT * 3) / 4, `${installable} of ${COUNT} can be installed`);
  t.ok(same / COUNT > 0.98, `${same} of ${COUNT} carry libsolv's very choice`);
});

const FOUND = join(import.meta.dirname, "universes");

t.test("universes that the fuzzer found agree with libsolv", async (t) => {
  const names = readdirSync(FOUND);
  t.ok(names.length >= 5, "they are there");
  const libsolv = hasLibsolv() ? new Libsolv() : undefined;
  t.teardown(() => libsolv?.close());
  for (const name of names) {
    const text = readFileSync(join(FOUND, name), "utf8");
    const universe = parseUniverse(text);
    t.equal(formatUniverse(universe), text.replace(/^#.*\n/gm, ""), `${name} is read to the last word`);
    if (libsolv) t.same((await compare(universe, libsolv)).faults, [], name);
  }
});
