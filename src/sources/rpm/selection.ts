/**
 * Selects the packages of each repository from the manifest entries: filters, requests, module streams, the closure
 * over all repositories together, and companions. Network is touched only through what repositories offer (filelists on
 * demand).
 */
import { AirferryError, type Problem } from "../../errors.ts";
import { hexOf } from "../../io/digest.ts";
import { plural } from "../../io/format.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { isCompanionArch, isSourceArch } from "../../rpm/arch.ts";
import { closureOf } from "../../rpm/closure.ts";
import { findEnvironment, findGroup } from "../../rpm/comps.ts";
import { compareEvr } from "../../rpm/evr.ts";
import { findInFilelists } from "../../rpm/filelists.ts";
import { type ActiveModules, artifactName, ModuleIndex, type ModuleSpec, parseModuleSpec } from "../../rpm/modules.ts";
import { type InstalledPackage, Pool } from "../../rpm/pool.ts";
import { formatNevra, type PackageEntry } from "../../rpm/primary.ts";
import { byNameAndArch, matcherOf, matchSpec, versionsNewestFirst } from "../../rpm/select.ts";
import type { SolverRequest } from "../../rpm/solver.ts";
import { type AdvisoryPackage, isWanted } from "../../rpm/updateinfo.ts";
import { type Baseline, installedOn } from "./baseline.ts";
import { addCompanions } from "./companions.ts";
import { baseArch } from "./place.ts";
import { blaming, isFiltered, isSeeded, type Repository, readAdvisories } from "./repository.ts";
import type { Selected } from "./selected.ts";

/**
 * Selects for all repositories; results in their order.
 * @throws {AirferryError} ERR_UNRESOLVED listing everything that is unavailable, ERR_MANIFEST_INVALID
 */
export async function selectPackages(
  repositories: readonly Repository[],
  baselines: readonly Baseline[],
  report: (line: string) => void,
): Promise<Selected[]> {
  const selected = repositories.map(
    (it): Selected => ({
      packages: filterWhole(it),
      why: {},
      notes: [],
      leftOut: [],
    }),
  );
  const arches = new Set(
    repositories.filter((it) => isSeeded(it.entry) && !it.provider).flatMap((it) => archesOf(it.entry)),
  );
  const problems: Problem[] = [];
  const unmatched: Unmatched[] = [];
  const unknown = new Set<string>();
  for (const arch of arches) {
    const installed = installedOn(arch, baselines);
    const found = await closeOver(arch, repositories, selected, installed, report);
    problems.push(...found.problems);
    unmatched.push(...found.unmatched);
    for (const it of found.unknown) unknown.add(it);
  }
  problems.push(...unmatchedAnywhere(unmatched, report));
  if (problems.length > 0) {
    const staying = repositories.filter((it) => it.stays).map((it) => it.name);
    throw new AirferryError("ERR_UNRESOLVED", `cannot resolve packages: ${problems.length} unavailable`, {
      problems,
      hint:
        staying.length > 0
          ? `${staying.join(" and ")} ${staying.length === 1 ? "has" : "have"} only what is locked; to lock what upstream has now: airferry lock MANIFEST --update ${staying.join(" ")}`
          : `${unknownProvides(unknown)}add the repository that provides them to rpms: (packages: [] carries only what others need from it), or name what the target has with baseline:`,
    });
  }
  for (const [index, repository] of repositories.entries()) addCompanions(repository, selected[index] as Selected);
  return selected;
}

/**
 * Packages of a baseline that no repository has: what they provide besides their names may be exactly what is missing.
 */
function unknownProvides(unknown: ReadonlySet<string>): string {
  if (unknown.size === 0) return "";
  const [first] = unknown;
  return `what ${plural(unknown.size, "package")} of the baseline provide${unknown.size === 1 ? "s" : ""} besides the name is unknown (${first}${unknown.size > 1 ? ", …" : ""}): no repository here has ${unknown.size === 1 ? "it" : "them"}; `;
}

/** A member of `packages:` that names nothing on one architecture. */
interface Unmatched {
  entry: RpmEntry;
  spec: string;
  arch: string;
  message: string;
}

/** A name without match on any architecture of its entry is a problem; one that matches on some of them is reported. */
function unmatchedAnywhere(unmatched: readonly Unmatched[], report: (line: string) => void): Problem[] {
  const problems: Problem[] = [];
  for (const it of unmatched) {
    const { entry, spec, arch, message } = it;
    const same = unmatched.filter((other) => other.entry === entry && other.spec === spec);
    const all = archesOf(entry);
    if (same.length < all.length) {
      if (!all.some((other) => spec.endsWith(`.${other}`))) report(`${entry.name}: ${spec}: nothing for ${arch}`);
    } else if (same[0] === it) {
      problems.push({ code: "ERR_UNRESOLVED", path: `rpms ${entry.name}: ${spec}`, message });
    }
  }
  return problems;
}

/** Architectures to solve for: those of `arch:` that are not companions of another one. */
function archesOf(entry: RpmEntry): string[] {
  const named = (entry.arch ?? [baseArch(entry)]).filter((it) => it !== "noarch" && !isSourceArch(it));
  const own = named.filter((it) => !named.some((other) => other !== it && isCompanionArch(other, it)));
  return own.length > 0 ? own : [baseArch(entry)];
}

/** Packages of an entry that is mirrored whole or filtered; empty for one that names packages. */
function filterWhole(repository: Repository): Set<PackageEntry> {
  const { entry, primary, modules } = repository;
  if (repository.stays) return new Set(primary.packages);
  if (isSeeded(entry)) return new Set();
  if (!isFiltered(entry)) return new Set(primary.packages);
  const left = primary.packages.filter((it) => isAllowed(entry, it));
  if (entry.newest === undefined) return new Set(left);
  return newestOf(left, entry.newest, modules);
}

/** `exclude:` and `arch:`. Sources are included next to binaries only on request. */
function isAllowed(entry: RpmEntry, it: PackageEntry): boolean {
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

async function closeOver(
  arch: string,
  repositories: readonly Repository[],
  selected: readonly Selected[],
  installed: readonly InstalledPackage[],
  report: (line: string) => void,
): Promise<{ problems: Problem[]; unmatched: Unmatched[]; unknown: string[] }> {
  const pool = new Pool(arch);
  for (const { name, primary, provider } of repositories) await pool.addRepository(name, primary, provider);
  const idOf = new Map(pool.entries.map((entry, id) => [entry, id]));
  const problems: Problem[] = [];
  const unmatched: Unmatched[] = [];
  for (const [index, { entry, primary, stays }] of repositories.entries()) {
    if (stays) continue;
    const keeps = selected[index] as Selected;
    pool.hide(
      primary.packages
        .filter((it) => {
          if (!isSeeded(entry)) return !keeps.packages.has(it);
          return !isAllowed(entry, it) || (entry.multilib === false && isCompanionArch(arch, it.arch));
        })
        .map((it) => idOf.get(it) as number),
    );
  }
  const modules = new ModuleIndex(repositories.flatMap((it) => it.modules.documents));
  const mine = repositories.filter((it) => isSeeded(it.entry) && !it.provider && archesOf(it.entry).includes(arch));
  const hotfixes = new Set(repositories.flatMap(({ entry }, index) => (entry.module_hotfixes === true ? [index] : [])));
  const active = applyModules(pool, modules, mine, repositories, hotfixes, report);
  for (const index of hotfixes) (selected[index] as Selected).moduleHotfixes = true;
  pool.addInstalled(installed);

  const requests: SolverRequest[] = [];
  const conditional: Conditional[] = [];
  for (const repository of mine) {
    const index = repositories.indexOf(repository);
    if (repository.stays) {
      requests.push(...requestsToStay(repository, pool, idOf));
      continue;
    }
    const own: MaybeConditional[] = [];
    for (const spec of repository.entry.packages ?? []) {
      const found = requestsFor(spec, index, repository, repositories, pool, modules, active, report);
      if (found.length === 0) {
        unmatched.push({ entry: repository.entry, spec, arch, message: noMatch(spec, pool, index) });
      }
      own.push(...found);
    }
    for (const it of await byAdvisories(repository, index, pool, own)) {
      if (it.onlyIf === undefined) requests.push(it);
      else conditional.push({ ...it, onlyIf: it.onlyIf });
    }
  }
  const weak = mine.some((it) => it.entry.weak_deps === "recommends");
  const closure = await closureOf(pool, requests, {
    recommends: weak,
    conditional,
    multilib: (id) => repositories[pool.repositoryOf(id)]?.entry.multilib === true,
    always: (id) => repositories[pool.repositoryOf(id)]?.entry.conditional_deps === "always",
    atHand: new Set(pool.entries.flatMap((_it, id) => (isAtHand(id, pool, repositories) ? [id] : []))),
    findFiles: (paths) => findFiles(paths, repositories, pool, idOf, report),
  });
  for (const { request, faults } of closure.unresolved) {
    for (const message of faults) problems.push({ code: "ERR_UNRESOLVED", path: `rpms: ${request}`, message });
  }
  for (const id of closure.packages) {
    const own = selected[pool.repositoryOf(id)];
    if (own === undefined) continue;
    own.packages.add(pool.entries[id] as PackageEntry);
    own.why[pool.nevra(id)] ??= closure.why.get(id) ?? [];
  }
  for (const { id, text, fault } of closure.leftOut) {
    const left = { package: pool.nevra(id), needs: text, ...(fault !== undefined && { fault }) };
    const own = selected[pool.repositoryOf(id)]?.leftOut;
    if (!own?.some((it) => it.package === left.package && it.needs === text)) own?.push(left);
  }
  for (const note of closure.notes) report(note);
  const first = repositories.indexOf(mine[0] as Repository);
  selected[first]?.notes.push(...closure.notes);
  return {
    problems,
    unmatched,
    unknown: [...pool.installed].filter((id) => pool.repositoryOf(id) < 0).map((id) => pool.nevra(id)),
  };
}

/** Whether a package is carried regardless of closures, or on a DVD. */
function isAtHand(id: number, pool: Pool, repositories: readonly Repository[]): boolean {
  const repository = repositories[pool.repositoryOf(id)];
  return (
    repository !== undefined && (!isSeeded(repository.entry) || repository.provider === true) && !pool.isHidden(id)
  );
}

/**
 * Hides what clients will not see: packages of streams that are not active, and what active streams replace by name or
 * by what it provides. Packages of hotfix repositories stay; a repository without modules whose requested packages
 * would all be hidden becomes one. See libdnf's setModuleExcludes().
 */
function applyModules(
  pool: Pool,
  modules: ModuleIndex,
  mine: readonly Repository[],
  repositories: readonly Repository[],
  hotfixes: Set<number>,
  report: (line: string) => void,
): ActiveModules {
  if (modules.isEmpty) return { streams: new Map(), builds: new Set() };
  const wanted = mine.flatMap(({ entry, comps }) =>
    (entry.packages ?? []).flatMap(
      (spec) => moduleSpecOf(spec, modules, comps.length > 0 && hasGroup(spec, comps)) ?? [],
    ),
  );
  const active = modules.activate(wanted);
  const inactive = modules.inactiveArtifacts(active);
  const visible = modules.activeArtifacts(active);
  // Sources provide nothing to binary packages.
  const names = new Set([...visible].filter((it) => !/\.(no)?src$/.test(it)).map(artifactName));
  const replaced = new Set(
    [...names].flatMap((name) => [
      ...(pool.byName.get(name) ?? []),
      ...pool.providers({ name, flags: 0, epoch: 0, version: "", release: "" }),
    ]),
  );
  const hidden = new Set<number>();
  for (let id = 0; id < pool.entries.length; id++) {
    const nevra = pool.nevra(id);
    if (inactive.has(nevra) || (replaced.has(id) && !visible.has(nevra))) hidden.add(id);
  }
  for (const { entry, modules: own } of mine) {
    if (entry.module_hotfixes !== undefined || !own.isEmpty) continue;
    const index = repositories.findIndex((it) => it.entry === entry);
    for (const spec of entry.packages ?? []) {
      const ids = spec.startsWith("@") ? [] : matchSpec(pool, spec, index);
      if (ids.length === 0 || !ids.every((id) => hidden.has(id))) continue;
      if (!hotfixes.has(index)) {
        report(
          `${entry.name}: module streams of other repositories replace ${pool.nevra(ids[0] as number)}, which is requested: carried with module_hotfixes=1, so that dnf can see it (module_hotfixes: true in the manifest)`,
        );
      }
      hotfixes.add(index);
    }
  }
  pool.hide([...hidden].filter((id) => !hotfixes.has(pool.repositoryOf(id))));
  return active;
}

/** A request that applies once one of these packages is included: a conditional member of a group. */
type Conditional = SolverRequest & { onlyIf: readonly number[] };
type MaybeConditional = SolverRequest & { onlyIf?: readonly number[] };

/** Locked packages still need their dependencies, also from other entries. */
function requestsToStay(
  { name, primary }: Repository,
  pool: Pool,
  idOf: ReadonlyMap<PackageEntry, number>,
): readonly SolverRequest[] {
  const ids = primary.packages.map((it) => idOf.get(it) as number).filter((id) => !pool.isHidden(id));
  return ids.map((id) => ({ label: `${name}, as it is locked`, candidates: [id] }));
}

function hasGroup(spec: string, comps: Repository["comps"]): boolean {
  return findGroup(comps, spec.slice(1)) !== undefined;
}

function moduleSpecOf(spec: string, modules: ModuleIndex, isGroup: boolean): ModuleSpec | undefined {
  if (!spec.startsWith("@") || spec.startsWith("@^")) return undefined;
  const parsed = parseModuleSpec(spec.slice(1));
  return spec.includes(":") || (!isGroup && modules.hasModule(parsed.module)) ? parsed : undefined;
}

function requestsFor(
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
  if (!spec.startsWith("@")) return requestsOf(spec, matchSpec(pool, spec, index), pool, count);
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
async function byAdvisories(
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

async function findFiles(
  paths: readonly string[],
  repositories: readonly Repository[],
  pool: Pool,
  idOf: ReadonlyMap<PackageEntry, number>,
  report: (line: string) => void,
): Promise<boolean> {
  let found = false;
  for (const repository of repositories) {
    const { name, primary, filelists } = repository;
    if (filelists === undefined) continue;
    report(`${name}: reading filelists for ${paths.slice(0, 3).join(", ")}${paths.length > 3 ? " …" : ""}`);
    const hits = new Map<string, string[]>();
    await blaming(repository, async () => {
      const chunks = await filelists();
      if (chunks === undefined) return;
      await findInFilelists(chunks, `${name}: filelists.xml`, new Set(paths), (pkgid, path) => {
        const list = hits.get(pkgid);
        if (list) list.push(path);
        else hits.set(pkgid, [path]);
      });
    });
    if (hits.size === 0) continue;
    for (const entry of primary.packages) {
      const hit = hits.get(hexOf(primary.details(entry).checksum));
      for (const path of hit ?? []) {
        pool.addFile(path, idOf.get(entry) as number);
        found = true;
      }
    }
  }
  return found;
}

function noMatch(spec: string, pool: Pool, index: number): string {
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
  return "no package, group or module of that name in this repository";
}
