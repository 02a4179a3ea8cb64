/**
 * Baselines in the repository: results with their machine and commit. Ratios can be compared between machines, times
 * and rates cannot.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, statfsSync, writeFileSync } from "node:fs";
import { arch, cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import type { Row } from "./row.ts";

/** docs/bench.json and docs/bench-scale.json: one document each, rows in the order of the run. */
export interface Baseline<R = Row> {
  /** RFC 3339, whole seconds. */
  measured: string;
  commit: string;
  machine: {
    cpu: string;
    cores: number;
    memoryBytes: number;
    kernel: string;
    arch: string;
    node: string;
    /** Type of the file system that was measured on, as statfs names it. */
    fileSystem: string;
    /** Load average of a minute when the run began: a busy machine measures itself. */
    loadBefore: number;
  };
  rows: R[];
}

export const BASELINE_FILE = join(import.meta.dirname, "../../docs/bench.json");

/** Describes this machine. Call it before anything is measured. */
export function describeMachine(): Baseline["machine"] {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? "unknown",
    cores: all.length,
    memoryBytes: totalmem(),
    kernel: release(),
    arch: arch(),
    node: process.version,
    fileSystem: `0x${statfsSync(tmpdir()).type.toString(16)}`,
    loadBefore: Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]),
  };
}

/** Replaces the baseline with these results. */
export function saveBaseline<R>(machine: Baseline["machine"], rows: readonly R[], file = BASELINE_FILE): void {
  const commit = execFileSync("git", ["rev-parse", "HEAD"], { cwd: import.meta.dirname, encoding: "utf8" }).trim();
  const measured = `${new Date().toISOString().slice(0, 19)}Z`;
  const baseline: Baseline<R> = { measured, commit, machine, rows: [...rows] };
  writeFileSync(file, `${JSON.stringify(baseline, null, 2)}\n`);
}

/**
 * How each row changed since a baseline, in percent of its ratio; rows that the baseline lacks are left out. A job with
 * several peers has a row for each, in the same order as before.
 */
export function changesSince(baseline: Baseline, rows: readonly Row[]): { job: string; percent: number }[] {
  const seen = new Map<string, number>();
  return rows.flatMap(({ job, ratio }) => {
    const at = seen.get(job) ?? 0;
    seen.set(job, at + 1);
    const before = baseline.rows.filter((it) => it.job === job)[at];
    return before === undefined ? [] : [{ job, percent: (ratio / before.ratio - 1) * 100 }];
  });
}
