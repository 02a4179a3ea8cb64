/**
 * Orders tags that are versions: `v1.29.10` after `v1.29.9`, `3.10` after `3.9`, `1.30.0` after
 * `1.30.0-rc.1`. Other tags are older than all versions. See Semantic Versioning 2.0.0, section 11.
 */
import semver from "semver";

const VERSION = /^v?(\d+(?:\.\d+)*)(.*)$/;
const BY_NUMBERS = new Intl.Collator("en", { numeric: true });

/** Sorts newest first; equal versions keep a fixed order. */
export function tagsNewestFirst(tags: readonly string[]): string[] {
  return tags
    .map(read)
    .sort((a, b) => compare(b, a))
    .map(({ tag }) => tag);
}

/** A tag, parsed once for all comparisons. */
interface Tag {
  tag: string;
  /** Numbers and what follows them; null if it is not a version. */
  version: { numbers: bigint[]; suffix: string } | null;
  semantic: semver.SemVer | null;
}

function read(tag: string): Tag {
  const [, numbers, suffix = ""] = VERSION.exec(tag) ?? [];
  const version = numbers === undefined ? null : { numbers: numbers.split(".").map(BigInt), suffix };
  return { tag, version, semantic: version && semver.parse(tag, { loose: true }) };
}

function compare(a: Tag, b: Tag): number {
  const [x, y] = [a.version, b.version];
  if (x === null || y === null) return Number(x !== null) - Number(y !== null) || BY_NUMBERS.compare(a.tag, b.tag);
  // Build metadata does not order versions, but the order must be deterministic.
  if (a.semantic !== null && b.semantic !== null) {
    return semver.compareBuild(a.semantic, b.semantic, true) || BY_NUMBERS.compare(a.tag, b.tag);
  }
  return compareNumbers(x.numbers, y.numbers) || compareSuffixes(x.suffix, y.suffix);
}

function compareNumbers(x: readonly bigint[], y: readonly bigint[]): number {
  for (let index = 0; index < Math.max(x.length, y.length); index++) {
    const [m, n] = [x[index] ?? 0n, y[index] ?? 0n];
    if (m !== n) return m < n ? -1 : 1;
  }
  return x.length - y.length;
}

/** A release is newer than its pre-releases. */
function compareSuffixes(a: string, b: string): number {
  if (a === "" || b === "") return Number(a === "") - Number(b === "");
  return BY_NUMBERS.compare(a, b);
}
