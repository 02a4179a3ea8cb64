/** Runs one test file in its own process group, which ends with it. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

/** A file that takes longer is stopped and has failed. */
export const FILE_TIMEOUT_MS = 300_000;
const GRACE_MS = 5_000;

const running = new Set<ChildProcess>();

export interface FileRun {
  tap: string;
  stderr: string;
  /** Why the file failed as a whole, apart from its tests: its exit status, a signal, the time limit. */
  ending?: string;
  timedOut: boolean;
  seconds: number;
}

/**
 * Runs a file to its end, without loaders in it or in the programs it starts; compiled code is cached in
 * `.cache/node-compile`. When it ends or the time is up, the rest of its process group is killed.
 */
export async function runFile(
  root: string,
  file: string,
  timeoutMs: number = FILE_TIMEOUT_MS,
  env: NodeJS.ProcessEnv = {},
): Promise<FileRun> {
  const began = performance.now();
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", file], {
    cwd: root,
    detached: true,
    env: {
      ...process.env,
      TAP: "1",
      TAP_TIMEOUT: String(timeoutMs / 1000),
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(root, ".cache", "node-compile"),
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  const tap: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (bytes: Buffer) => tap.push(bytes));
  child.stderr.on("data", (bytes: Buffer) => stderr.push(bytes));
  let timedOut = false;
  // At SIGALRM tap prints the test that was running.
  const alarm = setTimeout(() => {
    timedOut = true;
    child.kill("SIGALRM");
  }, timeoutMs);
  const end = setTimeout(() => killGroup(child), timeoutMs + GRACE_MS);
  const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", () => setTimeout(() => killGroup(child), GRACE_MS).unref());
    child.on("close", (...ended) => resolve(ended));
  });
  clearTimeout(alarm);
  clearTimeout(end);
  killGroup(child);
  running.delete(child);
  const ending = timedOut
    ? `stopped after ${timeoutMs / 1000} s`
    : status === 0
      ? undefined
      : `ended with ${signal ?? `status ${status}`}`;
  return {
    tap: Buffer.concat(tap).toString(),
    stderr: Buffer.concat(stderr).toString(),
    ...(ending === undefined ? {} : { ending }),
    timedOut,
    seconds: (performance.now() - began) / 1000,
  };
}

/** Ends every file that is still running: for Ctrl-C. */
export function stopAll(): void {
  for (const child of running) killGroup(child);
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // The group is empty.
  }
}
