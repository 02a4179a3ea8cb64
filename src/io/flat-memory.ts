/**
 * Keeps the heap close to the live data. V8 lets the heap of a big machine grow to several times that size; an
 * inventory of 100,000 entries is then 400 MB of process instead of 220. Costs a few percent of time in short
 * collections.
 */
import { getHeapStatistics } from "node:v8";
import { runInNewContext } from "node:vm";
import { resetV8Flags, setV8Flags } from "./v8-flags.ts";

/** Received bytes after which their buffers are collected: fewer cost more time, more cost memory. */
const COLLECT_BYTES = 8 * 1024 * 1024;

/** Received bytes after which {@link buffersUsed} looks for dead buffers that young collections miss. */
const LOOK_BYTES = 32 * 1024 * 1024;
/** Dead or not, so many bytes of buffers are worth a look at the whole heap. */
const MUCH_BYTES = 24 * 1024 * 1024;

let uncollected = 0;
let unseen = 0;
let heapBefore = Number.POSITIVE_INFINITY;
let isSmall = false;
let collect: ((options: { type: "minor" | "major"; flavor?: "last-resort" }) => void) | undefined;

/**
 * Called with bytes received in separate buffers (from a socket); lets V8 collect the young ones at intervals. V8
 * counts a buffer as a small object and its memory separately: by default it collects the whole heap in several threads
 * after every 40 MB, which took a third of the time of a download.
 * @param areMany they belong to many small things at a time, so that some have become old when they die: the whole heap
 *   is collected too, when they have become many
 */
export function buffersUsed(bytes: number, areMany = false): void {
  uncollected += bytes;
  if (uncollected < COLLECT_BYTES) return;
  unseen += uncollected;
  uncollected = 0;
  const isLarge = areMany && unseen >= LOOK_BYTES && process.memoryUsage().arrayBuffers > MUCH_BYTES;
  if (unseen >= LOOK_BYTES) unseen = 0;
  collector()?.({ type: isLarge ? "major" : "minor" });
}

/**
 * Called by work that makes and drops many small objects while it waits for disks; collects the whole heap when it has
 * grown by a third since the last time. V8 does that by itself only sometimes: most such objects have become old before
 * they die, and it was seen to wait until the heap was three times its size.
 */
export function heapMayHaveGrown(): void {
  const { used_heap_size: used } = getHeapStatistics();
  heapBefore = Math.min(heapBefore, used);
  if (used < heapBefore + Math.max(LOOK_BYTES, heapBefore / 3)) return;
  collector()?.({ type: "major" });
  heapBefore = getHeapStatistics().used_heap_size;
}

/**
 * Collects whatever is not in use, once, and gives its memory back to the system: for a process that has loaded all
 * that it will need and stays. Keeps everybody for some tens of milliseconds.
 */
export function releaseMemory(): void {
  collector()?.({ type: "major", flavor: "last-resort" });
}

/** Entries of an inventory from which its memory is worth a collection. */
const MANY_ENTRIES = 10_000;

/**
 * Called when the inventory of a release is not needed any more, before that of the next is read: V8 does not see how
 * much memory hangs on the few objects that a table is.
 */
export function inventoryDropped({ length }: { length: number }): void {
  if (length > MANY_ENTRIES) releaseMemory();
}

function collector(): typeof collect {
  if (collect === undefined) {
    // Stays set: another thread may be just here, and the flags are those of all threads.
    setV8Flags("--expose-gc");
    collect = runInNewContext("gc") as typeof collect;
  }
  return collect;
}

/**
 * Gives V8's threads room before the process ends. Node waits for them then, while one that compiles a function waits
 * for the main thread to collect garbage if the heap is at its limit: with {@link keepHeapSmall} it is near it all the
 * time, and about one process in a thousand never ended (nodejs/node#54918). A collection raises the limit and lets
 * the threads go on that wait for one.
 */
export function leaveRoomToEnd(): void {
  if (!isSmall) return;
  isSmall = false;
  resetV8Flags("--heap-growing-percent=20");
  collector()?.({ type: "major" });
}

/** Makes this process collect garbage early from now on; for verbs that run once and have large inventories. */
export function keepHeapSmall(): void {
  isSmall = true;
  setV8Flags("--semi-space-growth-factor=1", "--heap-growing-percent=20", "--no-incremental-marking");
}
