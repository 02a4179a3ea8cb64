/** Runs programs under GNU time, so that airferry and other programs are measured in the same way. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Measured {
  seconds: number;
  /** Processor seconds of all threads and children, user and system. */
  cpu: number;
  /** Peak resident size of the largest process, in bytes. */
  memory: number;
  /** Bytes written to file systems. */
  written: number;
  stdout: string;
}

/** Runs a command to its end; throws with its stderr when it fails. */
export function measure(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Measured {
  const report = join(mkdtempSync(join(tmpdir(), "airferry-time-")), "report");
  const ran = spawnSync("/usr/bin/time", ["-o", report, "-f", "%e %M %O %U %S", command, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (ran.status !== 0)
    throw new Error(`${command} ${args.slice(0, 4).join(" ")}: exit ${ran.status}: ${ran.stderr?.slice(-2000)}`);
  const [seconds, kib, blocks, user, system] = (readFileSync(report, "utf8").trim().split("\n").at(-1) ?? "")
    .split(" ")
    .map(Number);
  rmSync(join(report, ".."), { recursive: true });
  return {
    seconds: seconds ?? 0,
    cpu: (user ?? 0) + (system ?? 0),
    memory: (kib ?? 0) * 1024,
    written: (blocks ?? 0) * 512,
    stdout: ran.stdout,
  };
}

/** The median by time of several runs; `prepare` runs before each, unmeasured. */
export function median(runs: number, run: () => Measured, prepare: () => void = () => {}): Measured {
  const all = Array.from({ length: runs }, () => {
    prepare();
    return run();
  });
  return all.sort((a, b) => a.seconds - b.seconds)[Math.floor(runs / 2)] as Measured;
}

export const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(0)} MiB`;
export const secs = (it: Measured): string => `${it.seconds.toFixed(2)} s`;
export const cpuSecs = (it: Measured): string => `${it.cpu.toFixed(2)} s of the processor`;
