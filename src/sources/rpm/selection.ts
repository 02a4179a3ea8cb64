/**
 * Selects the packages of each repository from the manifest entries: filters, requests, module streams, the closure
 * over all repositories together, and companions. Network is touched only through what repositories offer (filelists on
 * demand).
 */
import { AirferryError, type Problem } from "../../errors.ts";
import { hexOf } from "../../io/digest.ts";
import { plural } from "../../io/format.ts";
import type { RpmEntry } from "../../manifest/schema.ts";
import { isCompanionArch } from "../../rpm/arch.ts";
import { closureOf } from "../../rpm/closure.ts";
import { findInFilelists } from "../../rpm/filelists.ts";
import { ModuleIndex } from "../../rpm/modules.ts";
import { type InstalledPackage, Pool } from "../../rpm/pool.ts";
import type { PackageEntry } from "../../rpm/primary.ts";
import type { SolverRequest } from "../../rpm/solver.ts";
import { applyModules } from "./apply-modules.ts";
import { type Baseline, installedOn } from "./baseline.ts";
import { addCompanions } from "./companions.ts";
import { archesOf, filterWhole, isAllowed } from "./filter-packages.ts";
import {
  byAdvisories,
  type Conditional,
  type MaybeConditional,
  noMatch,
  requestsFor,
  requestsToStay,
} from "./package-requests.ts";
import { blaming, isSeeded, type Repository } from "./repository.ts";
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
    const isAnywhere = repository.entry.packages_from === "any";
    if (repository.stays) {
      requests.push(...requestsToStay(repository, pool, idOf));
      // What it requests of other repositories is not among its own locked packages.
      for (const spec of isAnywhere ? (repository.entry.packages ?? []) : []) {
        for (const it of requestsFor(spec, index, repository, repositories, pool, modules, active, report)) {
          if (it.onlyIf === undefined) requests.push(it);
          else conditional.push({ ...it, onlyIf: it.onlyIf });
        }
      }
      continue;
    }
    const own: MaybeConditional[] = [];
    for (const spec of repository.entry.packages ?? []) {
      const found = requestsFor(spec, index, repository, repositories, pool, modules, active, report);
      if (found.length === 0) {
        unmatched.push({ entry: repository.entry, spec, arch, message: noMatch(spec, pool, index, isAnywhere) });
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
