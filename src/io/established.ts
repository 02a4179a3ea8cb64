/** Counts how digests were established: what a first sight was trusted for must be easy to see. */
import type { Established } from "./types.ts";

/** Of how many files the digest was established in each way; ways without any are absent. */
export type EstablishedCounts = Partial<Record<Established, number>>;

/** Counts files by how their digests were established, strongest way first. */
export function countEstablished(files: Iterable<{ established: Established }>): EstablishedCounts {
  const counts = { manifest: 0, "upstream-signed": 0, "upstream-checksum": 0, "first-sight": 0, generated: 0 };
  for (const { established } of files) counts[established]++;
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}
