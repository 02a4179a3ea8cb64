/** Runs test files concurrently, prints a line for each, runs what failed again alone, and adds up the results. */
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
  /**
   * At most so many files that failed run again, one at a time with nothing beside them; what they say then counts. More
   * than that is no bad luck. Default: none.
   */
  again?: number;
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
  /** Files that failed and then passed alone. */
  unsteadyFiles: string[];
  /** How long each file took, in the order of their ends. */
  seconds: [file: string, seconds: number][];
  /** What all files printed, each as a subtest. */
  tap: string;
}

/** What came of one file. */
interface FileResult {
  run: FileRun;
  totals: FileTotals;
  faults: string[];
  failed: number;
}

/** Runs all files to their end, even if some fail. */
export async function runTests(options: RunOptions): Promise<RunTotals> {
  const { root, files, jobs, strict, timeoutMs = FILE_TIMEOUT_MS, again = 0, say } = options;
  const results = new Map<string, FileResult>();
  const waiting = [...files];
  const one = async (file: string): Promise<FileResult> => {
    const env = options.env?.() ?? {};
    const run = await runFile(root, file, timeoutMs, env);
    options.after?.(env);
    const totals = readTap(run.tap);
    const faults = faultsOf(run, totals, strict);
    return { run, totals, faults, failed: Math.max(totals.failed, faults.length) };
  };
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await one(file);
      results.set(file, result);
      const at = `[${String(results.size).padStart(String(files.length).length)}/${files.length}]`;
      for (const line of report(file, result, at)) say(line);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  const unsteadyFiles: string[] = [];
  const bad = [...results].filter(([, { failed }]) => failed > 0).map(([file]) => file);
  for (const file of bad.length <= again ? bad : []) {
    const result = await one(file);
    for (const line of report(file, result, "[alone]")) say(line);
    if (result.failed > 0) continue;
    results.set(file, result);
    unsteadyFiles.push(file);
  }
  return { ...totalsOf(results), unsteadyFiles };
}

function totalsOf(results: ReadonlyMap<string, FileResult>): Omit<RunTotals, "unsteadyFiles"> {
  const sum = { passed: 0, failed: 0, skipped: 0, tap: "TAP version 14\n" };
  for (const [file, { run, totals, failed }] of results) {
    sum.passed += totals.passed;
    sum.failed += failed;
    sum.skipped += totals.skipped;
    const output = run.tap.replace(/^(?=.)/gm, "    ");
    const result = failed > 0 ? "not ok" : "ok";
    sum.tap += `# Subtest: ${file}\n${output}${result} - ${file} # time=${run.seconds.toFixed(1)}s\n`;
  }
  const all = [...results];
  return {
    ...sum,
    tap: `${sum.tap}1..${all.length}\n`,
    failedFiles: all.filter(([, { failed }]) => failed > 0).map(([file]) => file),
    seconds: all.map(([file, { run }]) => [file, run.seconds]),
  };
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

function report(file: string, { run, totals, faults, failed }: FileResult, at: string): string[] {
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
