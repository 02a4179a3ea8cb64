/** Every parser of foreign bytes, fuzzed for a few seconds each: scripts/fuzz does the same for as long as one likes. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import t from "tap";

const MINUTES = 1.5;

t.test("no parser crashes or hangs", { timeout: 280_000 }, async (t) => {
  const main = join(import.meta.dirname, "../scripts/fuzz-parts/parsers/main.ts");
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "--minutes", String(MINUTES)], {
    encoding: "utf8",
  });
  t.comment(stdout);
  t.equal(status, 0, stderr);
  t.match(stdout, /\d+ targets: 0 crashes, 0 hangs\n$/);
});
