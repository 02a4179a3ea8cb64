/**
 * What `packages:`, `exclude:`, `arch:` and `newest:` of the manifest mean: names, `name.arch`, NEVRA globs and
 * capabilities to packages. Groups and modules are turned into names and packages by comps.ts and modules.ts first.
 */
import { compareEvr } from "./evr.ts";
import type { Pool } from "./pool.ts";
import type { PackageEntry } from "./primary.ts";

/** Whether a spec has `*`, `?` or `[`. */
function isGlob(text: string): boolean {
  return /[*?[]/.test(text);
}

/** A shell glob as a regular expression over the whole string. */
function globToRegExp(glob: string): RegExp {
  let source = "";
  for (let i = 0; i < glob.length; i++) {
    const char = glob[i] as string;
    if (char === "*") source += ".*";
    else if (char === "?") source += ".";
    else if (char === "[") {
      const end = glob.indexOf("]", i + 2);
      if (end < 0) source += "\\[";
      else {
        const set = glob.slice(i + 1, end).replace(/[\\\]^]/g, "\\$&");
        source += `[${set.startsWith("!") ? `^${set.slice(1)}` : set}]`;
        i = end;
      }
    } else source += char.replace(/[\\^$.|+(){}\]]/g, "\\$&");
  }
  return new RegExp(`^${source}$`, "s");
}

/** The forms in which a package can be named, as dnf accepts them. */
function formsOf({ name, epoch, version, release, arch }: PackageEntry): string[] {
  const forms = [name, `${name}.${arch}`];
  for (const e of epoch === 0 ? ["", "0:"] : ["", `${epoch}:`]) {
    forms.push(
      `${name}-${e}${version}`,
      `${name}-${e}${version}-${release}`,
      `${name}-${e}${version}-${release}.${arch}`,
    );
    if (e !== "") forms.push(`${e}${name}-${version}-${release}`, `${e}${name}-${version}-${release}.${arch}`);
  }
  return forms;
}

/** Returns whether a spec (literal or glob) names a package. */
export function matcherOf(spec: string): (entry: PackageEntry) => boolean {
  if (isGlob(spec)) {
    const pattern = globToRegExp(spec);
    const prefix = /^[^*?[]*/.exec(spec)?.[0] ?? "";
    return (entry) =>
      (entry.name.startsWith(prefix) || prefix.startsWith(entry.name) || /^\d+:/.test(spec)) &&
      formsOf(entry).some((form) => pattern.test(form));
  }
  return (entry) => (spec === entry.name || spec.includes(entry.name)) && formsOf(entry).includes(spec);
}

/** The names that a literal spec may begin with: `a-b-1.2.x86_64` names a, a-b, a-b-1.2 or all of it. */
function possibleNames(spec: string): string[] {
  const text = spec.replace(/^\d+:/, "");
  const names = [text, text.replace(/\.[^.-]*$/, "")];
  for (let at = text.indexOf("-"); at >= 0; at = text.indexOf("-", at + 1)) names.push(text.slice(0, at));
  return [...new Set(names)];
}

/**
 * Packages of one repository (by index) that a spec names and that are not hidden; paths and capabilities as a last
 * resort.
 */
export function matchSpec(pool: Pool, spec: string, repository: number | undefined): number[] {
  const belongs = (id: number) =>
    !pool.isHidden(id) && (repository === undefined || pool.repositoryOf(id) === repository) && !pool.installed.has(id);
  const matches = matcherOf(spec);
  let ids: number[] = [];
  if (isGlob(spec)) {
    for (let id = 0; id < pool.entries.length; id++) {
      if (belongs(id) && matches(pool.entries[id] as PackageEntry)) ids.push(id);
    }
  } else {
    ids = possibleNames(spec)
      .flatMap((name) => pool.byName.get(name) ?? [])
      .filter((id) => belongs(id) && matches(pool.entries[id] as PackageEntry))
      .sort((a, b) => a - b);
    if (ids.length === 0 && (spec.startsWith("/") || spec.includes("("))) {
      ids = pool.providers({ name: spec, flags: 0, epoch: 0, version: "", release: "" }).filter(belongs);
    }
  }
  return ids;
}

/** Groups packages by name and architecture class: a noarch package replaces an earlier binary one. */
export function byNameAndArch(pool: Pool, ids: readonly number[]): number[][] {
  const groups = new Map<string, number[]>();
  for (const id of ids) {
    const { name, arch } = pool.entries[id] as PackageEntry;
    const key = `${name} ${arch === "noarch" ? pool.arch : arch}`;
    const group = groups.get(key);
    if (group) group.push(id);
    else groups.set(key, [id]);
  }
  return [...groups.values()];
}

/** The versions of one group, newest first; the same version from several repositories stays together. */
export function versionsNewestFirst(pool: Pool, ids: readonly number[]): number[][] {
  const sorted = [...ids].sort(
    (a, b) => compareEvr(pool.entries[b] as PackageEntry, pool.entries[a] as PackageEntry) || a - b,
  );
  const versions: number[][] = [];
  for (const id of sorted) {
    const last = versions.at(-1);
    const same =
      last && compareEvr(pool.entries[id] as PackageEntry, pool.entries[last[0] as number] as PackageEntry) === 0;
    if (same) last.push(id);
    else versions.push([id]);
  }
  return versions;
}
