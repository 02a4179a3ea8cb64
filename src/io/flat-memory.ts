/**
 * Keeps the heap close to the live data. V8 lets the heap of a big machine grow to several times that size; an
 * inventory of 100,000 entries is then 400 MB of process instead of 220. Costs a few percent of time in short
 * collections.
 */
import { runInNewContext } from "node:vm";
import { setV8Flags } from "./v8-flags.ts";

/** Received bytes after which their buffers are collected: fewer cost more time, more cost memory. */
const COLLECT_BYTES = 8 * 1024 * 1024;

let uncollected = 0;
let collect: ((options: { type: "minor" } | { type: "major"; flavor: "last-resort" }) => void) | undefined;

/**
 * Called with bytes received in separate buffers (from a socket); lets V8 collect the young ones at intervals. V8
 * counts a buffer as a small object and its memory separately: by default it collects the whole heap in several threads
 * after every 40 MB, which took a third of the time of a download.
 */
export function buffersUsed(bytes: number): void {
  uncollected += bytes;
  if (uncollected < COLLECT_BYTES) return;
  uncollected = 0;
  collector()?.({ type: "minor" });
}

/**
 * Collects whatever is not in use, once, and gives its memory back to the system: for a process that has loaded all
 * that it will need and stays. Keeps everybody for some tens of milliseconds.
 */
export function releaseMemory(): void {
  collector()?.({ type: "major", flavor: "last-resort" });
}

function collector(): typeof collect {
  if (collect === undefined) {
    // Stays set: another thread may be just here, and the flags are those of all threads.
    setV8Flags("--expose-gc");
    collect = runInNewContext("gc") as typeof collect;
  }
  return collect;
}

/** Makes this process collect garbage early from now on; for verbs that run once and have large inventories. */
export function keepHeapSmall(): void {
  setV8Flags("--semi-space-growth-factor=1", "--heap-growing-percent=20", "--no-incremental-marking");
}
