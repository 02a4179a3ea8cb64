/**
 * The measured program: opens primary.xml.gz of folders, resolves packages from them, prints how many. Arguments:
 * folders with colons, names.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { closureOf } from "../../src/rpm/closure.ts";
import { Pool } from "../../src/rpm/pool.ts";
import { Primary } from "../../src/rpm/primary.ts";
import { matchSpec } from "../../src/rpm/select.ts";

const [folders = ".", ...names] = process.argv.slice(2);
const pool = new Pool("x86_64");
for (const folder of folders.split(":")) {
  const file = readdirSync(folder).find((it) => it.endsWith("-primary.xml.gz")) as string;
  await pool.addRepository(folder, await Primary.readCompressed(readFileSync(join(folder, file)), file));
}
const requests = names.map((label) => ({ label, candidates: matchSpec(pool, label, undefined) }));
const closure = await closureOf(pool, requests, { recommends: false, findFiles: async () => false });
console.log(
  `${pool.entries.length} packages: ${closure.packages.length} chosen, ${closure.unresolved.length} unresolved`,
);
