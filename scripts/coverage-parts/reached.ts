/**
 * Which lines ran, from the files that node writes for NODE_V8_COVERAGE. Types are stripped to spaces, so that offsets
 * are those of the source. A line is unreached when no process ran any of it.
 */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

interface Range {
  startOffset: number;
  endOffset: number;
  count: number;
}

interface ScriptCoverage {
  url: string;
  functions: { ranges: Range[] }[];
}

/** Numbers, from 1, of the lines that have code: no blank ones, no comments, no types. */
export function codeLines(text: string): number[] {
  const code = stripTypeScriptTypes(text);
  return code
    .split("\n")
    .flatMap((line, at) => (/^\s*($|\/\/|\/\*|\*)|^\s*[)\]}]*[;,]?\s*$/.test(line) ? [] : [at + 1]));
}

/**
 * The lines of `text` that did not run, by these functions' ranges; an inner range overrides its part of the outer one.
 */
export function unreachedLines(text: string, functions: ScriptCoverage["functions"]): Set<number> {
  const ran = new Uint8Array(text.length).fill(1);
  const ranges = functions.flatMap((it) => it.ranges).sort(outerFirst);
  for (const { startOffset, endOffset, count } of ranges) ran.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  const unreached = new Set<number>();
  let start = 0;
  for (const [at, line] of text.split("\n").entries()) {
    const from = start + (line.length - line.trimStart().length);
    const to = start + line.trimEnd().length;
    if (to > from && !ran.subarray(from, to).includes(1)) unreached.add(at + 1);
    start += line.length + 1;
  }
  return unreached;
}

function outerFirst(a: Range, b: Range): number {
  return a.startOffset - b.startOffset || b.endOffset - a.endOffset;
}

/** What all processes so far reached, file by file. */
export class Reached {
  readonly #src: string;
  readonly #unreached = new Map<string, Set<number>>();
  readonly #texts = new Map<string, string>();

  /** @param src the folder to look at; names are relative to it */
  constructor(src: string) {
    this.#src = src;
    for (const file of readdirSync(src, { recursive: true, encoding: "utf8" }).sort()) {
      if (!file.endsWith(".ts")) continue;
      const text = readFileSync(join(src, file), "utf8");
      this.#texts.set(file, text);
      this.#unreached.set(file, new Set(codeLines(text)));
    }
  }

  /** Adds what the processes left in a folder, and removes it. */
  fold(folder: string): void {
    for (const name of readdirSync(folder)) {
      const { result } = JSON.parse(readFileSync(join(folder, name), "utf8")) as { result: ScriptCoverage[] };
      for (const { url, functions } of result) this.#add(url, functions);
    }
    rmSync(folder, { recursive: true });
  }

  /** Adds an earlier result: the lines not reached, by file; all others were reached. */
  addRecord(unreached: ReadonlyMap<string, readonly number[]>): void {
    for (const [file, lines] of this.#unreached) {
      const then = new Set(unreached.get(file) ?? []);
      this.#unreached.set(file, new Set([...lines].filter((line) => then.has(line))));
    }
  }

  #add(url: string, functions: ScriptCoverage["functions"]): void {
    if (!url.startsWith("file:")) return;
    const file = fileURLToPath(url).slice(this.#src.length + 1);
    const text = fileURLToPath(url).startsWith(`${this.#src}/`) ? this.#texts.get(file) : undefined;
    const before = this.#unreached.get(file);
    if (text === undefined || before === undefined || before.size === 0) return;
    const now = unreachedLines(text, functions);
    this.#unreached.set(file, new Set([...before].filter((line) => now.has(line))));
  }

  /** Lines with code and those of them that nothing reached, by file. */
  get files(): Map<string, { lines: number; unreached: number[] }> {
    return new Map(
      [...this.#texts].map(([file, text]) => {
        const unreached = [...(this.#unreached.get(file) ?? [])].sort((a, b) => a - b);
        return [file, { lines: codeLines(text).length, unreached }];
      }),
    );
  }
}
