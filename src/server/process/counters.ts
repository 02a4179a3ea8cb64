/**
 * The server's counters, as plain values that processes exchange and sum, and their Prometheus text.
 * See the Prometheus exposition format, version 0.0.4.
 */
import type { CacheCounts } from "../../cache/types.ts";
import type { Tally } from "../http/fast-answer.ts";

/** Counts of one process since its start, or the sum of several. */
export interface Counters {
  /** Responses by `route status`, such as `rpms 200`. */
  responses: Record<string, number>;
  /** Bytes of bodies sent, by route. */
  bytes: Record<string, number>;
  /** Responses by how long they took: `route at`, where `at` is the place in {@link DURATION_SECONDS} or its length. */
  durations: Record<string, number>;
  /** Seconds that all responses took together, by route. */
  seconds: Record<string, number>;
  /** Open connections. */
  connections: number;
  /** Responses that failed on this side. */
  faults: number;
  /** Resident memory of each process, in bytes, by its process id. */
  memory: Record<string, number>;
  /** URLs in the list of what is wanted, which the first thread has. */
  wanted: number;
  /** Files of the store in which damage was found, by their paths. */
  damaged: Record<string, number>;
  /** Of the cache of a store that is elsewhere; empty where there is none. */
  cache: Record<string, number>;
}

/** Counts of a cache as numbers that can be added: what only the thread that fills it knows, others leave out. */
export function cacheCounters(hits: number, counts: CacheCounts | undefined): Record<string, number> {
  if (counts === undefined) return { hits };
  const { downSince, ...numbers } = counts;
  return { hits, ...numbers, down: downSince === undefined ? 0 : Date.parse(downSince) / 1000 };
}

const ROUTES = new Set(["isos", "rpms", "rpmrepo", "files", "images", "web", "git", "v2", "keys", "config"]);

/**
 * Returns the class of a path: the kind of content, `page` for `/`, `meta` for the server's own paths, else `other`.
 */
export function routeOf(path: string): string {
  if (path === "/") return "page";
  const end = path.indexOf("/", 1);
  const first = end === -1 ? path.slice(1) : path.slice(1, end);
  if (ROUTES.has(first)) return first;
  if (first === "ns") return "v2";
  if (PAGES.has(first)) return "page";
  return META.has(first) ? "meta" : "other";
}

/** Pages beside the tree. */
const PAGES = new Set(["BOM.html", "packages", "registry", "releases", "wanted"]);
const META = new Set(["healthz", "metrics", "index.json", "packages.json", "openapi.json", "BOM.cdx.json", "ca.crt"]);

/** Upper limits of the classes of durations, in seconds: from a small file out of memory to an ISO over a slow line. */
export const DURATION_SECONDS = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60, 600] as const;

/** The place of a duration among {@link DURATION_SECONDS}. */
function durationClass(seconds: number): number {
  let at = 0;
  while (at < DURATION_SECONDS.length && seconds > (DURATION_SECONDS[at] ?? 0)) at++;
  return at;
}

/** Zeroed counters. */
export function emptyCounters(): Counters {
  const counts = { responses: {}, bytes: {}, durations: {}, seconds: {}, memory: {}, damaged: {}, cache: {} };
  return { ...counts, connections: 0, faults: 0, wanted: 0 };
}

/** Counts one finished response. */
export function countResponse(
  counters: Counters,
  { route, status, bytes, seconds }: { route: string; status: number; bytes: number; seconds: number },
): void {
  add(counters.responses, `${route} ${status}`, 1);
  add(counters.bytes, route, bytes);
  add(counters.durations, `${route} ${durationClass(seconds)}`, 1);
  add(counters.seconds, route, seconds);
}

function add(counts: Record<string, number>, key: string, more: number): void {
  counts[key] = (counts[key] ?? 0) + more;
}

/** Counts of the fast path, where a name made up for each answer would cost too much. */
export class Tallies {
  readonly #tallies = new Map<string, Tally>();

  /** Returns what answers for a path add to. */
  of = (path: string): Tally => {
    const route = routeOf(path);
    let tally = this.#tallies.get(route);
    if (tally === undefined) {
      const durations = Array.from({ length: DURATION_SECONDS.length + 1 }, () => 0);
      tally = { answers: 0, bytes: 0, seconds: 0, durations, classOf: durationClass };
      this.#tallies.set(route, tally);
    }
    return tally;
  };

  /** Returns counters together with these. */
  addedTo(counters: Counters): Counters {
    const own = emptyCounters();
    for (const [route, { answers, bytes, seconds, durations }] of this.#tallies) {
      own.responses[`${route} 200`] = answers;
      own.bytes[route] = bytes;
      own.seconds[route] = seconds;
      for (const [at, count] of durations.entries()) if (count > 0) own.durations[`${route} ${at}`] = count;
    }
    return sumCounters([counters, own]);
  }
}

/** Sums the counters of several processes. */
export function sumCounters(all: readonly Counters[]): Counters {
  const sum = emptyCounters();
  for (const counters of all) {
    addInto(sum.responses, counters.responses);
    addInto(sum.bytes, counters.bytes);
    addInto(sum.durations, counters.durations);
    addInto(sum.seconds, counters.seconds);
    addInto(sum.memory, counters.memory);
    addInto(sum.damaged, counters.damaged);
    addInto(sum.cache, counters.cache);
    sum.connections += counters.connections;
    sum.faults += counters.faults;
    sum.wanted += counters.wanted;
  }
  return sum;
}

function addInto(sum: Record<string, number>, more: Record<string, number>): void {
  for (const [key, count] of Object.entries(more)) add(sum, key, count);
}
