/**
 * Which of two tags is newer, for tags that are versions: `v1.29.10` after `v1.29.9`, `3.10` after `3.9`, `1.30.0` after
 * `1.30.0-rc.1`. Tags that are no versions are older than all that are. See Semantic Versioning 2.0.0, section 11.
 */
import semver from "semver";

const VERSION = /^v?(\d+(?:\.\d+)*)(.*)$/;
const BY_NUMBERS = new Intl.Collator("en", { numeric: true });

/** Sorts newest first; equal versions keep a fixed order. */
export function newestFirst(tags: readonly string[]): string[] {
  return [...tags].sort((a, b) => compareTags(b, a));
}

/** Negative where `a` is older than `b`. */
export function compareTags(a: string, b: string): number {
  const [x, y] = [VERSION.exec(a), VERSION.exec(b)];
  if (x === null || y === null) return Number(x !== null) - Number(y !== null) || BY_NUMBERS.compare(a, b);
  const [one, two] = [semver.parse(a, { loose: true }), semver.parse(b, { loose: true })];
  // Build metadata does not order versions, but some order is better than chance.
  if (one !== null && two !== null) return semver.compareBuild(one, two) || BY_NUMBERS.compare(a, b);
  return compareNumbers(x[1] as string, y[1] as string) || compareSuffixes(x[2] as string, y[2] as string);
}

function compareNumbers(a: string, b: string): number {
  const [x, y] = [a, b].map((it) => it.split(".").map(BigInt)) as [bigint[], bigint[]];
  for (let index = 0; index < Math.max(x.length, y.length); index++) {
    const [m, n] = [x[index] ?? 0n, y[index] ?? 0n];
    if (m !== n) return m < n ? -1 : 1;
  }
  return x.length - y.length;
}

/** A release is newer than what comes before it. */
function compareSuffixes(a: string, b: string): number {
  if (a === "" || b === "") return Number(a === "") - Number(b === "");
  return BY_NUMBERS.compare(a, b);
}
