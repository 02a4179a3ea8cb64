/**
 * Which sets of entry paths are legal in a bundle; io/path-grammar.ts checks each by itself. Pure functions.
 * docs/format.md, "Entry paths".
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
 * Checks all paths of a bundle, each by itself and against each other: no duplicates, no path that is a directory of
 * another. Paths that differ only by case are legal and returned in `caseTwins` for a notice; `twins: false` skips the
 * search.
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
      path: printableName(path),
      message: `unsafe entry path "${printableName(path)}": ${fault}`,
    });
  for (const path of paths) {
    if (seen.size % STEP_PATHS === 0) yield;
    const fault = checkPath(path);
    if (fault !== undefined) {
      refuse(path, fault);
      continue;
    }
    if (seen.has(path)) refuse(path, "it occurs twice");
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
  for (const path of seen) if (directories.has(path)) refuse(path, "another entry uses it as a directory");
  return { problems, caseTwins };
}

/** Foreign text for a message about a bundle: on one line, and truncated beyond the length of any name. */
export function printableName(text: string, maxLength = 300): string {
  return printableText(text, maxLength);
}
