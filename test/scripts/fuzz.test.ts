/** Every parser of foreign bytes, fuzzed for a moment with one seed: scripts/fuzz does the same for as long as one likes. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";

/** In all. */
const MINUTES = 0.25;
const ROOT = join(import.meta.dirname, "../..");

t.test(
  "no parser crashes, hangs or fills the memory, and docs/design.md names each",
  { timeout: 250_000 },
  async (t) => {
    const main = join(ROOT, "scripts/fuzz-parts/parsers/main.ts");
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, "--minutes", String(MINUTES)], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    t.comment(stdout);
    t.equal(status, 0, stderr);
    const ran = [...stdout.matchAll(/^(\w+) +(\d+) +(\d+) +\d+ +0 +0$/gm)];
    t.ok(
      ran.every(([, , runs, branches]) => Number(runs) > 0 && Number(branches) > 0),
      "each ran, and reached something",
    );
    t.match(stdout, new RegExp(`^${ran.length} targets, \\d+ runs: 0 crashes, 0 hangs$`, "m"));

    const [, section = ""] = /^## Parsers\n(.*?)^## /ms.exec(readFileSync(join(ROOT, "docs/design.md"), "utf8")) ?? [];
    const rows = [...section.matchAll(/^\|(?!---).*\| ([\w, ]+) \|$/gm)].flatMap(([, targets]) => targets?.split(", "));
    t.strictSame(rows.sort(), ran.map(([, name]) => name).sort(), "the table of docs/design.md");
  },
);
