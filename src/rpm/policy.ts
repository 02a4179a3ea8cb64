/**
 * Which of several packages to take, in libsolv's order: what runs best on the architecture, the newest version of each
 * name, what chosen packages recommend or suggest, then names.
 */
import { archRank } from "./arch.ts";
import { compareEvr, EQ, type Evr, rangesOverlap } from "./evr.ts";
import type { Pool, Rule } from "./pool.ts";
import type { PackageEntry } from "./primary.ts";

/** What the policy may look at while a solution is being built. */
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
  const { pool } = view;
  const requester = rule === undefined ? -1 : Math.abs(rule.literals.find((it) => it < 0) ?? 0) - 1;
  const home = requester < 0 ? -1 : pool.repositoryOf(requester);
  let left = keepBest(
    candidates,
    (id) => {
      const { arch } = entryOf(pool, id);
      return arch === "noarch" ? 0 : (archRank(pool.arch, arch) ?? 99);
    },
    (id) => entryOf(pool, id).arch === "noarch",
  );
  left = newestOfEachName(left, pool, home);
  if (left.length > 1) left = withoutObsoleted(left, pool);
  if (left.length > 1) left = keepBest(left, (id) => (view.preferred.has(id) ? 0 : 1));
  if (left.length > 1) left = mostWanted(left, view);
  if (left.length > 1) left = newestOfCommonName(left, pool);
  if (left.length > 1 && rule !== undefined) {
    left = keepBest(left, (id) => (rule.text.split(" ", 1)[0] === entryOf(pool, id).name ? 0 : 1));
    left = keepBest(left, (id) => (requester >= 0 && sourceOf(pool, id) === sourceOf(pool, requester) ? 0 : 1));
  }
  left = keepBest(left, (id) => entryOf(pool, id).name.length);
  return [...left].sort((a, b) => {
    const [x, y] = [entryOf(pool, a).name, entryOf(pool, b).name];
    return x < y ? -1 : x > y ? 1 : a - b;
  })[0] as number;
}

function entryOf(pool: Pool, id: number): PackageEntry {
  return pool.entries[id] as PackageEntry;
}

/** Those with the lowest score, and those that `always` lets through. */
function keepBest(ids: readonly number[], score: (id: number) => number, always?: (id: number) => boolean): number[] {
  if (ids.length < 2) return [...ids];
  const scores = ids.map((id) => (always?.(id) ? undefined : score(id)));
  const best = Math.min(...scores.filter((it) => it !== undefined));
  return ids.filter((_id, index) => scores[index] === undefined || scores[index] === best);
}

/** Newest version of each name; where several have it, what is at hand anyway, the requester's own repository, the first. */
function newestOfEachName(ids: readonly number[], pool: Pool, home: number): number[] {
  const best = new Map<string, number>();
  for (const id of ids) {
    const entry = entryOf(pool, id);
    const other = best.get(entry.name);
    if (other === undefined) best.set(entry.name, id);
    else {
      const order = compareEvr(entry, entryOf(pool, other));
      const rank = (it: number) => (pool.isProvided(it) ? 2 : pool.repositoryOf(it) === home ? 1 : 0);
      const closer = order === 0 && rank(id) > rank(other);
      if (order > 0 || closer) best.set(entry.name, id);
    }
  }
  return [...best.values()];
}

function withoutObsoleted(ids: readonly number[], pool: Pool): number[] {
  const left = ids.filter((id) => {
    const entry = entryOf(pool, id);
    return !ids.some(
      (other) =>
        other !== id &&
        pool.obsoletes(other).some((it) => it.name === entry.name && rangesOverlap(EQ, entry, it.flags, it)),
    );
  });
  return left.length > 0 ? left : [...ids];
}

/** What chosen packages recommend, else what they suggest, else all. */
function mostWanted(ids: readonly number[], view: PolicyView): number[] {
  const { pool } = view;
  const holds = (clauses: readonly (readonly number[])[]) =>
    clauses.every((clause) => clause.some((it) => (it > 0 ? view.isChosen(it - 1) : !view.isChosen(-it - 1))));
  const kinds = [
    ["recommends", "supplements"],
    ["suggests", "enhances"],
  ] as const;
  for (const [forward, backward] of kinds) {
    const named = new Set<number>();
    for (const it of view.trail) {
      if (it < 0) continue;
      for (const list of pool.weak(it - 1, forward)) for (const clause of list) for (const id of clause) named.add(id);
    }
    const left = ids.filter((id) => named.has(id + 1) || pool.weak(id, backward).some(holds));
    if (left.length > 0) return left;
  }
  return [...ids];
}

/** Where all provide one name with versions (java-headless), those with the newest of it. */
function newestOfCommonName(ids: readonly number[], pool: Pool): number[] {
  const [first, ...others] = ids.map((id) => pool.versionedProvides(id)) as [Map<string, Evr>, ...Map<string, Evr>[]];
  for (const [name, version] of first) {
    const versions = [version, ...others.map((it) => it.get(name))];
    if (!versions.every((it) => it !== undefined)) continue;
    const newest = versions.reduce((a, b) => (compareEvr(a, b) >= 0 ? a : b));
    return ids.filter((_id, index) => compareEvr(versions[index] as Evr, newest) === 0);
  }
  return [...ids];
}

function sourceOf(pool: Pool, id: number): string {
  const text = pool.primaryOf(id)?.text(entryOf(pool, id)) ?? "";
  return /<rpm:sourcerpm>([^<]*)</.exec(text)?.[1]?.replace(/-[^-]*-[^-]*$/, "") || `#${id}`;
}
