/**
 * Creates bundles/golden/v1: one tiny signed bundle with every feature of the format. It is committed, and every later
 * version must verify it and format it to the same bytes. Run it only for a new format version, with another folder:
 * `node scripts/lib/golden-bundle.ts FOLDER`. The key exists only during this run.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeBundle, makeKey } from "../../test/fixtures/bundle-maker.ts";
import { GOLDEN } from "../../test/fixtures/golden.ts";

const folder = process.argv[2];
if (folder === undefined || existsSync(folder)) {
  throw new Error("give a folder that does not exist: a golden bundle is created once");
}
const key = makeKey();
makeBundle(join(folder, "golden-000001"), { ...GOLDEN, keys: [key] });
writeFileSync(join(folder, "golden.pub"), key.pem);
