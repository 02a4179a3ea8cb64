/**
 * Which sets of entry paths are legal in a bundle; io/path-grammar.ts checks each by itself. Pure functions.
 * docs/format.md, "Entry paths".
 */
import type { Problem } from "../errors.ts";
import { checkPath } from "../io/path-grammar.ts";
import { printable as printableText } from "../io/printable.ts";
import { compareUtf8 } from "../io/text.ts";
import type { EntryTable } from "./entry-table.ts";

/** What is wrong with paths, and which of them differ only by case. */
interface CheckedPaths {
  problems: Problem[];
  caseTwins: [string, string][];
}

const STEP_PATHS = 1000;

/**
 * Checks all paths of a bundle, each by itself and against each other: no duplicates, no path that is a directory of
 * another. Paths that differ only by case are legal and returned in `caseTwins` for a notice.
 */
export function checkEntryPaths(paths: Iterable<string>): CheckedPaths {
  const problems: Problem[] = [];
  const caseTwins: [string, string][] = [];
  // As a rule one path is of one lower-case form: all others are in a set of their own.
  const folded = new Map<string, string>();
  const others = new Set<string>();
  const directories = new Set<string>();
  const refuse = (path: string, fault: string) => problems.push(unsafe(path, fault));
  for (const path of paths) {
    const fault = checkPath(path);
    if (fault !== undefined) {
      refuse(path, fault);
      continue;
    }
    const lower = path.toLowerCase();
    const twin = folded.get(lower);
    if (twin === undefined) folded.set(lower, path);
    else if (twin === path || others.has(path)) refuse(path, "it occurs twice");
    else {
      caseTwins.push([twin, path]);
      others.add(path);
    }
    addDirectories(path, directories);
  }
  for (const paths of [folded.values(), others])
    for (const path of paths) if (directories.has(path)) refuse(path, "another entry uses it as a directory");
  return { problems, caseTwins };
}

/** The problems that {@link checkEntryPaths} would tell. Yields where the work may pause. */
export function* checkingTablePaths(table: EntryTable): Generator<void, Problem[]> {
  const problems: Problem[] = [];
  const directories = new Set<string>();
  let before: string | undefined;
  for (let index = 0; index < table.length; index++) {
    if (index % STEP_PATHS === 0) yield;
    const path = table.pathAt(index);
    const fault = checkPath(path) ?? (path === before ? "it occurs twice" : undefined);
    if (fault !== undefined) problems.push(unsafe(path, fault));
    else addDirectories(path, directories);
    before = path;
  }
  const files = [...directories].filter((it) => table.has(it));
  for (const it of files.sort(compareUtf8)) problems.push(unsafe(it, "another entry uses it as a directory"));
  return problems;
}

function unsafe(path: string, fault: string): Problem {
  return {
    code: "ERR_PATH_UNSAFE",
    path: printableName(path),
    message: `unsafe entry path "${printableName(path)}": ${fault}`,
  };
}

/** Adds the directories that a path is in, of which the set has all that those in it are in. */
function addDirectories(path: string, directories: Set<string>): void {
  for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
    const directory = path.slice(0, slash);
    if (directories.has(directory)) break;
    directories.add(directory);
  }
}

/** Foreign text for a message about a bundle: on one line, and truncated beyond the length of any name. */
export function printableName(text: string, maxLength = 300): string {
  return printableText(text, maxLength);
}
