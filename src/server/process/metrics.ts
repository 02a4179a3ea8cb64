/** The server's metrics as Prometheus text. See the Prometheus exposition format, version 0.0.4. */
import type { Release } from "../../store/types.ts";
import { VERSION } from "../../version.ts";
import { type Counters, DURATION_SECONDS } from "./counters.ts";

/** What is measured besides the counters. */
interface Measured {
  releases: readonly Release[];
  /** Free bytes of the store's file system for this user; undefined when they cannot be read. */
  freeBytes: number | undefined;
  /** A list of what is wanted is kept. */
  isWantedKept?: boolean;
}

/** Formats the counters, the releases being served and the store as Prometheus text. */
export function formatMetrics(counters: Counters, { releases, freeBytes, isWantedKept = false }: Measured): string {
  const lines: string[] = [];
  const family = (name: string, type: "counter" | "gauge" | "histogram", help: string, samples: string[]): void => {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples.map((sample) => name + sample));
  };
  const sorted = (record: Record<string, number>) => Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));

  family("airferry_build_info", "gauge", "The program.", [
    `{version="${label(VERSION)}",node="${process.versions.node}"} 1`,
  ]);
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
  family(
    "airferry_http_response_duration_seconds",
    "histogram",
    "From the request's head to the end of its answer, by kind of path.",
    sorted(counters.seconds).flatMap(([route, seconds]) => histogram(counters, route, seconds)),
  );
  family("airferry_http_connections", "gauge", "Connections open now.", [` ${counters.connections}`]);
  family("airferry_faults_total", "counter", "Answers that failed on the server's side.", [` ${counters.faults}`]);
  family("airferry_damaged_files", "gauge", "Files of the store that are damaged, as far as they were read.", [
    ` ${Object.keys(counters.damaged).length}`,
  ]);
  for (const [name, type, help, value] of cacheFamilies(counters.cache))
    family(`airferry_${name}`, type, help, [` ${value}`]);
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
    "airferry_release_imported_timestamp_seconds",
    "gauge",
    "When each release was unpacked.",
    releases.map(({ stream, importedAt }) => `{stream="${label(stream)}"} ${Date.parse(importedAt) / 1000}`),
  );
  family(
    "airferry_release_expiry_timestamp_seconds",
    "gauge",
    "When each release expires, of those that do. They are still served.",
    releases.flatMap(({ stream, inventory: { notAfter } }) =>
      notAfter === undefined ? [] : [`{stream="${label(stream)}"} ${Date.parse(notAfter) / 1000}`],
    ),
  );
  if (freeBytes !== undefined)
    family("airferry_store_free_bytes", "gauge", "Free bytes of the store's file system.", [` ${freeBytes}`]);
  if (isWantedKept)
    family("airferry_wanted_urls", "gauge", "URLs that were asked for and are not here.", [` ${counters.wanted}`]);
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

/** Of a store in a bucket; without one there are none. */
function cacheFamilies(counts: Counters["cache"]): [string, "counter" | "gauge", string, number][] {
  if (counts.limitBytes === undefined) return [];
  const of = (name: string) => counts[name] ?? 0;
  return [
    ["bucket_up", "gauge", "Whether the bucket answers.", of("down") > 0 ? 0 : 1],
    ["bucket_errors_total", "counter", "Requests to the bucket that failed.", of("errors")],
    ["bucket_fetched_bytes_total", "counter", "Bytes fetched from the bucket.", of("fetchedBytes")],
    ["bucket_refused_total", "counter", "Chunks of the bucket that are not what was signed.", of("refused")],
    ["cache_hits_total", "counter", "Files and chunks that were opened in the cache.", of("hits")],
    ["cache_misses_total", "counter", "Chunks that were not in the cache.", of("misses")],
    ["cache_evicted_total", "counter", "Chunks that were removed to make room.", of("evictedChunks")],
    ["cache_bytes", "gauge", "Bytes in the cache.", of("usedBytes")],
    ["cache_record_bytes", "gauge", "Of these, records of releases.", of("documentBytes")],
    ["cache_limit_bytes", "gauge", "Bytes that the cache may hold.", of("limitBytes")],
  ];
}

/** The samples of one route: each class counts what took no longer. */
function histogram({ durations }: Counters, route: string, seconds: number): string[] {
  let count = 0;
  const buckets = [...DURATION_SECONDS, Number.POSITIVE_INFINITY].map((limit, at) => {
    count += durations[`${route} ${at}`] ?? 0;
    return `_bucket{route="${route}",le="${limit === Number.POSITIVE_INFINITY ? "+Inf" : limit}"} ${count}`;
  });
  return [...buckets, `_sum{route="${route}"} ${seconds}`, `_count{route="${route}"} ${count}`];
}

function label(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
