/**
 * Changes of a release to the project's files, as functions of texts: the version and the changelog. See
 * CONTRIBUTING.md, "Versions".
 */
import semver from "semver";

/** Files that name the version, each with the pattern around it. The first match is the project's own. */
export const VERSION_FILES: Record<string, RegExp> = {
  "src/version.ts": /(?<=^export const VERSION = ")[^"]+(?=";$)/m,
  "package.json": /(?<=^ {2}"version": ")[^"]+(?=",$)/m,
  "packaging/chart/Chart.yaml": /(?<=^version: )\S+$/m,
};

/** `text` with its version replaced by `version`. @throws when it has none */
export function withVersion(text: string, pattern: RegExp, version: string): string {
  if (!pattern.test(text)) throw new Error(`cannot set the version: no match of ${pattern}`);
  return text.replace(pattern, version);
}

/** `package-lock.json` with `version` for the project itself, formatted as npm writes it. */
export function lockWithVersion(text: string, version: string): string {
  const lock = JSON.parse(text) as { version: string; packages: Record<string, { version: string }> };
  const own = lock.packages[""];
  if (own === undefined) throw new Error("cannot set the version: package-lock.json lacks the project itself");
  lock.version = version;
  own.version = version;
  return `${JSON.stringify(lock, null, 2)}\n`;
}

/**
 * Refuses a version that is not the next one.
 * @param current the current version: `X.Y.Z-dev` between releases
 * @param tags all tags of the repository; releases have `vX.Y.Z`
 */
export function requireNextVersion(version: string, current: string, tags: readonly string[]): void {
  if (semver.valid(version) !== version || version.endsWith("-dev")) {
    throw new Error(`cannot release "${version}": expected a version such as ${current.replace(/-dev$/, "")}`);
  }
  if (!semver.gt(version, current)) {
    throw new Error(`cannot release ${version}: expected one above ${current}`);
  }
  const last = semver.rsort(tags.filter((it) => it.startsWith("v") && semver.valid(it) !== null))[0];
  if (last !== undefined && !semver.gt(version, last)) {
    throw new Error(`cannot release ${version}: expected one above the last release, ${last}`);
  }
}

/** The version that follows a release: the next minor one. */
export function followingVersion(version: string): string {
  const next = semver.inc(version, semver.prerelease(version) === null ? "minor" : "patch");
  if (next === null) throw new Error(`cannot determine which version follows "${version}"`);
  return next;
}

const SECTION = /^## (\S+)(?: \(([^)]*)\))?$/m;

/** The newest section of the changelog: its title's version, its note in parentheses, its text. @throws when it is empty */
export function newestSection(changelog: string): { version: string; note: string; text: string } {
  const found = SECTION.exec(changelog);
  if (found === null) throw new Error('cannot read CHANGELOG.md: expected a section "## X.Y.Z (unreleased)"');
  const rest = changelog.slice(found.index + found[0].length);
  const end = rest.search(/^## /m);
  const text = (end === -1 ? rest : rest.slice(0, end)).trim();
  if (text === "") throw new Error(`cannot release: CHANGELOG.md says nothing under "${found[0]}"`);
  return { version: found[1] ?? "", note: found[2] ?? "", text };
}

/**
 * The changelog of a release, with its newest section dated. `date`: YYYY-MM-DD. @throws unless that section is
 * unreleased
 */
export function datedChangelog(changelog: string, version: string, date: string): string {
  const { note, version: named } = newestSection(changelog);
  if (note !== "unreleased") {
    throw new Error(
      `cannot release: expected "(unreleased)" at the newest section of CHANGELOG.md, got "${named} (${note})"`,
    );
  }
  return changelog.replace(SECTION, `## ${version} (${date})`);
}

/** The changelog with an empty section for what comes next. */
export function openedChangelog(changelog: string, next: string): string {
  return changelog.replace(SECTION, (title) => `## ${next} (unreleased)\n\n${title}`);
}
