/**
 * Everything that is printed: results on stdout, all else on stderr, errors in one voice (`error:` then `hint:`).
 * Names from media and networks may hold control characters; they are shown as escapes, never sent to a terminal.
 */
import { AirferryError, type Problem } from "../errors.ts";
import { hintOf } from "../io/atomic.ts";
import { printableJson, printableLines, printable as printableText } from "../io/printable.ts";
import { redactText } from "../io/redact.ts";
import { withManifestName } from "../io/shell.ts";
import { type Progress, type ProgressMode, startProgress } from "./progress.ts";

export interface GlobalOptions {
  json?: boolean;
  quiet?: boolean;
  progress?: ProgressMode;
}

export class Output {
  readonly json: boolean;
  /** The manifest that the command works on, as typed: commands in notes and hints name it. */
  manifest: string | undefined;
  readonly #quiet: boolean;
  readonly #mode: ProgressMode;
  #progress: Progress | undefined;
  /** An error is the last thing on the screen: what other work still says, while it ends, comes no more. */
  #ended = false;

  constructor(options: GlobalOptions) {
    this.json = options.json === true;
    this.#quiet = options.quiet === true;
    this.#mode = options.quiet ? "none" : (options.progress ?? "auto");
  }

  /** A result for people, each argument on a line of its own; with --json only the document of `result` is printed. */
  print(...lines: readonly string[]): void {
    if (!this.json) for (const line of lines) process.stdout.write(`${printable(line)}\n`);
  }

  /** A whole text for people or programs, whose line breaks are its own (a rendered file). */
  text(text: string): void {
    if (!this.json) process.stdout.write(`${printableLines(text)}\n`);
  }

  /** The last line of stdout, alone, whatever the mode (the bundle's path). */
  line(line: string): void {
    process.stdout.write(`${printable(line)}\n`);
  }

  /** The one JSON document of a command. */
  result(value: unknown): void {
    if (this.json) process.stdout.write(`${printableJson(value, 2)}\n`);
  }

  /** What is going on, for people, on stderr. */
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

  /** Bytes, rate and time left of one piece of work; end it with `progressDone`. */
  progress(what: string): (done: number, total: number | undefined, detail?: string) => void {
    this.#progress?.end();
    this.#progress = startProgress(what, this.#mode);
    const progress = this.#progress;
    return (done, total, detail) => {
      if (!this.#ended) progress.update(done, total, detail === undefined ? undefined : printable(detail));
    };
  }

  progressDone(): void {
    this.#progress?.end();
    this.#progress = undefined;
  }

  /** Prints an error with everything that helps: all problems, and the next command. Never a stack trace, unless asked. */
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
      const told = problems.length === 1 && message.includes((problems[0] as Problem).message);
      for (const problem of told ? [] : problems)
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
  return new AirferryError("ERR_INTERNAL", `cannot go on: ${message ?? String(error)}`, {
    hint: "this is a bug in airferry; run again with AIRFERRY_DEBUG=1 and report it",
    cause: error,
  });
}

/** Text of anybody, fit for a terminal and without secrets. */
function printable(text: string): string {
  return printableText(redactText(text));
}
