/** What growth is: the exponent of time, the slope of memory, their limits, and the table of both. */
import type { Baseline } from "./baseline.ts";
import { mib } from "./measure.ts";

/** One verb over one dimension; the lists go together. */
export interface Growth {
  /** Name of a dimension: entries, packages, bytes or layout. */
  of: string;
  verb: string;
  sizes: number[];
  cpuSeconds: number[];
  peakBytes: number[];
  /** Of CPU seconds, between the two largest sizes: start-up does not hide growth there. */
  exponent?: number;
  /** Memory that each further one takes, between the same. */
  bytesEach?: number;
}

export const MAX_EXPONENT = 1.05;
/** Peak memory at the largest size. */
export const MAX_BYTES = 400_000_000;
/** Less work than this is mostly start-up and noise, and no exponent is judged by it. */
const MIN_CPU_SECONDS = 1;

/** Adds exponent and slope, where there are two sizes. */
export function growthOf(growth: Growth): Growth {
  const { sizes, cpuSeconds, peakBytes } = growth;
  const [size, cpu, bytes] = [sizes.at(-1), cpuSeconds.at(-1), peakBytes.at(-1)];
  const [size0, cpu0, bytes0] = [sizes.at(-2), cpuSeconds.at(-2), peakBytes.at(-2)];
  if (size === undefined || cpu === undefined || bytes === undefined) return growth;
  if (size0 === undefined || cpu0 === undefined || bytes0 === undefined) return growth;
  const exponent = Math.log(Math.max(cpu, 0.01) / Math.max(cpu0, 0.01)) / Math.log(size / size0);
  return { ...growth, exponent, bytesEach: (bytes - bytes0) / (size - size0) };
}

function verdictOf(row: Growth): string {
  if (row.sizes.length === 0) return "not run";
  return [isTimeWithin(row) ? "" : "TIME", isMemoryWithin(row) ? "" : "MEMORY"].join(" ").trim() || "ok";
}

function isTimeWithin({ exponent, cpuSeconds }: Growth): boolean {
  return exponent === undefined || (cpuSeconds.at(-2) ?? 0) < MIN_CPU_SECONDS || exponent <= MAX_EXPONENT;
}

function isMemoryWithin({ peakBytes }: Growth): boolean {
  return (peakBytes.at(-1) ?? 0) <= MAX_BYTES;
}

/** Whether a row was measured and keeps its limits. */
export function isWithin(growth: Growth): boolean {
  return growth.sizes.length > 0 && isTimeWithin(growth) && isMemoryWithin(growth);
}

/** Lines of a table; with a baseline, how the CPU of the largest common size changed since. */
export function tableOf(rows: readonly Growth[], before: Baseline<Growth> | undefined): string[] {
  const head = ["of", "verb", "sizes", "CPU s", "exponent", "peak MiB", "bytes each", "", "since baseline"];
  const cells = rows.map((row) => [
    row.of,
    row.verb,
    row.sizes.join(" "),
    row.cpuSeconds.map((it) => it.toFixed(2)).join(" "),
    row.exponent === undefined ? "-" : `n^${row.exponent.toFixed(2)}`,
    row.peakBytes.map((it) => mib(it).replace(" MiB", "")).join(" "),
    row.bytesEach === undefined ? "-" : row.bytesEach.toFixed(Math.abs(row.bytesEach) < 10 ? 2 : 0),
    verdictOf(row),
    changeSince(row, before),
  ]);
  const widths = head.map((name, column) => Math.max(name.length, ...cells.map((row) => row[column]?.length ?? 0)));
  return [head, ...cells].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function changeSince(row: Growth, before: Baseline<Growth> | undefined): string {
  const then = before?.rows.find((it) => it.of === row.of && it.verb === row.verb);
  const size = row.sizes.findLast((it) => then?.sizes.includes(it));
  if (then === undefined || size === undefined) return "";
  const was = then.cpuSeconds[then.sizes.indexOf(size)] ?? 0;
  const is = row.cpuSeconds[row.sizes.indexOf(size)] ?? 0;
  const percent = (is / Math.max(was, 0.01) - 1) * 100;
  return `${percent >= 0 ? "+" : ""}${percent.toFixed(0)} % CPU`;
}
