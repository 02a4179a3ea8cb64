/**
 * Keeps the heap near what is alive. V8 lets the heap of a big machine grow to several times of that; an inventory of 100,000
 * entries is then 400 MB of process instead of 220. Costs a few percent of time in short collections.
 */
import { setFlagsFromString } from "node:v8";

/** Makes this process collect garbage early from here on; for verbs that run once and have large inventories. */
export function keepHeapSmall(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
  setFlagsFromString("--heap-growing-percent=20");
}
