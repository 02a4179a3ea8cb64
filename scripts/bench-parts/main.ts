/** Runs the parts of the benchmark one after the other, prints their rows as one table, and compares them with the baseline. */
import { existsSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { BASELINE_FILE, type Baseline, changesSince, describeMachine, saveBaseline } from "./baseline.ts";
import { isMet, type Row } from "./row.ts";

const PARTS: Record<string, () => Promise<() => Promise<Row[]>>> = {
  bundle: async () => (await import("./bundle.ts")).benchBundle,
  pieces: async () => (await import("./pieces.ts")).benchPieces,
  small: async () => (await import("./small.ts")).benchSmall,
  delta: async () => (await import("./delta.ts")).benchDelta,
  "delta-iso": async () => (await import("./delta-iso.ts")).benchDeltaIso,
  serve: async () => (await import("./serve.ts")).benchServe,
  bucket: async () => (await import("./bucket.ts")).benchBucket,
  origins: async () => (await import("./origins.ts")).benchOrigins,
  record: async () => (await import("./record.ts")).benchRecord,
  images: async () => (await import("./images.ts")).benchImages,
  onward: async () => (await import("./images-onward.ts")).benchOnward,
  iso: async () => (await import("./iso.ts")).benchIso,
  loose: async () => (await import("./rpm-loose.ts")).benchLoose,
  parity: async () => (await import("./parity.ts")).benchParity,
  start: async () => (await import("./start.ts")).benchStart,
  objects: async () => (await import("./object-storage.ts")).benchObjectStorage,
  resolve: async () => (await import("./rpm-resolve.ts")).benchResolve,
};

let options: { json: boolean; save: boolean };
let names: string[];
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: "boolean", default: false }, save: { type: "boolean", default: false } },
  });
  options = values;
  names = positionals.length > 0 ? positionals : Object.keys(PARTS);
  const unknown = names.find((it) => PARTS[it] === undefined);
  if (unknown !== undefined) throw new Error(`unknown part "${unknown}": expected ${Object.keys(PARTS).join(", ")}`);
  if (options.save && positionals.length > 0) throw new Error("--save keeps a baseline of all parts: name none");
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exit(2);
}
const machine = describeMachine();
const rows: Row[] = [];
for (const name of names) {
  console.error(`bench: ${name}`);
  const bench = await PARTS[name]?.();
  rows.push(...((await bench?.()) ?? []));
}
if (options.json) console.log(JSON.stringify(rows, null, 2));
else {
  const cells = rows.map((row) => [
    row.job,
    row.airferry,
    row.peer,
    row.ratio.toFixed(2),
    row.required,
    isMet(row) ? "ok" : "MISSED",
    row.note ?? "",
  ]);
  const table = [["job", "airferry", "peer", "ratio", "required", "", "note"], ...cells];
  const widths = [0, 1, 2, 3, 4, 5].map((column) => Math.max(...table.map((row) => (row[column] ?? "").length)));
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}
if (existsSync(BASELINE_FILE)) {
  const baseline = JSON.parse(readFileSync(BASELINE_FILE, "utf8")) as Baseline;
  console.error(
    `bench: ratios since ${baseline.measured} on ${baseline.machine.cpu}, ${baseline.machine.cores} cores:`,
  );
  for (const { job, percent } of changesSince(baseline, rows))
    console.error(`  ${percent >= 0 ? "+" : ""}${percent.toFixed(1)} %  ${job}`);
}
if (options.save) saveBaseline(machine, rows);
process.exitCode = rows.every(isMet) ? 0 : 1;
