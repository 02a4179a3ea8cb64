/** Hides the packages that clients do not see because of module streams. */
import { type ActiveModules, artifactName, type ModuleIndex } from "../../rpm/modules.ts";
import type { Pool } from "../../rpm/pool.ts";
import { matchSpec } from "../../rpm/select.ts";
import { hasGroup, moduleSpecOf } from "./package-requests.ts";
import type { Repository } from "./repository.ts";

/**
 * Hides what clients will not see: packages of streams that are not active, and what active streams replace by name or
 * by what it provides. Packages of hotfix repositories stay; a repository without modules whose requested packages
 * would all be hidden becomes one. See libdnf's setModuleExcludes().
 */
export function applyModules(
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
