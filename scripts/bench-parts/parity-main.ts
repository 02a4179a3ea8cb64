/** Writes 5 % of recovery files for a file, or repairs it from them: what `parity.ts` measures. Arguments: create|repair FILE. */
import { readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { createParity } from "../../src/parity/create-parity.ts";
import { layOutParity } from "../../src/parity/parity-layout.ts";
import { ParityPool } from "../../src/parity/parity-pool.ts";
import { readParity } from "../../src/parity/read-parity.ts";
import { findBlocks, rebuild } from "../../src/parity/rebuild.ts";

const [job, file = ""] = process.argv.slice(2);
const dir = dirname(file);
const name = basename(file);
const { size } = statSync(file);
const pool = new ParityPool();
if (job === "create") {
  const layout = layOutParity([{ name, size }], 5, "ours", Number.POSITIVE_INFINITY);
  await createParity(layout, { pathOf: (it) => join(dir, it), dir, pool });
} else {
  const parity = readdirSync(dir).filter((it) => it.endsWith(".par2"));
  const [set] = await readParity(
    parity.map((it) => join(dir, it)),
    pool,
  );
  if (set === undefined) throw new Error("no set");
  const damage = await findBlocks(set, () => [{ path: file, size }], pool);
  const target = join(dir, "repaired");
  writeFileSync(target, "");
  truncateSync(target, size);
  if (!damage.isRepairable || !(await rebuild(damage, new Map([[name, target]]), pool)))
    throw new Error("not repaired");
}
await pool.close();
