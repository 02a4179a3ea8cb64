/**
 * The server's counters, as plain values that processes exchange and sum, and their Prometheus text.
 * See the Prometheus exposition format, version 0.0.4.
 */
import type { Release } from "../../store/types.ts";
import type { Tally } from "../http/fast-answer.ts";

/** Counts of one process since its start, or the sum of several. */
export interface Counters {
  /** Responses by `route status`, such as `rpms 200`. */
  responses: Record<string, number>;
  /** Bytes of bodies sent, by route. */
  bytes: Record<string, number>;
  /** Open connections. */
  connections: number;
  /** Responses that failed on this side. */
  faults: number;
  /** Resident memory of each process, in bytes, by its process id. */
  memory: Record<string, number>;
}

const ROUTES = new Set(["isos", "rpms", "rpmrepo", "files", "images", "v2", "keys", "config"]);

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
const PAGES = new Set(["BOM.html", "packages", "registry", "releases"]);
const META = new Set(["healthz", "metrics", "index.json", "packages.json", "openapi.json", "BOM.cdx.json", "ca.crt"]);

/** Zeroed counters. */
export function emptyCounters(): Counters {
  return { responses: {}, bytes: {}, connections: 0, faults: 0, memory: {} };
}

/** Counts one finished response. */
export function countResponse(counters: Counters, route: string, status: number, bytes: number): void {
  const key = `${route} ${status}`;
  counters.responses[key] = (counters.responses[key] ?? 0) + 1;
  counters.bytes[route] = (counters.bytes[route] ?? 0) + bytes;
}

/** Counts of the fast path, where a name made up for each answer would cost too much. */
export class Tallies {
  readonly #tallies = new Map<string, Tally>();

  /** Returns what answers for a path add to. */
  of = (path: string): Tally => {
    const route = routeOf(path);
    let tally = this.#tallies.get(route);
    if (tally === undefined) {
      tally = { answers: 0, bytes: 0 };
      this.#tallies.set(route, tally);
    }
    return tally;
  };

  /** Returns counters together with these. */
  addedTo(counters: Counters): Counters {
    const own = emptyCounters();
    for (const [route, { answers, bytes }] of this.#tallies) {
      own.responses[`${route} 200`] = answers;
      own.bytes[route] = bytes;
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
    addInto(sum.memory, counters.memory);
    sum.connections += counters.connections;
    sum.faults += counters.faults;
  }
  return sum;
}

function addInto(sum: Record<string, number>, more: Record<string, number>): void {
  for (const [key, count] of Object.entries(more)) sum[key] = (sum[key] ?? 0) + count;
}

/** Formats counters and the releases being served as Prometheus text. */
export function formatMetrics(counters: Counters, releases: readonly Release[]): string {
  const lines: string[] = [];
  const family = (name: string, type: "counter" | "gauge", help: string, samples: string[]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples.map((sample) => name + sample));
  };
  const sorted = (record: Record<string, number>) => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));

  family(
    "airferry_http_responses_total",
    "counter",
    "Answers by kind of path and status.",
    sorted(counters.responses).map(([key, value]) => {
      const [route, status] = key.split(" ");
      return `{route="${route}",status="${status}"} ${value}`;
    }),
  );
  family(
    "airferry_http_response_bytes_total",
    "counter",
    "Bytes of bodies sent, by kind of path.",
    sorted(counters.bytes).map(([route, value]) => `{route="${route}"} ${value}`),
  );
  family("airferry_http_connections", "gauge", "Connections open now.", [` ${counters.connections}`]);
  family("airferry_faults_total", "counter", "Answers that failed on the server's side.", [` ${counters.faults}`]);
  family(
    "airferry_release_info",
    "gauge",
    "Releases being served.",
    releases.map(
      ({ stream, serial, digest, signers }) =>
        `{stream="${label(stream)}",serial="${serial}",digest="${digest}",signers="${signers.length}"} 1`,
    ),
  );
  family(
    "airferry_release_created_timestamp_seconds",
    "gauge",
    "When each release was packed.",
    releases.map(({ stream, inventory }) => `{stream="${label(stream)}"} ${Date.parse(inventory.created) / 1000}`),
  );
  family(
    "airferry_release_entries",
    "gauge",
    "Entries of each release.",
    releases.map(({ stream, inventory }) => `{stream="${label(stream)}"} ${inventory.entries.length}`),
  );
  family(
    "airferry_process_resident_memory_bytes",
    "gauge",
    "Resident memory of each process.",
    sorted(counters.memory).map(([pid, value]) => `{pid="${pid}"} ${value}`),
  );
  return `${lines.join("\n")}\n`;
}

function label(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
