/**
 * What a solver may look at: every package that requests can lead to, possible or not. The best architecture of a name
 * is determined among these. See libsolv's solver_addpkgrulesforsolvable() and solver_addpkgrulesforweak().
 */
import { canHold, requiredPackages } from "./clauses.ts";
import type { Dependency } from "./dependency.ts";
import type { Pool } from "./pool.ts";
import type { Relation } from "./primary.ts";

/** Every package reachable from `starts`, including them. */
export function reachablePackages(pool: Pool, starts: Iterable<number>): Set<number> {
  const providersOf = (relation: Relation) => pool.providers(relation);
  const seen = new Set<number>();
  const queue: number[] = [];
  const add = (ids: Iterable<number>) => {
    for (const id of ids) {
      if (seen.has(id)) continue;
      seen.add(id);
      queue.push(id);
    }
  };
  /** Packages that are included by themselves, by what triggers them. */
  const waiting = new Map<number, { id: number; dependency: Dependency }[]>();
  for (const kind of ["supplements", "enhances"] as const) {
    for (const id of pool.with(kind)) {
      for (const dependency of pool.dependencies(id, kind)) {
        if (canHold(dependency, providersOf, seen)) add([id]);
        for (const it of requiredPackages(dependency, providersOf)) {
          const list = waiting.get(it);
          if (list) list.push({ id, dependency });
          else waiting.set(it, [{ id, dependency }]);
        }
      }
    }
  }
  add(starts);
  for (const id of queue) {
    add(pool.leadsTo(id));
    for (const kind of ["recommends", "suggests"] as const) {
      for (const dependency of pool.dependencies(id, kind)) add(requiredPackages(dependency, providersOf));
    }
    add(pool.twinsOf(id, pool.betterArchitectures(id)));
    for (const it of waiting.get(id) ?? []) {
      if (!seen.has(it.id) && canHold(it.dependency, providersOf, seen)) add([it.id]);
    }
  }
  return seen;
}
