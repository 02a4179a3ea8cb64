/**
 * What clients asked for and did not get: URLs, how often and when. Bounded in number and in characters, since any
 * client can ask for anything; what is beyond is only counted. No I/O.
 */

/** URLs of one list. */
export const MAX_WANTED = 10_000;
/** Longest URL of a list. */
export const MAX_WANTED_URL_LENGTH = 1024;
/** Characters of all URLs of one list together. */
const MAX_CHARACTERS = 4 * 1024 * 1024;
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
  /** Requests for URLs that no longer had room. */
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
    const isFull = this.#byKey.size >= MAX_WANTED || this.#characters + url.length > MAX_CHARACTERS;
    if (isFull || url.length > MAX_WANTED_URL_LENGTH) {
      this.dropped = Math.min(this.dropped + count, MAX_COUNT);
      return false;
    }
    this.#byKey.set(key, { method, url, count, first, last });
    this.#characters += url.length;
    return true;
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

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
