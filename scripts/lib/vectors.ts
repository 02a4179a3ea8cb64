/**
 * Makes bundles/vectors: good and bad bundles with verdict and code, by which another implementation can be tested.
 * `node scripts/lib/vectors.ts`. The same sources give the same bytes: random signatures are kept in signatures.json.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { makeVectors } from "../../test/fixtures/vectors/make.ts";

const folder = join(import.meta.dirname, "../../bundles/vectors");
const kept = join(folder, "signatures.json");
const files = makeVectors(existsSync(kept) ? JSON.parse(readFileSync(kept, "utf8")) : { keys: {}, signatures: {} });
for (const name of ["bases", "keys"]) rmSync(join(folder, name), { recursive: true, force: true });
for (const [path, bytes] of files) {
  mkdirSync(join(folder, dirname(path)), { recursive: true });
  writeFileSync(join(folder, path), bytes);
}
