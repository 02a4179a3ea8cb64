/**
 * Creates the golden bundles of format 1: small signed bundles with every feature of the format. They are committed, and every later
 * version must verify them and format them to the same bytes. Run it only for a new format version, with another folder:
 * `node scripts/lib/golden-bundle.ts FOLDER`. The key of the first exists only during this run. With `--delta`, it only makes the
 * second again, in the folder of this version.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { makeBundle, makeKey } from "../../test/fixtures/bundle-maker.ts";
import { GOLDEN } from "../../test/fixtures/golden.ts";
import { GOLDEN_KEPT, GOLDEN_ROOT, makeGoldenDelta } from "../../test/fixtures/golden-delta.ts";

const [argument] = process.argv.slice(2);
const isDelta = argument === "--delta";
const folder = isDelta ? GOLDEN_ROOT : argument;
if (folder === undefined || (!isDelta && existsSync(folder))) {
  throw new Error("give a folder that does not exist: a golden bundle is created once");
}
if (!isDelta) {
  const key = makeKey();
  makeBundle(join(folder, "golden-000001"), { ...GOLDEN, keys: [key] });
  writeFileSync(join(folder, "golden.pub"), key.pem);
}
const keptFile = join(folder, GOLDEN_KEPT);
const { files, kept } = await makeGoldenDelta(
  existsSync(keptFile) ? JSON.parse(readFileSync(keptFile, "utf8")) : { keys: {}, signatures: {} },
);
for (const [path, bytes] of files) {
  const file = join(folder, "golden-000002", path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes as Buffer);
}
writeFileSync(keptFile, `${JSON.stringify(kept, undefined, 1)}\n`);
