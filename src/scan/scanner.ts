/**
 * Runs a scanner: a program of the user's choice that looks at a folder and ends with 0 (clean), 1 (found something)
 * or another status (failed). No shell, no inherited environment; its own process group, which an interruption kills.
 */
import { spawn } from "node:child_process";
import { AirferryError } from "../errors.ts";
import { currentSignal } from "../io/limit.ts";
import { printable } from "../io/printable.ts";
import { shellWords } from "../io/shell.ts";

/** Stands for the folder in a command. */
const FOLDER = "{}";
const MAX_OUTPUT_BYTES = 256 * 1024;
const VERSION_TIMEOUT_MS = 30_000;
const KILL_AFTER_MS = 2000;
/** Nothing else of the environment reaches the scanner. */
const ENVIRONMENT = ["PATH", "HOME", "TMPDIR"];
/** Status of env(1) and shells for a program that cannot be started. */
const NOT_STARTED = [126, 127];

/** A scanner that exists. */
export interface Scanner {
  /** Words of its command, `{}` for the folder among them. */
  words: readonly string[];
  /** First line that it printed for `--version`; null: none. */
  version: string | null;
}

/** What a run left. */
interface ScannerRun {
  found: boolean;
  /** Its standard output, the path of the folder removed; printable. */
  lines: string[];
  truncated: boolean;
}

/**
 * Splits a command into words as a shell does, with quotes and backslashes and nothing else, and asks the program for
 * its version.
 * @throws {AirferryError} ERR_USAGE for an open quote or no word; ERR_SCANNER when the program cannot be started
 */
export async function openScanner(command: string): Promise<Scanner> {
  const words = splitWords(command);
  const at = words.findIndex((it) => it !== "env" && !/^[A-Za-z_]\w*=/.test(it));
  if (at < 0) throw usage(command, "it names no program");
  const run = await execute([...words.slice(0, at + 1), "--version"], VERSION_TIMEOUT_MS);
  if (run.missing !== undefined || NOT_STARTED.includes(run.status ?? 0)) throw missing(words, run);
  const line = run.status === 0 ? linesOf(run.output)[0] : undefined;
  const folder = words.some((it) => it.includes(FOLDER)) ? [] : [FOLDER];
  return { words: [...words, ...folder], version: line === undefined ? null : printable(line, 200) };
}

/**
 * Runs the scanner over a folder, given by its absolute path.
 * @throws {AirferryError} ERR_SCANNER when it ends with another status than 0 and 1
 */
export async function runScanner(scanner: Scanner, folder: string): Promise<ScannerRun> {
  const run = await execute(scanner.words.map((it) => it.replaceAll(FOLDER, folder)));
  if (run.missing !== undefined) throw missing(scanner.words, run);
  if (run.status !== 0 && run.status !== 1) {
    const ended = run.endedBy ? `it was ended by ${run.endedBy}` : `it ended with status ${run.status}`;
    const last = linesOf(run.errors).at(-1) ?? linesOf(run.output).at(-1);
    const words = last === undefined ? "" : `: ${printable(last, 300)}`;
    throw new AirferryError("ERR_SCANNER", `cannot scan with "${shellWords(scanner.words)}": ${ended}${words}`, {
      expected: "status 0 (clean) or 1 (found)",
      actual: run.endedBy ?? String(run.status),
      hint: "run the scanner by hand to see what is wrong, then the same command again; docs/scanning.md has commands that work",
    });
  }
  const lines = linesOf(run.output).map((it) => printable(printable(it.replaceAll(`${folder}/`, "")), 500));
  return { found: run.status === 1, lines, truncated: run.truncated };
}

function linesOf(bytes: Buffer): string[] {
  return bytes
    .toString()
    .split(/\r?\n/)
    .filter((it) => it.trim() !== "");
}

interface Executed {
  status: number | null;
  endedBy: NodeJS.Signals | null;
  output: Buffer;
  errors: Buffer;
  truncated: boolean;
  /** Why it could not be started. */
  missing?: string;
}

async function execute(words: readonly string[], timeoutMs?: number): Promise<Executed> {
  const [program = "", ...args] = words;
  const signal = currentSignal();
  signal?.throwIfAborted();
  const env = Object.fromEntries(ENVIRONMENT.flatMap((it) => (process.env[it] ? [[it, process.env[it]]] : [])));
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...env, LC_ALL: "C.UTF-8" },
    detached: true,
  });
  let hard: NodeJS.Timeout | undefined;
  const kill = () => {
    killGroup(child.pid, "SIGTERM");
    hard = setTimeout(() => killGroup(child.pid, "SIGKILL"), KILL_AFTER_MS);
  };
  const timer = timeoutMs === undefined ? undefined : setTimeout(kill, timeoutMs);
  signal?.addEventListener("abort", kill, { once: true });
  const output = collect(child.stdout);
  const errors = collect(child.stderr);
  try {
    const ended = await new Promise<Pick<Executed, "status" | "endedBy" | "missing">>((resolve) => {
      child.on("error", (error: NodeJS.ErrnoException) =>
        resolve({ status: null, endedBy: null, missing: error.code === "ENOENT" ? "no such program" : error.message }),
      );
      child.on("close", (status, endedBy) => resolve({ status, endedBy }));
    });
    signal?.throwIfAborted();
    return { ...ended, output: output.bytes(), errors: errors.bytes(), truncated: output.truncated() };
  } finally {
    clearTimeout(timer);
    clearTimeout(hard);
    signal?.removeEventListener("abort", kill);
  }
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended.
  }
}

/** The first bytes of a stream; the rest is read and dropped. */
function collect(stream: NodeJS.ReadableStream): { bytes(): Buffer; truncated(): boolean } {
  const chunks: Buffer[] = [];
  let length = 0;
  stream.on("data", (chunk: Buffer) => {
    if (length < MAX_OUTPUT_BYTES) chunks.push(chunk);
    length += chunk.length;
  });
  return {
    bytes: () => Buffer.concat(chunks).subarray(0, MAX_OUTPUT_BYTES),
    truncated: () => length > MAX_OUTPUT_BYTES,
  };
}

function missing(words: readonly string[], run: Executed): AirferryError {
  const fault = run.missing ?? linesOf(run.errors).at(-1) ?? `it ended with status ${run.status}`;
  return new AirferryError("ERR_SCANNER", `cannot start scanner "${shellWords(words)}": ${printable(fault, 300)}`, {
    hint: "install it, or give its full path; it is started without a shell, with nothing of the environment but PATH, HOME and TMPDIR",
  });
}

function usage(command: string, fault: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot use --scan ${JSON.stringify(printable(command, 200))}: ${fault}`, {
    hint: "give a program and its options: --scan 'clamscan -r --infected --no-summary'",
  });
}

/** Words of a command line: blanks separate, quotes and backslashes protect, nothing is expanded. */
function splitWords(command: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (const [part] of command.matchAll(/'[^']*'|"(?:[^"\\]|\\[\s\S])*"|\\[\s\S]|\s+|[\s\S]/g)) {
    if (/^\s/.test(part)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (part === "'" || part === '"' || part === "\\") throw usage(command, "a quote is not closed");
    else if (part.startsWith("'")) word = (word ?? "") + part.slice(1, -1);
    else if (part.startsWith('"')) word = (word ?? "") + part.slice(1, -1).replace(/\\(["\\$`])/g, "$1");
    else word = (word ?? "") + (part.startsWith("\\") ? part.slice(1) : part);
  }
  if (word !== undefined) words.push(word);
  if (words.some((it) => it.includes("\0"))) throw usage(command, "it has a NUL");
  return words;
}
