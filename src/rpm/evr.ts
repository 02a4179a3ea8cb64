/**
 * RPM versions: how two of them compare, and whether a version is in the range that a dependency requires.
 * See rpm's docs/manual/dependencies.md and rpmio/rpmvercmp.c; tested with upstream's own vectors.
 */

/** Epoch, version and release. `release` is "" when a dependency names none. */
export interface Evr {
  epoch: number;
  version: string;
  release: string;
}

/** Comparison bits of a dependency; 0 means that it has no version. */
const GT = 1;
export const EQ = 2;
const LT = 4;

const FLAGS: Record<string, number> = { EQ, GT, LT, GE: GT | EQ, LE: LT | EQ };
const SIGNS = ["", ">", "=", ">=", "<", "<>", "<=", ""];

/** Reads the `flags` attribute of repository metadata; undefined unless it is EQ, LT, GT, LE or GE. */
export function parseFlags(text: string): number | undefined {
  return FLAGS[text];
}

/** Reads `=`, `<`, `>=` …; undefined for anything else. */
export function parseSign(text: string): number | undefined {
  const flags = SIGNS.indexOf(text === "==" ? "=" : text);
  return flags > 0 && flags !== 5 ? flags : undefined;
}

/** `>=` of the bits; "" for none. */
export function formatSign(flags: number): string {
  return SIGNS[flags] ?? "";
}

const isDigit = (code: number) => code >= 48 && code <= 57;
const isLetter = (code: number) => (code >= 97 && code <= 122) || (code >= 65 && code <= 90);
const isAlnum = (code: number) => isDigit(code) || isLetter(code);
const TILDE = 126;
const CARET = 94;

/**
 * Compares two versions or two releases as rpm does: -1, 0 or 1. Separators do not count, `~` sorts before the end, `^`
 * after.
 */
export function rpmvercmp(a: string, b: string): number {
  if (a === b) return 0;
  let i = 0;
  let j = 0;
  for (;;) {
    let x = a.charCodeAt(i);
    while (i < a.length && !isAlnum(x) && x !== TILDE && x !== CARET) x = a.charCodeAt(++i);
    let y = b.charCodeAt(j);
    while (j < b.length && !isAlnum(y) && y !== TILDE && y !== CARET) y = b.charCodeAt(++j);
    if (x === TILDE || y === TILDE) {
      if (x !== TILDE) return 1;
      if (y !== TILDE) return -1;
      i++;
      j++;
      continue;
    }
    if (x === CARET || y === CARET) {
      if (i >= a.length) return -1;
      if (j >= b.length) return 1;
      if (x !== CARET) return 1;
      if (y !== CARET) return -1;
      i++;
      j++;
      continue;
    }
    if (i >= a.length || j >= b.length) return i < a.length ? 1 : j < b.length ? -1 : 0;
    const belongs = isDigit(x) ? isDigit : isLetter;
    const iStart = i;
    const jStart = j;
    while (i < a.length && belongs(a.charCodeAt(i))) i++;
    while (j < b.length && belongs(b.charCodeAt(j))) j++;
    if (j === jStart) return belongs === isDigit ? 1 : -1;
    const order = compareSegments(a.slice(iStart, i), b.slice(jStart, j), belongs === isDigit);
    if (order !== 0) return order;
  }
}

function compareSegments(a: string, b: string, numeric: boolean): number {
  if (numeric) {
    a = a.replace(/^0+/, "");
    b = b.replace(/^0+/, "");
    if (a.length !== b.length) return a.length > b.length ? 1 : -1;
  }
  return a === b ? 0 : a > b ? 1 : -1;
}

/** Orders two full versions: epoch, version, release. */
export function compareEvr(a: Evr, b: Evr): number {
  if (a.epoch !== b.epoch) return a.epoch > b.epoch ? 1 : -1;
  return rpmvercmp(a.version, b.version) || rpmvercmp(a.release, b.release);
}

/** Returns whether the provided and the required range have a version in common. */
export function rangesOverlap(providedFlags: number, provided: Evr, flags: number, wanted: Evr): boolean {
  if (flags === 0) return true;
  // A provide without a version satisfies every version: see rpm's rpmdsCompare() and libsolv.
  if (providedFlags === 0) return true;
  if ((providedFlags & flags & (LT | GT)) !== 0) return true;
  let order = provided.epoch === wanted.epoch ? 0 : provided.epoch > wanted.epoch ? 1 : -1;
  order ||= rpmvercmp(provided.version, wanted.version);
  if (order === 0) {
    // A side without release stands for all releases of the version.
    if (provided.release !== "" && wanted.release === "") return (flags & EQ) !== 0;
    if (provided.release === "" && wanted.release !== "") return (providedFlags & EQ) !== 0;
    order = rpmvercmp(provided.release, wanted.release);
  }
  if (order === 0) return (flags & providedFlags & EQ) !== 0;
  return order < 0
    ? (flags & LT) !== 0 || (providedFlags & GT) !== 0
    : (flags & GT) !== 0 || (providedFlags & LT) !== 0;
}

/** Reads `[epoch:]version[-release]`. */
export function parseEvr(text: string): Evr {
  const colon = /^(\d*):/.exec(text);
  const rest = colon ? text.slice(colon[0].length) : text;
  const dash = rest.lastIndexOf("-");
  return {
    epoch: Number(colon?.[1] || 0),
    version: dash < 0 ? rest : rest.slice(0, dash),
    release: dash < 0 ? "" : rest.slice(dash + 1),
  };
}
