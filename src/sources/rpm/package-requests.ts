/**
 * From `packages:` and `advisories:` of an entry to requests for the solver: names, globs, groups and module streams.
 */
import { isCompanionArch } from "../../rpm/arch.ts";
import { findEnvironment, findGroup } from "../../rpm/comps.ts";
import { type ActiveModules, type ModuleIndex, type ModuleSpec, parseModuleSpec } from "../../rpm/modules.ts";
import type { Pool } from "../../rpm/pool.ts";
import { formatNevra, type PackageEntry } from "../../rpm/primary.ts";
import { byNameAndArch, matchSpec, versionsNewestFirst } from "../../rpm/select.ts";
import type { SolverRequest } from "../../rpm/solver.ts";
import { type AdvisoryPackage, isWanted } from "../../rpm/updateinfo.ts";
import { type Repository, readAdvisories } from "./repository.ts";

/** A request that applies once one of these packages is included: a conditional member of a group. */
export type Conditional = SolverRequest & { onlyIf: readonly number[] };

export type MaybeConditional = SolverRequest & { onlyIf?: readonly number[] };

/** Locked packages still need their dependencies, also from other entries. */
export function requestsToStay(
  { name, primary }: Repository,
  pool: Pool,
  idOf: ReadonlyMap<PackageEntry, number>,
): readonly SolverRequest[] {
  const ids = primary.packages.map((it) => idOf.get(it) as number).filter((id) => !pool.isHidden(id));
  return ids.map((id) => ({ label: `${name}, as it is locked`, candidates: [id] }));
}

export function hasGroup(spec: string, comps: Repository["comps"]): boolean {
  return findGroup(comps, spec.slice(1)) !== undefined;
}

export function moduleSpecOf(spec: string, modules: ModuleIndex, isGroup: boolean): ModuleSpec | undefined {
  if (!spec.startsWith("@") || spec.startsWith("@^")) return undefined;
  const parsed = parseModuleSpec(spec.slice(1));
  return spec.includes(":") || (!isGroup && modules.hasModule(parsed.module)) ? parsed : undefined;
}

export function requestsFor(
  spec: string,
  index: number,
  repository: Repository,
  repositories: readonly Repository[],
  pool: Pool,
  modules: ModuleIndex,
  active: ActiveModules,
  report: (line: string) => void,
): MaybeConditional[] {
  const count = repository.entry.newest;
  if (!spec.startsWith("@")) {
    const own = matchSpec(pool, spec, index);
    const isElsewhere = own.length === 0 && repository.entry.packages_from === "any";
    return requestsOf(spec, isElsewhere ? matchSpec(pool, spec, undefined) : own, pool, count);
  }
  const comps = repositories.flatMap((it) => it.comps);
  const module = moduleSpecOf(spec, modules, hasGroup(spec, comps));
  if (module) return moduleRequests(spec, module, pool, modules, active);
  const groups = spec.startsWith("@^") ? findEnvironment(comps, spec.slice(2)) : [spec.slice(1)];
  const requests: MaybeConditional[] = [];
  for (const group of groups ?? []) {
    for (const member of findGroup(comps, group) ?? []) {
      if (member.type === "optional" || (member.type === "conditional" && member.requires === undefined)) continue;
      const own = matchSpec(pool, member.name, index);
      const found = requestsOf(
        member.name,
        own.length > 0 ? own : matchSpec(pool, member.name, undefined),
        pool,
        count,
      );
      if (member.type === "conditional") {
        // As in dnf: (NAME if REQUIRES).
        const condition = { name: member.requires as string, flags: 0, epoch: 0, version: "", release: "" };
        requests.push(...found.map((it) => ({ ...it, onlyIf: pool.providers(condition) })));
        continue;
      }
      if (found.length === 0) report(`${repository.name}: ${spec}: no package ${member.name}; skipped, as in dnf`);
      requests.push(...found);
    }
  }
  return requests;
}

function moduleRequests(
  spec: string,
  { module, profile }: ModuleSpec,
  pool: Pool,
  modules: ModuleIndex,
  active: ActiveModules,
): SolverRequest[] {
  const stream = active.streams.get(module) as string;
  const builds = modules.newestBuilds(module, stream, active.builds);
  if (profile !== undefined) {
    const names = [...new Set(builds.flatMap((it) => it.profiles.get(profile) ?? []))];
    return names.flatMap((name) => requestsOf(name, matchSpec(pool, name, undefined), pool, undefined));
  }
  const artifacts = new Set(builds.flatMap((it) => it.artifacts));
  const requests: SolverRequest[] = [];
  for (let id = 0; id < pool.entries.length; id++) {
    if (!pool.isHidden(id) && artifacts.has(pool.nevra(id))) requests.push({ label: spec, candidates: [id] });
  }
  return requests;
}

/** One request for each name and architecture that a spec matched: the newest available, or the newest N. */
function requestsOf(spec: string, ids: readonly number[], pool: Pool, count: number | undefined): SolverRequest[] {
  const native = ids.filter((id) => !isCompanionArch(pool.arch, (pool.entries[id] as PackageEntry).arch));
  const named = native.length > 0 && !/\.(i[3-6]86|athlon)$/.test(spec) ? native : ids;
  const requests: SolverRequest[] = [];
  for (const group of byNameAndArch(pool, named)) {
    if (count === undefined) requests.push({ label: spec, candidates: group });
    else
      for (const version of versionsNewestFirst(pool, group).slice(0, count))
        requests.push({ label: spec, candidates: version });
  }
  return requests;
}

/** `advisories:`: all packages they name, limited to the packages that the entry names, if any. */
export async function byAdvisories(
  repository: Repository,
  index: number,
  pool: Pool,
  own: readonly MaybeConditional[],
): Promise<readonly MaybeConditional[]> {
  const { entry } = repository;
  if (entry.advisories === undefined) return own;
  const wanted = (await readAdvisories(repository)).filter((it) => isWanted(it, entry.advisories ?? []));
  const key = (it: AdvisoryPackage | PackageEntry) => formatNevra(it);
  const names = new Set(wanted.flatMap((it) => it.packages.map(key)));
  const matching = (id: number) => names.has(key(pool.entries[id] as PackageEntry));
  if (entry.packages !== undefined) {
    return own
      .map((it) => ({ ...it, candidates: it.candidates.filter(matching) }))
      .filter((it) => it.candidates.length > 0);
  }
  return pool.entries.flatMap((_it, id) =>
    pool.repositoryOf(id) === index && !pool.isHidden(id) && matching(id)
      ? [{ label: pool.nevra(id), candidates: [id] }]
      : [],
  );
}

export function noMatch(spec: string, pool: Pool, index: number, isAnywhere: boolean): string {
  const names = [spec, ...spec.split("-").map((_part, at, parts) => parts.slice(0, at + 1).join("-"))];
  for (const name of names.reverse()) {
    const ids = (pool.byName.get(name) ?? []).filter((id) => pool.repositoryOf(id) === index);
    if (ids.length > 0) {
      const versions = versionsNewestFirst(pool, ids).slice(0, 8);
      const hint = ids.every((id) => pool.isHidden(id))
        ? "; clients cannot see it: a module stream replaces or hides it, or exclude: or arch: filters it (module_hotfixes: true shows what module streams hide)"
        : "";
      return `no package matches; there is ${versions.map((it) => pool.nevra(it[0] as number)).join(", ")}${hint}`;
    }
  }
  const [other] = isAnywhere ? [] : matchSpec(pool, spec, undefined);
  const elsewhere =
    other === undefined ? "" : `; ${pool.repositoryName(other)} has it: name it there, or set packages_from: any`;
  return `no package, group or module of that name in ${isAnywhere ? "any" : "this"} repository${elsewhere}`;
}
