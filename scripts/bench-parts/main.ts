/** Runs the parts of the benchmark one after the other, prints their rows as one table, and compares them with the baseline. */
import { existsSync, readFileSync } from "node:fs";
import { BASELINE_FILE, type Baseline, changesSince, describeMachine, saveBaseline } from "./baseline.ts";
import { isMet, type Row } from "./row.ts";

const PARTS: Record<string, () => Promise<() => Promise<Row[]>>> = {
  bundle: async () => (await import("./bundle.ts")).benchBundle,
  serve: async () => (await import("./serve.ts")).benchServe,
  images: async () => (await import("./images.ts")).benchImages,
  onward: async () => (await import("./images-onward.ts")).benchOnward,
  iso: async () => (await import("./iso.ts")).benchIso,
  loose: async () => (await import("./rpm-loose.ts")).benchLoose,
  resolve: async () => (await import("./rpm-resolve.ts")).benchResolve,
};

const args = process.argv.slice(2);
const json = args.includes("--json");
const names = args.filter((it) => !it.startsWith("-"));
const save = args.includes("--save");
const machine = describeMachine();
const rows: Row[] = [];
for (const name of names.length > 0 ? names : Object.keys(PARTS)) {
  const load = PARTS[name];
  if (load === undefined) {
    console.error(`bench: there is no part "${name}": ${Object.keys(PARTS).join(", ")}`);
    process.exit(2);
  }
  console.error(`bench: ${name}`);
  rows.push(...(await (await load())()));
}
if (json) console.log(JSON.stringify(rows, null, 2));
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
if (save && names.length > 0) console.error("bench: nothing saved: a baseline has all parts, so name none");
else if (save) saveBaseline(machine, rows);
process.exitCode = rows.every(isMet) ? 0 : 1;
