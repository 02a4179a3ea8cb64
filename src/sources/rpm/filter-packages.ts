/** The packages of a repository entry that names none: `exclude:`, `arch:` and `newest:`. docs/rpm.md. */
import { AirferryError } from "../../errors.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { isCompanionArch, isSourceArch } from "../../rpm/arch.ts";
import { compareEvr } from "../../rpm/evr.ts";
import type { ModuleIndex } from "../../rpm/modules.ts";
import { formatNevra, type PackageEntry, shortNevra } from "../../rpm/primary.ts";
import { matcherOf } from "../../rpm/select.ts";
import { isFiltered, isSeeded, type Repository } from "./repository.ts";
import { baseArch } from "./variables.ts";

/** Architectures to solve for: those of `arch:` that are not companions of another one. */
export function archesOf(entry: RpmEntry): string[] {
  const named = (entry.arch ?? [baseArch(entry)]).filter((it) => it !== "noarch" && !isSourceArch(it));
  const own = named.filter((it) => !named.some((other) => other !== it && isCompanionArch(other, it)));
  return own.length > 0 ? own : [baseArch(entry)];
}

/** Packages of an entry that is mirrored whole or filtered; empty for one that names packages. */
export function filterWhole(repository: Repository): Set<PackageEntry> {
  const { entry, primary, modules } = repository;
  if (repository.stays) return new Set(primary.packages);
  if (isSeeded(entry)) return new Set();
  if (!isFiltered(entry)) return new Set(primary.packages);
  const allowed = primary.packages.filter((it) => isAllowed(entry, it));
  const left = entry.dependencies === "none" ? listedIn(entry, allowed) : allowed;
  if (entry.newest === undefined) return new Set(left);
  return newestOf(left, entry.newest, modules);
}

/** Exactly what `packages:` names. @throws {AirferryError} ERR_UNRESOLVED for names that nothing has */
function listedIn(entry: RpmEntry, packages: readonly PackageEntry[]): PackageEntry[] {
  // Recordings write whole names, thousands of them: those are looked up.
  const unseen = new Set(entry.packages);
  const byName = packages.filter((it) => unseen.has(shortNevra(it)));
  for (const it of byName) unseen.delete(shortNevra(it));
  const others = [...unseen].map((spec) => ({ spec, matches: matcherOf(spec), isFound: false }));
  const found = new Set(byName);
  for (const it of others.length > 0 ? packages : []) {
    for (const other of others) {
      if (!other.matches(it)) continue;
      other.isFound = true;
      found.add(it);
    }
  }
  const missing = others.filter((it) => !it.isFound);
  const listed = packages.filter((it) => found.has(it));
  if (missing.length === 0) return listed;
  const path = `rpms ${entry.name}`;
  throw new AirferryError("ERR_UNRESOLVED", `cannot resolve packages: ${missing.length} unavailable`, {
    problems: missing.map(({ spec }) => ({
      code: "ERR_UNRESOLVED",
      path: `${path}: ${spec}`,
      message: "no package of that name in this repository",
    })),
    hint: `upstream may have replaced them; name what it has now under packages: of ${entry.name}`,
  });
}

/** `exclude:` and `arch:`. Sources are included next to binaries only on request. */
export function isAllowed(entry: RpmEntry, it: PackageEntry): boolean {
  const twin = entry.multilib === true && entry.arch?.some((arch) => isCompanionArch(arch, it.arch));
  if (entry.arch && it.arch !== "noarch" && !twin && !entry.arch.includes(it.arch)) return false;
  return !(entry.exclude ?? []).some((spec) => matcherOf(spec)(it));
}

/** The newest N of each name and architecture; each module stream is considered separately, as in dnf4's reposync. */
function newestOf(packages: readonly PackageEntry[], count: number, modules: ModuleIndex): Set<PackageEntry> {
  const modular = modules.allArtifacts();
  const kept = modules.newestArtifacts();
  const groups = new Map<string, PackageEntry[]>();
  const result = new Set<PackageEntry>();
  for (const it of packages) {
    const nevra = formatNevra(it);
    if (modular.has(nevra)) {
      if (kept.has(nevra)) result.add(it);
      continue;
    }
    const key = `${it.name} ${it.arch}`;
    const group = groups.get(key);
    if (group) group.push(it);
    else groups.set(key, [it]);
  }
  for (const group of groups.values()) {
    group.sort((a, b) => compareEvr(b, a));
    let versions = 0;
    let last: PackageEntry | undefined;
    for (const it of group) {
      if (last === undefined || compareEvr(last, it) !== 0) versions++;
      if (versions > count) break;
      result.add(it);
      last = it;
    }
  }
  return result;
}
