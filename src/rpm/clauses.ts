/**
 * Dependencies as clauses for a solver, all of which must hold. In a clause `n + 1` means "package n is present", `-(n
 * + 1)` "it is absent". The caller says who provides what. The steps are those of libsolv's
 * pool_normalize_complex_dep(): for conflicts the exact form matters, since a package is exempt from a clause that
 * forbids only itself.
 */
import type { Dependency } from "./dependency.ts";
import type { Relation } from "./primary.ts";

/** Who provides a relation: package numbers, distinct and ascending. */
export type ProvidersOf = (relation: Relation) => readonly number[];

/** How many literals may still be written or compared; shared by all conversions of a pool. */
export interface Budget {
  literals: number;
}

/** For one expression. Nested alternatives explode; no real expression needs a thousandth of this. */
const MAX_LITERALS = 5_000_000;

/**
 * Converts a dependency. An empty clause cannot be satisfied. `negated`: clauses of the opposite. Undefined when the
 * expression grows too large or `budget`, which this call reduces, is spent.
 */
export function clausesOf(
  dependency: Dependency,
  providersOf: ProvidersOf,
  negated = false,
  budget: Budget = { literals: MAX_LITERALS },
): number[][] | undefined {
  const own = Math.min(budget.literals, MAX_LITERALS);
  const conversion = new Conversion(providersOf, own);
  try {
    return conversion.convert(dependency, negated);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  } finally {
    budget.literals -= own - Math.max(0, conversion.left);
  }
}

class Conversion {
  readonly #providersOf: ProvidersOf;
  /** Literals that may still be written or compared. */
  left: number;

  constructor(providersOf: ProvidersOf, literals: number) {
    this.#providersOf = providersOf;
    this.left = literals;
  }

  convert(it: Dependency, negated: boolean): number[][] {
    if (it.op === undefined || it.op === "with" || it.op === "without") {
      const packages = setOf(it, this.#providersOf);
      this.#spend(packages.length);
      return negated ? packages.map((id) => [-(id + 1)]) : [packages.map((id) => id + 1)];
    }
    const [first, second, third] = it.args as [Dependency, Dependency, Dependency | undefined];
    const join = (isAnd: boolean, a: number[][], b: number[][]) =>
      isAnd !== negated ? conjunction([a, b]) : this.#disjunction([a, b]);
    switch (it.op) {
      case "and":
      case "or": {
        const parts = it.args.map((arg) => this.convert(arg, negated));
        return (it.op === "and") !== negated ? conjunction(parts) : this.#disjunction(parts);
      }
      case "if": {
        // a if b else c: (a or not b) and (c or b)
        const then = join(false, this.convert(first, negated), this.convert(second, !negated));
        if (third === undefined) return then;
        return join(true, then, join(false, this.convert(third, negated), this.convert(second, negated)));
      }
      case "unless": {
        // a unless b else c: (a and not b) or (c and b)
        const then = join(true, this.convert(first, negated), this.convert(second, !negated));
        if (third === undefined) return then;
        return join(false, then, join(true, this.convert(third, negated), this.convert(second, negated)));
      }
    }
  }

  /**
   * Drops clauses that always hold and repeated ones, but not implied ones: their packages still count as reachable.
   */
  #disjunction(parts: readonly number[][][]): number[][] {
    let result: number[][] = [[]];
    for (const part of parts) {
      const next = new Map<string, number[]>();
      for (const a of result) {
        for (const b of part) {
          this.#spend(a.length + b.length + 1);
          const clause = merged(a, b);
          if (clause) next.set(clause.join(), clause);
        }
      }
      result = [...next.values()];
    }
    return result;
  }

  #spend(literals: number): void {
    this.left -= literals;
    if (this.left < 0) throw new RangeError("too many literals");
  }
}

/**
 * Unsatisfiable input stays as it is: a package is exempt from conflicting with itself only if the clause says nothing
 * else.
 */
function conjunction(parts: readonly number[][][]): number[][] {
  const clauses = parts.flat();
  return clauses.some((it) => it.length === 0) ? [[]] : clauses;
}

/** Merges two ascending clauses; undefined when the result always holds. */
function merged(a: readonly number[], b: readonly number[]): number[] | undefined {
  const clause: number[] = [];
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    const [x = Number.POSITIVE_INFINITY, y = Number.POSITIVE_INFINITY] = [a[i], b[j]];
    clause.push(Math.min(x, y));
    if (x <= y) i++;
    if (y <= x) j++;
  }
  return alwaysHolds(clause) ? undefined : clause;
}

/** Whether an ascending clause has a package both positive and negative. */
function alwaysHolds(clause: readonly number[]): boolean {
  for (let i = 0, j = clause.length - 1; i < j; ) {
    const sum = (clause[i] as number) + (clause[j] as number);
    if (sum === 0) return true;
    if (sum < 0) i++;
    else j--;
  }
  return false;
}

/** A clause without repetitions, ascending; undefined when it always holds. */
export function tidyClause(literals: readonly number[]): number[] | undefined {
  const tidy = [...new Set(literals)].sort((a, b) => a - b);
  return alwaysHolds(tidy) ? undefined : tidy;
}

/** Packages that match a relation, or a combination of relations that a single package has to match; ascending. */
function setOf(it: Dependency, providersOf: ProvidersOf): number[] {
  if (it.op === undefined) return [...providersOf(it.relation)];
  const sets = it.args.map((arg) => setOf(arg, providersOf));
  const [first = [], ...others] = sets;
  if (it.op !== "with" && it.op !== "without") return [...new Set(sets.flat())].sort((a, b) => a - b);
  const lookups = others.map((set) => new Set(set));
  return it.op === "with"
    ? first.filter((id) => lookups.every((set) => set.has(id)))
    : first.filter((id) => !lookups.some((set) => set.has(id)));
}

/**
 * Every package that an expression may require, whatever else is present. pool_add_pos_literals_complex_dep() of
 * libsolv 0.7.23; since 0.7.24 the condition of an `else` counts both ways.
 */
export function requiredPackages(it: Dependency, providersOf: ProvidersOf, negated = false): number[] {
  if (it.op === undefined || it.op === "with" || it.op === "without") return negated ? [] : setOf(it, providersOf);
  const isCondition = (index: number) => (it.op === "if" || it.op === "unless") && index === 1;
  return it.args.flatMap((arg, index) => requiredPackages(arg, providersOf, isCondition(index) !== negated));
}

/** Whether an expression can hold if any of `seen` may be present. libsolv's solver_dep_possible(). */
export function canHold(it: Dependency, providersOf: ProvidersOf, seen: ReadonlySet<number>): boolean {
  switch (it.op) {
    case "if":
    case "unless":
      return true;
    case "and":
      return it.args.every((arg) => canHold(arg, providersOf, seen));
    case "or":
      return it.args.some((arg) => canHold(arg, providersOf, seen));
    default:
      return setOf(it, providersOf).some((id) => seen.has(id));
  }
}
