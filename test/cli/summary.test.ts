/** What a pack says at its end: enough for a ticket. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

t.test("a pack ends with what, how long, and how each digest was established", async (t) => {
  const dir = scratch(t);
  for (const name of ["given", "a", "b"]) writeFileSync(join(dir, name), name);
  const sha256 = createHash("sha256").update("given").digest("hex");
  writeManifest(dir, { files: [{ path: "given", sha256 }, { path: "a" }, { path: "b" }] });
  const { stderr, stdout } = await airferry(dir, ["pack", "m.yaml", "--unsigned"]);
  t.equal(stdout, "bundles/test-000001\n", "stdout is the bundle's path");
  t.match(stderr, /^airferry: packed \d+ files, /m);
  const told = /stream test, serial 1; took \d+:\d\d; digests: (.*)$/m.exec(stderr)?.[1]?.split(", ").sort();
  t.strictSame(told, ["1 manifest", "2 first-sight", "6 generated"]);
  const again = await airferry(dir, ["pack", "m.yaml", "--unsigned", "--json"]);
  t.match(JSON.parse(again.stdout), { packed: false, established: {} });
});
