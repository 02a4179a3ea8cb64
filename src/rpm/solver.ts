/**
 * Finds packages that satisfy requests and each other: unit propagation, decisions by policy, and backtracking that learns
 * from conflicts (CDCL), as libsolv does. Conditions of a package are looked at only once it is chosen. Deterministic: the
 * same pool and requests always give the same result.
 */
import { choose, type PolicyView } from "./policy.ts";
import type { Pool, Rule } from "./pool.ts";

/** One thing that must be there: any one of these packages, the best that can be had. */
export interface Request {
  /** How messages call it. */
  label: string;
  candidates: readonly number[];
}

export interface SolverOptions {
  /** Recommended and supplementing packages come in where they can. */
  recommends: boolean;
  /** Packages chosen already elsewhere: preferred where there is a choice. */
  preferred?: ReadonlySet<number>;
}

interface Clause {
  literals: number[];
  rule: Rule | undefined;
}

/** Backtracking stops here; real repositories need a handful. */
const MAX_CONFLICTS = 20_000;

/**
 * Solves all requests together. Returns the packages that have to come (sorted), without those installed already;
 * undefined when there is no solution.
 */
export function solve(pool: Pool, requests: readonly Request[], options: SolverOptions): number[] | undefined {
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
  /** Clauses that may need a decision, in the order in which they came up. */
  readonly #open: Clause[] = [];
  /** Clauses before this one are settled, unless something was undone or a condition came true since. */
  #from = 0;
  readonly trail: number[] = [];
  readonly #levelStart: number[] = [];
  #head = 0;
  #conflicts = 0;
  #supplementing: number[] | undefined;

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

  run(requests: readonly Request[]): number[] | undefined {
    for (const id of this.pool.installed) this.#assign(id + 1, undefined);
    for (const { candidates } of requests) {
      const clause: Clause = { literals: candidates.map((id) => id + 1), rule: undefined };
      if (this.#add(clause, true) !== undefined) return undefined;
    }
    for (;;) {
      const conflict = this.#propagate();
      if (conflict !== undefined) {
        if (this.#levelStart.length === 0 || ++this.#conflicts > MAX_CONFLICTS) return undefined;
        if (!this.#learn(conflict)) return undefined;
        continue;
      }
      const literal = this.#nextDecision();
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

  /** Adds a clause under the present assignment; returns it when it is violated. */
  #add(clause: Clause, decidable: boolean): Clause | undefined {
    const { literals } = clause;
    if (decidable) this.#open.push(clause);
    // The two watched literals: not false where possible, otherwise those that fell last.
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
        let violated: Clause | undefined;
        for (const rule of this.pool.rules(literal - 1)) {
          violated = this.#add({ literals: [...rule.literals], rule }, rule.kind === "requires") ?? violated;
        }
        if (violated) return violated;
      }
    }
    return undefined;
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
    // A clause that came late may be violated below the present level.
    const level = Math.max(0, ...conflict.literals.map((it) => this.#level[Math.abs(it)] as number));
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
    const back = Math.max(0, ...learnt.map((it) => this.#level[Math.abs(it)] as number));
    this.#undo(back);
    const asserted = { literals: [-uip, ...learnt], rule: undefined };
    return this.#add(asserted, false) === undefined;
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
    this.#from = 0;
  }

  #nextDecision(): number | undefined {
    for (let round = 0; round < 2; round++) {
      for (; this.#from < this.#open.length; this.#from++) {
        const clause = this.#open[this.#from] as Clause;
        const candidates = this.#candidatesOf(clause.literals);
        if (candidates) return choose(candidates, clause.rule, this) + 1;
      }
      this.#from = 0;
    }
    return this.#recommends ? this.#nextWeak() : undefined;
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
        if (candidates) return choose(candidates, { literals: [-literal], text: "", kind: "requires" }, this) + 1;
      }
    }
    this.#supplementing ??= this.pool.supplementing();
    const wanted = this.#supplementing.filter(
      (id) =>
        this.#value[id + 1] === 0 &&
        this.pool.weak(id, "supplements").some((it) => it.every((clause) => this.#holds(clause))),
    );
    return wanted.length > 0 ? choose(wanted, undefined, this) + 1 : undefined;
  }

  /** Whether a clause over the chosen packages is true; undecided ones are not there. */
  #holds(literals: readonly number[]): boolean {
    return literals.some((it) => (it > 0 ? this.#value[it] === 1 : this.#value[-it] !== 1));
  }
}
