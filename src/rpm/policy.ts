/**
 * Which of several packages to choose, in libsolv's order: best architecture, newest version of each name, what chosen
 * packages recommend or suggest, then name.
 */
import { archRank } from "./arch.ts";
import { compareEvr, EQ, type Evr, rangesOverlap } from "./evr.ts";
import type { Pool, Rule } from "./pool.ts";
import type { PackageEntry, Relation } from "./primary.ts";

/** What the policy can see while a solution is being built. */
export interface PolicyView {
  readonly pool: Pool;
  /** Literals in the order decided. */
  readonly trail: readonly number[];
  /** Chosen in an earlier solution that this one adds to. */
  readonly preferred: ReadonlySet<number>;
  isChosen(id: number): boolean;
}

/** Returns the package to try first. `rule` is the condition to satisfy; without one it is a request. */
export function choose(candidates: readonly number[], rule: Rule | undefined, view: PolicyView): number {
  return ranked(narrow(candidates, rule, view), view)[0] as number;
}

/**
 * Candidates without those that another candidate always precedes: one of each name remains. libsolv's
 * policy_filter_unwanted() in its mode CHOOSE_NOREORDER.
 */
export function narrow(candidates: readonly number[], rule: Rule | undefined, view: PolicyView): number[] {
  const { pool } = view;
  let left = keepBest(
    candidates,
    (id) => {
      const { arch } = entryOf(pool, id);
      return arch === "noarch" ? 0 : (archRank(pool.arch, arch) ?? 99);
    },
    (id) => entryOf(pool, id).arch === "noarch",
  );
  left = newestOfEachName(left, pool, rule === undefined ? -1 : pool.repositoryOf(rule.owner));
  if (left.length > 1) left = withoutObsoleted(left, pool);
  if (left.length > 1) left = keepBest(left, (id) => (view.preferred.has(id) ? 0 : 1));
  if (left.length > 1) left = wanted(left, "recommends", "supplements", view);
  return left;
}

/** What {@link narrow} left, with the one to try first at the front. */
export function ranked(narrowed: readonly number[], view: PolicyView): number[] {
  if (narrowed.length < 2) return [...narrowed];
  const { pool } = view;
  let left = [...narrowed].sort((a, b) => {
    const [x, y] = [entryOf(pool, a).name, entryOf(pool, b).name];
    return x < y ? -1 : x > y ? 1 : a - b;
  });
  left = toFront(left, (id) => !hasNewer(pool, id));
  left = byCommonName(left, pool);
  const suggested = new Set(wanted(left, "suggests", "enhances", view));
  return toFront(left, (id) => suggested.has(id));
}

/** Whether a newer version of the same package is present. */
function hasNewer(pool: Pool, id: number): boolean {
  const entry = entryOf(pool, id);
  return (pool.byName.get(entry.name) ?? []).some(
    (it) => !pool.isHidden(it) && entryOf(pool, it).arch === entry.arch && compareEvr(entryOf(pool, it), entry) > 0,
  );
}

/** The good ones before the others, each in their order. */
function toFront(ids: readonly number[], isGood: (id: number) => boolean): number[] {
  return [...ids.filter(isGood), ...ids.filter((id) => !isGood(id))];
}

function entryOf(pool: Pool, id: number): PackageEntry {
  return pool.entries[id] as PackageEntry;
}

/** Those with the lowest score, and those that `always` lets through. */
function keepBest(ids: readonly number[], score: (id: number) => number, always?: (id: number) => boolean): number[] {
  if (ids.length < 2) return [...ids];
  const scores = ids.map((id) => (always?.(id) ? undefined : score(id)));
  const best = scores.reduce<number>((least, it) => Math.min(least, it ?? least), Number.POSITIVE_INFINITY);
  return ids.filter((_id, index) => scores[index] === undefined || scores[index] === best);
}

/**
 * Newest version of each name; if several have it, what is available anyway, then the requester's own repository, then
 * the first.
 */
function newestOfEachName(ids: readonly number[], pool: Pool, home: number): number[] {
  const best = new Map<string, number>();
  for (const id of ids) {
    const entry = entryOf(pool, id);
    const other = best.get(entry.name);
    if (other === undefined) best.set(entry.name, id);
    else {
      const order = compareEvr(entry, entryOf(pool, other));
      const rank = (it: number) =>
        (entryOf(pool, it).arch === "noarch" ? 0 : 4) +
        (pool.isProvided(it) ? 2 : pool.repositoryOf(it) === home ? 1 : 0);
      const closer = order === 0 && rank(id) > rank(other);
      if (order > 0 || closer) best.set(entry.name, id);
    }
  }
  return [...best.values()];
}

function withoutObsoleted(ids: readonly number[], pool: Pool): number[] {
  const obsoleted = new Map<string, { by: number; relation: Relation }[]>();
  for (const by of ids) {
    for (const relation of pool.obsoletes(by)) {
      const list = obsoleted.get(relation.name);
      if (list) list.push({ by, relation });
      else obsoleted.set(relation.name, [{ by, relation }]);
    }
  }
  const left = ids.filter((id) => {
    const entry = entryOf(pool, id);
    const list = obsoleted.get(entry.name) ?? [];
    return !list.some(({ by, relation }) => by !== id && rangesOverlap(EQ, entry, relation.flags, relation));
  });
  return left.length > 0 ? left : [...ids];
}

/**
 * What chosen packages recommend (or suggest), or what supplements (or enhances) them; all candidates if there is none.
 */
function wanted(
  ids: readonly number[],
  forward: "recommends" | "suggests",
  backward: "supplements" | "enhances",
  view: PolicyView,
): number[] {
  const { pool } = view;
  const holds = (clauses: readonly (readonly number[])[]) =>
    clauses.every((clause) => clause.some((it) => (it > 0 ? view.isChosen(it - 1) : !view.isChosen(-it - 1))));
  const named = new Set<number>();
  for (const it of view.trail) {
    if (it < 0) continue;
    for (const clause of pool.weak(it - 1, forward).flat()) {
      // Only once all conditions hold.
      if (clause.every((at) => at > 0 || view.isChosen(-at - 1))) for (const id of clause) named.add(id);
    }
  }
  const left = ids.filter((id) => named.has(id + 1) || pool.weak(id, backward).some(holds));
  return left.length > 0 ? left : [...ids];
}

/**
 * Sorted by how many newer versions of what they provide others of them provide (java-headless); libsolv's
 * sort_by_common_dep().
 */
function byCommonName(ids: readonly number[], pool: Pool): number[] {
  const provided = new Map<string, { id: number; version: Evr }[]>();
  for (const id of ids) {
    for (const [name, version] of pool.versionedProvides(id)) {
      const list = provided.get(name);
      if (list) list.push({ id, version });
      else provided.set(name, [{ id, version }]);
    }
  }
  const badness = new Map(ids.map((id) => [id, 0]));
  for (const list of provided.values()) {
    if (list.length < 2) continue;
    list.sort((a, b) => compareMatchingRelease(b.version, a.version));
    let bad = 0;
    for (const [index, { id, version }] of list.entries()) {
      const before = list[index - 1];
      if (before && before.id !== id && compareMatchingRelease(before.version, version) > 0) bad++;
      badness.set(id, (badness.get(id) ?? 0) + bad);
    }
  }
  return [...ids].sort((a, b) => (badness.get(a) ?? 0) - (badness.get(b) ?? 0));
}

/** As {@link compareEvr}, but a version without release equals all its releases. */
function compareMatchingRelease(a: Evr, b: Evr): number {
  return a.release === "" || b.release === ""
    ? compareEvr({ ...a, release: "" }, { ...b, release: "" })
    : compareEvr(a, b);
}
