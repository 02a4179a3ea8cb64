/** Runs test files concurrently, prints a line for each, and adds up their results. */
import { isAllowedSkip } from "./allowed-skips.ts";
import { type FileTotals, readTap } from "./read-tap.ts";
import { FILE_TIMEOUT_MS, type FileRun, runFile } from "./run-file.ts";

const SHOWN_STDERR_LINES = 40;
const SHOWN_FAILURES = 10;

interface RunOptions {
  /** The checkout: files run in it. */
  root: string;
  /** Paths relative to `root`, in the order to start them in. */
  files: readonly string[];
  jobs: number;
  /** Every client is required: a skip fails unless {@link isAllowedSkip}. */
  strict: boolean;
  timeoutMs?: number;
  /** Further environment for the next file; `after` gets it back when that file has ended. */
  env?: () => NodeJS.ProcessEnv;
  after?: (env: NodeJS.ProcessEnv) => void;
  /** Receives the lines. */
  say: (line: string) => void;
}

interface RunTotals {
  passed: number;
  failed: number;
  skipped: number;
  failedFiles: string[];
  /** How long each file took, in the order of their ends. */
  seconds: [file: string, seconds: number][];
  /** What all files printed, each as a subtest. */
  tap: string;
}

/** Runs all files to their end, even if some fail. */
export async function runTests(options: RunOptions): Promise<RunTotals> {
  const { root, files, jobs, strict, timeoutMs = FILE_TIMEOUT_MS, say } = options;
  const sum: RunTotals = { passed: 0, failed: 0, skipped: 0, failedFiles: [], seconds: [], tap: "TAP version 14\n" };
  const waiting = [...files];
  let done = 0;
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const env = options.env?.() ?? {};
      const run = await runFile(root, file, timeoutMs, env);
      options.after?.(env);
      const totals = readTap(run.tap);
      const faults = faultsOf(run, totals, strict);
      const failed = Math.max(totals.failed, faults.length);
      sum.passed += totals.passed;
      sum.failed += failed;
      sum.skipped += totals.skipped;
      sum.seconds.push([file, run.seconds]);
      if (failed > 0) sum.failedFiles.push(file);
      const result = failed > 0 ? "not ok" : "ok";
      const output = run.tap.replace(/^(?=.)/gm, "    ");
      sum.tap += `# Subtest: ${file}\n${output}${result} - ${file} # time=${run.seconds.toFixed(1)}s\n`;
      done += 1;
      const at = `[${String(done).padStart(String(files.length).length)}/${files.length}]`;
      for (const line of report(file, run, totals, failed, faults, at)) say(line);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  sum.tap += `1..${files.length}\n`;
  return sum;
}

/** What counts as failed beside the assertions: how the file ended, no test in it, a skip that may not be. */
function faultsOf(run: FileRun, totals: FileTotals, strict: boolean): string[] {
  const faults = [...totals.failures];
  if (run.ending !== undefined && (run.timedOut || totals.failed === 0)) faults.push(run.ending);
  if (totals.passed + totals.failed + totals.skipped === 0) faults.push("no test in it");
  if (!strict) return faults;
  const skips = totals.skips.filter((it) => !isAllowedSkip(it.reason));
  return [...faults, ...skips.map((it) => `skipped although every client is required: ${it.name}: ${it.reason}`)];
}

function report(
  file: string,
  run: FileRun,
  totals: FileTotals,
  failed: number,
  faults: readonly string[],
  at: string,
): string[] {
  const counts = [
    `${totals.passed} passed`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(totals.skipped > 0 ? [`${totals.skipped} skipped`] : []),
  ].join(", ");
  const lines = [`${at} ${failed > 0 ? "FAIL" : "ok  "} ${file}: ${counts}, ${run.seconds.toFixed(1)} s`];
  for (const { name, reason } of totals.skips) lines.push(`      skipped: ${name}: ${reason}`);
  if (failed === 0) return lines;
  for (const fault of faults.slice(0, SHOWN_FAILURES)) lines.push(fault.replace(/^(?=.)/gm, "      "));
  if (faults.length > SHOWN_FAILURES) lines.push(`      and ${faults.length - SHOWN_FAILURES} more`);
  const said = run.stderr.trimEnd().split("\n").slice(-SHOWN_STDERR_LINES);
  if (said.join("") !== "") lines.push(...said.map((line) => `      | ${line}`));
  return lines;
}
