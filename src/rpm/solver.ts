/**
 * Finds packages that satisfy requests and each other: unit propagation, decisions by policy, and backtracking that
 * learns from conflicts (CDCL), as libsolv does. Conditions of a package are considered only once it is chosen.
 * Deterministic: the same pool and requests always give the same result.
 */
import { Pace } from "../io/pace.ts";
import { choose, narrow, type PolicyView, ranked } from "./policy.ts";
import { type Pool, type Rule, unsolvable } from "./pool.ts";
import { reachablePackages } from "./reachable.ts";

/** One requirement: any one of these packages, the best available. */
export interface SolverRequest {
  /** Name in messages. */
  label: string;
  candidates: readonly number[];
}

interface SolverOptions {
  /** Recommended and supplementing packages are included where possible. */
  recommends: boolean;
  /** Packages already chosen elsewhere: preferred where there is a choice. */
  preferred?: ReadonlySet<number>;
}

interface Clause {
  literals: number[];
  rule: Rule | undefined;
}

/** A decision between several packages, for a second look once everything is decided. */
interface Branch {
  /** The level before it. */
  level: number;
  options: { id: number; tried: boolean }[];
}

/** Backtracking stops here; real repositories need a handful. */
const MAX_CONFLICTS = 20_000;

/**
 * Solves all requests together, with pauses. Returns the packages needed (sorted), without those already installed;
 * undefined when there is no solution.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when dependencies take more time or memory than any honest ones
 */
export function solve(
  pool: Pool,
  requests: readonly SolverRequest[],
  options: SolverOptions,
): Promise<number[] | undefined> {
  return new Solver(pool, options).run(requests);
}

class Solver implements PolicyView {
  readonly pool: Pool;
  readonly preferred: ReadonlySet<number>;
  readonly #recommends: boolean;
  /** By package number plus one. */
  readonly #value: Int8Array;
  readonly #level: Int32Array;
  readonly #reason: (Clause | undefined)[];
  readonly #expanded: Uint8Array;
  readonly #watches = new Map<number, Clause[]>();
  #requests: Clause[] = [];
  /** Clauses of packages that may need a decision, in libsolv's order. */
  #open: Clause[] = [];
  /** Clauses added since that order was established. */
  #fresh: Clause[] = [];
  /** Where to resume in {@link #open}. */
  #at = 0;
  /** Clauses with several candidates wait until nothing else is open; this is the first one. */
  #postponed: Clause | undefined;
  #decidesAll = false;
  /** Levels up to this one hold the decisions about requests. */
  #requestLevels = 0;
  #branches: Branch[] = [];
  readonly trail: number[] = [];
  readonly #levelStart: number[] = [];
  #head = 0;
  #conflicts = 0;
  #supplementing: readonly number[] | undefined;
  #reachable: Set<number> | undefined;

  constructor(pool: Pool, options: SolverOptions) {
    const size = pool.entries.length + 1;
    this.pool = pool;
    this.preferred = options.preferred ?? new Set();
    this.#recommends = options.recommends;
    this.#value = new Int8Array(size);
    this.#level = new Int32Array(size);
    this.#reason = new Array(size);
    this.#expanded = new Uint8Array(size);
  }

  async run(requests: readonly SolverRequest[]): Promise<number[] | undefined> {
    const pace = new Pace(unsolvable);
    for (const id of this.pool.installed) this.#assign(id + 1, undefined);
    this.#requests = requests.map(({ candidates }) => ({ literals: candidates.map((id) => id + 1), rule: undefined }));
    for (const clause of this.#requests) if (this.#add(clause) !== undefined) return undefined;
    for (;;) {
      if (pace.isDue) await pace.rest();
      const conflict = this.#propagate();
      if (conflict !== undefined) {
        if (this.#levelStart.length === 0 || ++this.#conflicts > MAX_CONFLICTS) return undefined;
        if (!this.#learn(conflict)) return undefined;
        continue;
      }
      const literal = this.#nextDecision() ?? this.#nextBranch();
      if (literal === undefined) break;
      this.#levelStart.push(this.trail.length);
      this.#assign(literal, undefined);
    }
    return this.trail
      .filter((it) => it > 0 && !this.pool.installed.has(it - 1))
      .map((it) => it - 1)
      .sort((a, b) => a - b);
  }

  isChosen(id: number): boolean {
    return this.#value[id + 1] === 1;
  }

  #valueOf(literal: number): number {
    return literal > 0 ? (this.#value[literal] as number) : -(this.#value[-literal] as number);
  }

  #assign(literal: number, reason: Clause | undefined): void {
    const variable = Math.abs(literal);
    this.#value[variable] = literal > 0 ? 1 : -1;
    this.#level[variable] = this.#levelStart.length;
    this.#reason[variable] = reason;
    this.trail.push(literal);
  }

  /** Adds a clause under the current assignment; returns it when it is violated. */
  #add(clause: Clause): Clause | undefined {
    const { literals } = clause;
    // The two watched literals: not false if possible, otherwise those falsified last.
    literals.sort((a, b) => this.#rank(b) - this.#rank(a));
    for (const literal of literals.slice(0, 2)) this.#watch(literal, clause);
    const [first, second] = literals;
    if (first === undefined || this.#valueOf(first) === -1) return clause;
    if (this.#valueOf(first) === 0 && (second === undefined || this.#valueOf(second) === -1))
      this.#assign(first, clause);
    return undefined;
  }

  #rank(literal: number): number {
    const value = this.#valueOf(literal);
    return value === 1 ? 2_000_000_000 : value === 0 ? 1_999_999_999 : (this.#level[Math.abs(literal)] as number);
  }

  #watch(literal: number, clause: Clause): void {
    const list = this.#watches.get(literal);
    if (list) list.push(clause);
    else this.#watches.set(literal, [clause]);
  }

  #propagate(): Clause | undefined {
    while (this.#head < this.trail.length) {
      const literal = this.trail[this.#head++] as number;
      const falsified = this.#visitWatches(-literal);
      if (falsified) return falsified;
      if (literal > 0 && this.#expanded[literal] === 0) {
        this.#expanded[literal] = 1;
        const violated = this.#expand(literal - 1);
        if (violated) return violated;
      }
    }
    return undefined;
  }

  /** Adds the conditions of a package; returns one that is violated. */
  #expand(id: number): Clause | undefined {
    let violated: Clause | undefined;
    const rules = this.pool.rules(id);
    for (const rule of this.#isStranded(id) ? [...rules, strandedRule(id)] : rules) {
      const clause: Clause = { literals: [...rule.literals], rule };
      if ((rule.literals.at(-2) ?? -1) > 0) this.#fresh.push(clause);
      violated = this.#add(clause) ?? violated;
    }
    return violated;
  }

  /**
   * Whether a package is of an inferior architecture without a twin of a better one, while other versions of that are
   * reachable: the two would not be in lock-step.
   */
  #isStranded(id: number): boolean {
    const better = this.pool.betterArchitectures(id);
    if (better.length === 0) return false;
    const twins = this.pool.twinsOf(id, better);
    const best = this.pool.bestOf(better);
    if (this.pool.bestOf(twins) === best) return false;
    const inSight = better.filter((it) => twins.includes(it) || this.#inSight().has(it));
    return inSight.length > 0 && this.pool.bestOf(twins) !== this.pool.bestOf(inSight);
  }

  /** Every package that the requests can lead to; computed only when something depends on it. */
  #inSight(): ReadonlySet<number> {
    if (this.#reachable) return this.#reachable;
    const requested = this.#requests.flatMap(({ literals }) => literals.filter((it) => it > 0).map((it) => it - 1));
    this.#reachable = reachablePackages(this.pool, [...this.pool.installed, ...requested]);
    return this.#reachable;
  }

  #visitWatches(falseLiteral: number): Clause | undefined {
    const list = this.#watches.get(falseLiteral);
    if (list === undefined) return undefined;
    let kept = 0;
    for (let i = 0; i < list.length; i++) {
      const clause = list[i] as Clause;
      const { literals } = clause;
      if (literals[0] === falseLiteral && literals.length > 1) {
        literals[0] = literals[1] as number;
        literals[1] = falseLiteral;
      }
      const first = literals[0] as number;
      if (this.#valueOf(first) !== 1) {
        let moved = false;
        for (let k = 2; k < literals.length; k++) {
          const other = literals[k] as number;
          if (this.#valueOf(other) === -1) continue;
          literals[1] = other;
          literals[k] = falseLiteral;
          this.#watch(other, clause);
          moved = true;
          break;
        }
        if (moved) continue;
        if (this.#valueOf(first) === -1) {
          while (i < list.length) list[kept++] = list[i++] as Clause;
          list.length = kept;
          return clause;
        }
        this.#assign(first, clause);
      }
      list[kept++] = clause;
    }
    list.length = kept;
    return undefined;
  }

  /** First unique implication point: learns a clause, goes back, and asserts it. False: nothing left to undo. */
  #learn(conflict: Clause): boolean {
    const seen = new Set<number>();
    const learnt: number[] = [];
    // A clause added late may be violated below the current level.
    const level = this.#highestLevel(conflict.literals);
    if (level === 0) return false;
    this.#undo(level);
    let open = 0;
    let at = this.trail.length - 1;
    let clause: Clause | undefined = conflict;
    let uip = 0;
    for (;;) {
      for (const literal of clause?.literals ?? []) {
        const variable = Math.abs(literal);
        if (literal === uip || seen.has(variable) || this.#level[variable] === 0) continue;
        seen.add(variable);
        if (this.#level[variable] === level) open++;
        else learnt.push(literal);
      }
      while (!seen.has(Math.abs(this.trail[at] as number))) at--;
      uip = this.trail[at--] as number;
      if (--open === 0) break;
      clause = this.#reason[Math.abs(uip)];
    }
    const back = this.#highestLevel(learnt);
    this.#undo(back);
    return this.#add({ literals: [-uip, ...learnt], rule: undefined }) === undefined;
  }

  #highestLevel(literals: readonly number[]): number {
    return literals.reduce((highest, it) => Math.max(highest, this.#level[Math.abs(it)] as number), 0);
  }

  /** Undoes all levels above `level`. */
  #undo(level: number): void {
    if (this.#levelStart.length <= level) return;
    const start = this.#levelStart[level] as number;
    for (let i = start; i < this.trail.length; i++) {
      const variable = Math.abs(this.trail[i] as number);
      this.#value[variable] = 0;
      this.#reason[variable] = undefined;
    }
    this.trail.length = start;
    this.#levelStart.length = level;
    this.#head = Math.min(this.#head, start);
    while ((this.#branches.at(-1)?.level ?? -1) >= level) this.#branches.pop();
    if (level < this.#requestLevels) this.#startOver();
  }

  #startOver(): void {
    this.#at = 0;
    this.#postponed = undefined;
    this.#decidesAll = false;
  }

  /** Requests first, in their order; then what packages need, first where there is no real choice. libsolv's order. */
  #nextDecision(): number | undefined {
    for (const clause of this.#requests) {
      const candidates = this.#candidatesOf(clause.literals);
      if (!candidates) continue;
      this.#requestLevels = this.#levelStart.length + 1;
      return this.#decide(narrow(candidates, undefined, this));
    }
    this.#order();
    for (let seen = 0; seen < this.#open.length; seen++, this.#at++) {
      if (this.#at >= this.#open.length) this.#at = 0;
      const clause = this.#open[this.#at] as Clause;
      const candidates = this.#candidatesOf(clause.literals);
      if (candidates) {
        const left = narrow(candidates, clause.rule, this);
        if (left.length === 1 || this.#decidesAll) {
          this.#at++;
          return this.#decide(left);
        }
        this.#postponed ??= clause;
      }
      if (seen === this.#open.length - 1 && !this.#decidesAll && this.#postponed !== undefined) {
        this.#decidesAll = true;
        this.#at = this.#open.indexOf(this.#postponed) - 1;
        seen = -1;
      }
    }
    this.#startOver();
    return this.#recommends ? this.#nextWeak() : undefined;
  }

  #decide(narrowed: readonly number[]): number {
    const options = ranked(narrowed, this);
    if (options.length > 1) {
      const level = this.#levelStart.length;
      this.#branches.push({ level, options: options.map((id, index) => ({ id, tried: index === 0 })) });
    }
    return (options[0] as number) + 1;
  }

  /**
   * If a package that was not chosen has been included later anyway, it is chosen at once, so that no other is added.
   * Backtracks to that decision and returns the package.
   */
  #nextBranch(): number | undefined {
    for (const [index, { level, options }] of this.#branches.entries()) {
      const option = options.find(
        ({ id, tried }) => !tried && this.isChosen(id) && (this.#level[id + 1] as number) > level,
      );
      if (!option) continue;
      option.tried = true;
      const kept = this.#branches.slice(0, index + 1);
      this.#undo(level);
      this.#branches = kept;
      return option.id + 1;
    }
    return undefined;
  }

  /** Sorts new clauses in among the open ones. */
  #order(): void {
    if (this.#fresh.length === 0) return;
    const next = this.#open[this.#at];
    this.#open = [...this.#open, ...this.#fresh].sort(compareClauses);
    this.#fresh = [];
    this.#at = next === undefined ? this.#open.length : this.#open.indexOf(next);
  }

  /** Packages to choose from when all conditions of a clause hold and nothing satisfies it yet. */
  #candidatesOf(literals: readonly number[]): number[] | undefined {
    const candidates: number[] = [];
    for (const literal of literals) {
      const value = this.#valueOf(literal);
      if (value === 1) return undefined;
      if (literal < 0) {
        if (value === 0) return undefined;
      } else if (value === 0) candidates.push(literal - 1);
    }
    return candidates.length > 0 ? candidates : undefined;
  }

  #nextWeak(): number | undefined {
    for (const literal of this.trail) {
      if (literal < 0) continue;
      for (const clause of this.pool.weak(literal - 1, "recommends").flat()) {
        const candidates = this.#candidatesOf(clause);
        const rule: Rule = { owner: literal - 1, literals: [-literal], text: "", kind: "requires" };
        if (candidates) return choose(candidates, rule, this) + 1;
      }
    }
    this.#supplementing ??= this.pool.with("supplements");
    const wanted = this.#supplementing.filter(
      (id) =>
        this.#value[id + 1] === 0 &&
        this.pool.weak(id, "supplements").some((it) => it.every((clause) => this.#holds(clause))),
    );
    return wanted.length > 0 ? choose(wanted, undefined, this) + 1 : undefined;
  }

  /** Whether a clause over the chosen packages is true; undecided ones count as absent. */
  #holds(literals: readonly number[]): boolean {
    return literals.some((it) => (it > 0 ? this.#value[it] === 1 : this.#value[-it] !== 1));
  }
}

/** A condition that no package fulfils: it cannot be included. */
function strandedRule(id: number): Rule {
  return { owner: id, literals: [-(id + 1)], text: "its own version in the better architecture", kind: "requires" };
}

/** By ascending literals: libsolv's order of rules. */
function compareClauses(a: Clause, b: Clause): number {
  const [x, y] = [a.rule?.literals ?? [], b.rule?.literals ?? []];
  for (let i = 0; i < x.length && i < y.length; i++) {
    const order = (x[i] as number) - (y[i] as number);
    if (order !== 0) return order;
  }
  return x.length - y.length;
}
