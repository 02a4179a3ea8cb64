/** Attestations of a pack, and what they leave alone. */
import { readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "./fixtures/host.ts";
import { writeKeyPairs } from "./fixtures/keys.ts";
import { scratch, writeManifest } from "./fixtures/program.ts";

t.test("what is packed again from its lock has the same signed root, whatever is attested", async (t) => {
  const dir = scratch(t);
  await writeKeyPairs(dir, "site");
  writeManifest(dir, { files: [{ path: "m.yaml", as: "m.yaml" }] });
  const pack = async () => {
    const args = ["pack", "m.yaml", "--key", "site.key", "--serial", "1"];
    const ran = await airferry(dir, args, { SOURCE_DATE_EPOCH: "1767225600" });
    t.equal(ran.status, 0, ran.stderr);
    return join(dir, ran.stdout.trim());
  };
  const first = await pack();
  renameSync(first, join(dir, "kept"));
  const second = await pack();
  const sums = (bundle: string) => readFileSync(join(bundle, "SHA256SUMS"), "utf8");
  t.equal(sums(second), sums(join(dir, "kept")));
  t.match(sums(second), / airferry\.json$/m);
});
