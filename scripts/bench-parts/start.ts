/** Processor time and memory of small verbs, and of locking thousands of files, with its exponent. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Measured, measure, mib } from "./measure.ts";
import type { Row } from "./row.ts";

const AIRFERRY = join(import.meta.dirname, "../airferry");
const RUNS = 5;
const TINY_BYTES = 120_000;
const MAX_TINY_CPU_S = 0.5;
const MAX_TINY_BYTES = 120 * 1024 * 1024;
const MAX_VERSION_CPU_S = 0.15;
const FEW_FILES = 4000;
const MANY_FILES = 64_000;
const MAX_LOCK_S = 30;
const MAX_EXPONENT = 1.05;

/** Needs only airferry: limits replace another program. */
export async function benchStart(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "airferry-bench-start-"));
  const env = { AIRFERRY_PASSWORD: "pw", AIRFERRY_CACHE: join(dir, "cache") };
  const run = (...args: string[]) => measure(AIRFERRY, args, { cwd: dir, env });
  try {
    writeFileSync(join(dir, "f.bin"), Buffer.alloc(TINY_BYTES, 7));
    writeManifest(dir, "tiny.yaml", ["f.bin"]);
    run("keygen", "--out", "site");
    const again = (...args: string[]) =>
      leastCpu(() => {
        rmSync(join(dir, "bundles"), { recursive: true, force: true });
        return run(...args);
      });
    const version = again("--version");
    const unsigned = again("pack", "tiny.yaml", "--unsigned", "--serial", "1");
    const signed = again("pack", "tiny.yaml", "--key", "site.key", "--serial", "1");
    const verified = leastCpu(() => run("verify", "bundles/bench-000001", "--trust", "site.pub"));
    return [
      cpuRow("--version", version, MAX_VERSION_CPU_S),
      cpuRow("pack of one file of 120 kB, unsigned", unsigned, MAX_TINY_CPU_S),
      cpuRow("pack of one file of 120 kB, signed", signed, MAX_TINY_CPU_S),
      memoryRow("memory of the same", signed, MAX_TINY_BYTES),
      cpuRow("verify of the same", verified, MAX_TINY_CPU_S),
      ...lockRows(dir, run),
    ];
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function lockRows(dir: string, run: (...args: string[]) => Measured): Row[] {
  const names = Array.from({ length: MANY_FILES }, (_, index) => `d${Math.floor(index / 1000)}/f${index}`);
  for (let i = 0; i < MANY_FILES / 1000; i++) mkdirSync(join(dir, `d${i}`));
  for (const name of names) writeFileSync(join(dir, name), name.repeat(100));
  writeManifest(dir, "few.yaml", names.slice(0, FEW_FILES));
  writeManifest(dir, "many.yaml", names);
  const few = run("lock", "few.yaml", "-q");
  const many = run("lock", "many.yaml", "-q");
  const exponent = Math.log(many.cpu / few.cpu) / Math.log(MANY_FILES / FEW_FILES);
  return [
    limitRow(`lock of ${MANY_FILES} local files`, many.seconds, MAX_LOCK_S, (it) => `${it.toFixed(1)} s`),
    limitRow(`growth from ${FEW_FILES} files to ${MANY_FILES}`, exponent, MAX_EXPONENT, (it) => `n^${it.toFixed(2)}`),
  ];
}

/** The run with the least processor time: other load on the machine only adds to it. */
function leastCpu(run: () => Measured): Measured {
  const all = Array.from({ length: RUNS }, run);
  return all.reduce((least, it) => (it.cpu < least.cpu ? it : least));
}

function writeManifest(dir: string, name: string, paths: readonly string[]): void {
  const files = paths.map((path) => `  - path: ${path}\n`).join("");
  writeFileSync(join(dir, name), `apiVersion: airferry/v1\nstream: bench\nfiles:\n${files}`);
}

function cpuRow(job: string, { cpu }: Measured, limit: number): Row {
  return limitRow(job, cpu, limit, (it) => `${it.toFixed(2)} CPU s`);
}

function memoryRow(job: string, { memory }: Measured, limit: number): Row {
  return limitRow(job, memory, limit, mib);
}

function limitRow(job: string, value: number, limit: number, format: (value: number) => string): Row {
  return { job: `start: ${job}`, airferry: format(value), peer: format(limit), ratio: value / limit, required: "≤ 1" };
}
