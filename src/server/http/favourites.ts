/**
 * What is worth keeping when not all can be kept: things that are asked for far more often than those that they would
 * push out. The admission of TinyLFU over a queue, with exact counts, since everything that can be asked for has a
 * record of its own. A scan over more than fits leaves what is kept in place, and finds as much of it as fits, where a
 * queue by last use finds nothing. See Einziger, Friedman, Manes: TinyLFU, A Highly Efficient Cache Admission Policy
 * (2017).
 */

/** A thing with a count of how often it was asked for, which {@link Frequency} keeps. */
export interface Counted {
  uses: number;
  /** Up to which period the count was halved. */
  period: number;
}

/**
 * Counts how often things are asked for. Every count is halved with each period, so that yesterday's favourites leave
 * in time.
 */
export class Frequency {
  readonly #periodUses: number;
  #period = 0;
  #uses = 0;

  /** @param periodUses after how many uses of anything a period ends */
  constructor(periodUses: number) {
    this.#periodUses = periodUses;
  }

  count(thing: Counted): void {
    this.#uses++;
    if (this.#uses % this.#periodUses === 0) this.#period++;
    thing.uses = this.of(thing) + 1;
  }

  of(thing: Counted): number {
    if (thing.period !== this.#period) {
      thing.uses >>= Math.min(this.#period - thing.period, 31);
      thing.period = this.#period;
    }
    return thing.uses;
  }
}

/** Keeps things up to a sum of their costs. */
export class Favourites<T extends Counted> {
  readonly #limit: number;
  readonly #frequency: Frequency;
  readonly #evict: (thing: T) => void;
  /** With costs; the next to be looked at first. */
  readonly #kept = new Map<T, number>();
  #cost = 0;

  /** @param evict called for whatever is no longer kept */
  constructor(limit: number, frequency: Frequency, evict: (thing: T) => void) {
    this.#limit = limit;
    this.#frequency = frequency;
    this.#evict = evict;
  }

  /**
   * Whether a thing that is not kept should be; makes room when it should. Twice as often is what it takes: in a scan,
   * what is asked for now is always one ahead of what comes next.
   */
  wants(thing: T, cost: number): boolean {
    const uses = this.#frequency.of(thing);
    while (this.#cost + cost > this.#limit) {
      const next = this.#kept.entries().next().value;
      if (next === undefined) return false;
      const [first, itsCost] = next;
      if (this.#frequency.of(first) * 2 >= uses) {
        this.#kept.delete(first);
        this.#kept.set(first, itsCost);
        return false;
      }
      this.delete(first);
    }
    return true;
  }

  /** Keeps a thing that {@link Favourites.wants} has just said yes to. */
  add(thing: T, cost: number): void {
    this.#kept.set(thing, cost);
    this.#cost += cost;
  }

  /** Keeps a thing no longer, if it is kept. */
  delete(thing: T): void {
    const cost = this.#kept.get(thing);
    if (cost === undefined) return;
    this.#kept.delete(thing);
    this.#cost -= cost;
    this.#evict(thing);
  }

  /** Keeps nothing any more. */
  clear(): void {
    for (const thing of this.#kept.keys()) this.#evict(thing);
    this.#kept.clear();
    this.#cost = 0;
  }
}
