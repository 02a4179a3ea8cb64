/**
 * What clients asked for and did not get: URLs, how often and when. Bounded in number and in characters, since any
 * client can ask for anything. Of a full list that goes which is least wanted of the hosts with most URLs, so that a
 * flood of paths at one host costs nothing of the others; it is only counted. No I/O.
 */
import { originOf } from "../io/web-url.ts";

/** URLs of one list. */
export const MAX_WANTED = 10_000;
/** Longest URL of a list. */
export const MAX_WANTED_URL_LENGTH = 1024;
/** Characters of all URLs of one list together. */
const MAX_CHARACTERS = 4 * 1024 * 1024;
/** How much of a full list stays: making room for each URL alone would sort the list for each. */
const KEPT_SHARE = 0.9;
/** Counts stay exact numbers. */
const MAX_COUNT = Number.MAX_SAFE_INTEGER;

/** One thing that was asked for and was not there. */
export interface Wanted {
  method: "GET" | "HEAD";
  /** As the client knew it, in normal form, without query, user or fragment. */
  url: string;
  count: number;
  /** RFC 3339, whole seconds. */
  first: string;
  last: string;
}

/** A list that several threads add to, in one of them. */
export class WantedList {
  readonly #byKey = new Map<string, Wanted>();
  #characters = 0;
  /** Requests for URLs that had no room, or no longer have. */
  dropped = 0;

  /** How many URLs there are, by method. */
  get size(): number {
    return this.#byKey.size;
  }

  /** Adds requests to the list. Returns whether they had room. */
  add({ method, url, count, first, last }: Wanted): boolean {
    const key = `${method} ${url}`;
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      known.count = Math.min(known.count + count, MAX_COUNT);
      if (first < known.first) known.first = first;
      if (last > known.last) known.last = last;
      return true;
    }
    if (url.length > MAX_WANTED_URL_LENGTH) {
      this.#drop(count);
      return false;
    }
    if (this.#byKey.size >= MAX_WANTED || this.#characters + url.length > MAX_CHARACTERS) this.#makeRoom();
    this.#byKey.set(key, { method, url, count, first, last });
    this.#characters += url.length;
    return true;
  }

  #drop(count: number): void {
    this.dropped = Math.min(this.dropped + count, MAX_COUNT);
  }

  #makeRoom(): void {
    const byHost = Map.groupBy(this.#byKey, ([, { url }]) => originOf(url));
    const ranked = [...byHost.values()].flatMap((all) =>
      all
        .sort(([, a], [, b]) => byWorth(a, b))
        // Of a host with many URLs the least wanted one has the highest rank.
        .map(([key, it], index) => ({ key, it, rank: all.length - index })),
    );
    ranked.sort((a, b) => b.rank - a.rank || byWorth(a.it, b.it));
    for (const { key, it } of ranked) {
      if (this.#byKey.size <= MAX_WANTED * KEPT_SHARE && this.#characters <= MAX_CHARACTERS * KEPT_SHARE) return;
      this.#byKey.delete(key);
      this.#characters -= it.url.length;
      this.#drop(it.count);
    }
  }

  /** All of it, sorted by URL and method. */
  entries(): Wanted[] {
    return [...this.#byKey.values()].sort((a, b) => compare(a.url, b.url) || compare(a.method, b.method));
  }

  /** Returns what is in it, and empties it. */
  take(): { entries: Wanted[]; dropped: number } {
    const taken = { entries: [...this.#byKey.values()], dropped: this.dropped };
    this.#byKey.clear();
    this.#characters = 0;
    this.dropped = 0;
    return taken;
  }
}

/** The least wanted first, of those the longest ago. */
function byWorth(a: Wanted, b: Wanted): number {
  return a.count - b.count || compare(a.last, b.last);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
