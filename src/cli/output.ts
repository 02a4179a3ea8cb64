/**
 * Everything that is printed: results on stdout, everything else on stderr, errors in one format (`error:` then
 * `hint:`). Names from media and networks may hold control characters; they are shown as escapes, never sent to a
 * terminal.
 */
import { once } from "node:events";
import { AirferryError, type Problem } from "../errors.ts";
import { hintOf } from "../io/atomic.ts";
import { printableJson, printableJsonPieces, printableLines, printable as printableText } from "../io/printable.ts";
import { redactText } from "../io/redact.ts";
import { withManifestName } from "../io/shell.ts";
import { type Progress, type ProgressMode, type ProgressState, startProgress } from "./progress.ts";
import { type Summary, summaryLines } from "./summary.ts";

export interface GlobalOptions {
  json?: boolean;
  quiet?: boolean;
  progress?: ProgressMode;
}

/** Characters of lines that are written at once. */
const LINES_CHARS = 64 * 1024;

export class Output {
  readonly json: boolean;
  /** The manifest of the command, as typed: commands in notes and hints name it. */
  manifest: string | undefined;
  readonly #quiet: boolean;
  readonly #mode: ProgressMode;
  #started = performance.now();
  #progress: Progress | undefined;
  /** What is shown is shown to its end: other work that goes on beside it waits. */
  #isAlone = false;
  /** An error is the last output: messages of other work that is still ending are dropped. */
  #ended = false;

  constructor(options: GlobalOptions) {
    this.json = options.json === true;
    this.#quiet = options.quiet === true;
    this.#mode = options.quiet ? "none" : (options.progress ?? "auto");
  }

  /** A readable result, one line per argument; with --json only the document of `result` is printed. */
  print(...lines: readonly string[]): void {
    if (!this.json) for (const line of lines) process.stdout.write(`${printable(line)}\n`);
  }

  /** Many lines, as with {@link print}: some at a time, since each write is kept until all that wait are done. */
  async lines(lines: Iterable<string>): Promise<void> {
    if (this.json) return;
    let waiting = "";
    const write = async () => {
      if (!process.stdout.write(waiting)) await once(process.stdout, "drain");
      waiting = "";
    };
    for (const line of lines) {
      waiting += `${printable(line)}\n`;
      if (waiting.length >= LINES_CHARS) await write();
    }
    if (waiting !== "") await write();
  }

  /** A whole text with its own line breaks (a rendered file). */
  text(text: string): void {
    if (!this.json) process.stdout.write(`${printableLines(text)}\n`);
  }

  /** A document that comes in pieces, as it is. Waits while stdout is full. */
  async pieces(pieces: Iterable<string> | AsyncIterable<string>): Promise<void> {
    for await (const piece of pieces) {
      if (!process.stdout.write(piece)) await once(process.stdout, "drain");
    }
  }

  /** The last line of stdout, by itself, in every mode (the bundle's path). */
  line(line: string): void {
    process.stdout.write(`${printable(line)}\n`);
  }

  /** The one JSON document of a command. */
  result(value: unknown): void {
    if (!this.json) return;
    for (const it of printableJsonPieces(value)) process.stdout.write(it);
    process.stdout.write("\n");
  }

  /** From here on the time counts that a command took: what a person needed to type is over. */
  restartClock(): void {
    this.#started = performance.now();
  }

  /**
   * The end of a command: its JSON document, with how long it took in `seconds`, and the summary on stderr.
   */
  end(value: object, summary: Summary): void {
    this.progressDone();
    const seconds = Math.round(performance.now() - this.#started) / 1000;
    this.result({ ...value, seconds });
    for (const line of summaryLines(summary, seconds)) this.note(line);
  }

  /** A progress note on stderr. */
  note(line: string): void {
    if (this.#quiet || this.#ended) return;
    const message = this.#named(line);
    if (this.#mode === "json")
      process.stderr.write(`${printableJson({ event: "note", message: redactText(message) })}\n`);
    else {
      this.#progress?.clear();
      process.stderr.write(`airferry: ${printable(message)}\n`);
    }
  }

  #named(text: string): string {
    return this.manifest === undefined ? text : withManifestName(text, this.manifest);
  }

  /**
   * Bytes, rate and time left of one piece of work, from its first report on; end it with `progressDone`.
   * @param isAlone until then nothing else is shown
   */
  progress(what: string, isAlone = false): (state: ProgressState) => void {
    let own: Progress | undefined;
    return (state) => {
      if (this.#ended || (this.#isAlone && !isAlone)) return;
      if (own === undefined || own !== this.#progress) {
        this.#progress?.end();
        own = startProgress(what, this.#mode);
        this.#progress = own;
        this.#isAlone = isAlone;
      }
      own.update(state.path === undefined ? state : { ...state, path: printable(state.path) });
    };
  }

  progressDone(): void {
    this.#progress?.end();
    this.#progress = undefined;
    this.#isAlone = false;
  }

  /** A signal ended the work, in order: says how much a rerun finds. */
  interrupted(): void {
    const at = this.#progress?.kept();
    this.progressDone();
    this.note(`interrupted; run the same command to resume${at === undefined ? "" : ` at ${at}`}`);
  }

  /** Prints an error with everything that helps: all problems, and the next command. A stack trace only on request. */
  error(error: unknown): void {
    this.progressDone();
    this.#ended = true;
    const it = error instanceof AirferryError ? error : unexpected(error);
    const { code, path, expected, actual, problems } = it;
    const message = this.#named(it.message);
    const hint = it.hint && this.#named(it.hint);
    if (this.#mode === "json" || this.json) {
      process.stderr.write(
        `${printableJson({ event: "error", code, message, hint, path, expected, actual, problems })}\n`,
      );
    } else {
      process.stderr.write(`airferry: error: ${printable(message)}\n`);
      const isRepeated = problems.length === 1 && message.includes((problems[0] as Problem).message);
      for (const problem of isRepeated ? [] : problems)
        process.stderr.write(`  ${printable(problem.path)}: ${printable(this.#named(problem.message))}\n`);
      if (hint) process.stderr.write(`airferry: hint: ${printableLines(hint)}\n`);
    }
    if (process.env["AIRFERRY_DEBUG"]) {
      process.stderr.write(`${printableLines(redactText((error as Error)?.stack ?? String(error)))}\n`);
      if (it.cause !== undefined && it.cause !== error)
        process.stderr.write(`${printableLines(redactText(String(it.cause)))}\n`);
    }
  }
}

function unexpected(error: unknown): AirferryError {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new AirferryError("ERR_SPACE", `cannot write: ${message}`, {
      hint: hintOf(code),
      cause: error,
    });
  }
  if (code !== undefined && /^E[A-Z0-9]+$/.test(code))
    return new AirferryError("ERR_IO", message, { hint: hintOf(code), cause: error });
  return new AirferryError("ERR_INTERNAL", `cannot continue: ${message ?? String(error)}`, {
    hint: "this is a bug in airferry; run again with AIRFERRY_DEBUG=1 and report it",
    cause: error,
  });
}

/** Untrusted text, safe for a terminal and without secrets. */
function printable(text: string): string {
  return printableText(redactText(text));
}
