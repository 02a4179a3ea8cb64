/** Attestations of a pack, and what they leave alone. */
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
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

t.test("what a killed run left half written in its folder is not in the bundle", async (t) => {
  const dir = scratch(t);
  await writeKeyPairs(dir, "site");
  writeManifest(dir, { files: [{ path: "m.yaml", as: "m.yaml" }] });
  const pack = (...more: string[]) => airferry(dir, ["pack", "m.yaml", "--key", "site.key", "--out", "out", ...more]);
  const stopped = await pack("--scan", "false");
  t.equal(stopped.status, 3, stopped.stderr);
  const [work = ""] = readdirSync(join(dir, "out"));
  writeFileSync(join(dir, "out", work, ".tmp-0123456789abcdef"), "half");
  const packed = await pack("--scan", "true");
  t.equal(packed.status, 0, packed.stderr);
  const verified = await airferry(dir, ["verify", packed.stdout.trim(), "--trust", "site.pub"]);
  t.equal(verified.status, 0, verified.stderr);
});
