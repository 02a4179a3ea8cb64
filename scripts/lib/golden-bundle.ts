/**
 * Makes bundles/golden/v1: one tiny bundle of every shape that the format has, signed once. It is committed, and every later version
 * must verify it and format it to the same bytes; it is only made anew for a new format version, with another folder. The key is a
 * throw-away one that exists for the length of this run: `node scripts/lib/golden-bundle.ts FOLDER`.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeBundle, makeKey } from "../../test/fixtures/bundle-maker.ts";
import { GOLDEN } from "../../test/fixtures/golden.ts";

const folder = process.argv[2];
if (folder === undefined || existsSync(folder)) {
  throw new Error("name a folder that does not exist: a golden bundle is made once");
}
const key = makeKey();
makeBundle(join(folder, "golden-000001"), { ...GOLDEN, keys: [key] });
writeFileSync(join(folder, "golden.pub"), key.pem);
