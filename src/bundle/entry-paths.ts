/**
 * Which sets of entry paths are legal in a bundle; each alone is judged by io/path-grammar.ts. Pure functions. docs/format.md,
 * "Entry paths".
 */
import type { Problem } from "../errors.ts";
import { atOnce } from "../io/pace.ts";
import { checkPath } from "../io/path-grammar.ts";
import { printable as printableText } from "../io/printable.ts";

/** What is wrong with paths, and which of them differ only by case. */
interface CheckedPaths {
  problems: Problem[];
  caseTwins: [string, string][];
}

const STEP_PATHS = 1000;

/**
 * Checks all paths of a bundle, each alone and against each other: no duplicates, no path that is a directory of another.
 * Paths that differ only by case are legal and come back in `caseTwins`, for people to be told; `twins: false` spares the search.
 */
export function checkEntryPaths(paths: Iterable<string>, options: { twins?: boolean } = {}): CheckedPaths {
  return atOnce(checkingEntryPaths(paths, options));
}

/** The same in steps: yields where the work may pause. */
export function* checkingEntryPaths(
  paths: Iterable<string>,
  options: { twins?: boolean } = {},
): Generator<void, CheckedPaths> {
  const problems: Problem[] = [];
  const caseTwins: [string, string][] = [];
  const seen = new Set<string>();
  const folded = new Map<string, string>();
  const directories = new Set<string>();
  const refuse = (path: string, fault: string) =>
    problems.push({
      code: "ERR_PATH_UNSAFE",
      path: printable(path),
      message: `unsafe entry path "${printable(path)}": ${fault}`,
    });
  for (const path of paths) {
    if (seen.size % STEP_PATHS === 0) yield;
    const fault = checkPath(path);
    if (fault !== undefined) {
      refuse(path, fault);
      continue;
    }
    if (seen.has(path)) refuse(path, "it is there twice");
    seen.add(path);
    if (options.twins !== false) {
      const lower = path.toLowerCase();
      const twin = folded.get(lower);
      if (twin !== undefined && twin !== path) caseTwins.push([twin, path]);
      else folded.set(lower, path);
    }
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      const directory = path.slice(0, slash);
      if (directories.has(directory)) break;
      directories.add(directory);
    }
  }
  for (const path of seen) if (directories.has(path)) refuse(path, "another entry has it as a directory");
  return { problems, caseTwins };
}

/** Foreign text in a message about a bundle: on one line, and cut where it is longer than any name. */
export function printable(text: string, maxLength = 300): string {
  return printableText(text, maxLength);
}

/** Orders two strings by their UTF-8 bytes, as `LC_ALL=C sort` does; for `Array.sort`. */
export function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left === right) continue;
    // UTF-16 puts surrogates (U+10000 and up) below U+E000…U+FFFF, UTF-8 above.
    const lift = (unit: number) => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit);
    return lift(left) - lift(right);
  }
  return a.length - b.length;
}
