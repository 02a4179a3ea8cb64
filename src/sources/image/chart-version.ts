/**
 * Chart versions as helm selects them: an exact match first, then ranges as its library (Masterminds/semver) reads
 * them, which differ from npm's in commas, omitted parts of versions, and when a pre-release matches.
 */
import semver from "semver";

const OPERATOR = /(=<|=>|!=|>=|<=|[<>=~^]) +/g;

/**
 * The newest of `versions` that matches: the exact text, a range (`~1.15`, `>=1.2, <2`), or without `wanted` the newest
 * that is not a pre-release. Undefined when none matches.
 */
export function pickVersion(versions: readonly string[], wanted: string | undefined): string | undefined {
  if (wanted !== undefined && versions.includes(wanted)) return wanted;
  const ranges = (wanted ?? "*").split("||").map(comparatorsOf);
  const fits = (version: string) => ranges.some((it) => it.every((one) => satisfies(version, one)));
  const known = versions.flatMap((text) => {
    const version = completeVersion(text);
    return version !== undefined && fits(version) ? [{ text, version }] : [];
  });
  return known.sort((a, b) => semver.rcompare(a.version, b.version))[0]?.text;
}

/** `1.2` is 1.2.0 and `v1.2.3` is 1.2.3; undefined for anything else. */
function completeVersion(text: string): string | undefined {
  const [, numbers, rest = ""] = /^v?(\d+(?:\.\d+){0,2})([-+].*)?$/.exec(text) ?? [];
  if (numbers === undefined) return undefined;
  const three = `${numbers}.0.0`
    .split(".")
    .slice(0, 3)
    .map((it) => it.replace(/^0+(?=\d)/, ""));
  return semver.valid(`${three.join(".")}${rest}`) ?? undefined;
}

/** The comparators of a range, all of which must hold. */
function comparatorsOf(range: string): string[] {
  const hyphen = /^\s*(\S+) +- +(\S+)\s*$/.exec(range);
  const joined = hyphen === null ? range.replace(OPERATOR, "$1") : `>=${hyphen[1]} <=${hyphen[2]}`;
  const found = joined.split(/[\s,]+/).filter((it) => it !== "");
  return found.length === 0 ? ["*"] : found.map((it) => it.replace(/^=</, "<=").replace(/^=>/, ">="));
}

/** A pre-release matches only if the comparator has one itself, or excludes one whole version. */
function satisfies(version: string, comparator: string): boolean {
  const isOtherThan = comparator.startsWith("!=");
  const takesPreReleases = comparator.includes("-") || /^!=v?\d+\.\d+\.\d+/.test(comparator);
  if (!takesPreReleases && semver.prerelease(version) !== null) return false;
  const fits = semver.satisfies(version, comparator.replace(/^!=/, ""), { includePrerelease: true });
  return fits !== isOtherThan;
}
