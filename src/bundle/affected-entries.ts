/** Names the entries that a damaged part of a bundle affects, so that people know what a bad volume costs. */
import { printableName } from "./entry-paths.ts";
import { streamEntriesBehind } from "./inventory.ts";
import type { Inventory } from "./inventory-types.ts";
import { frameEnd, frameStart } from "./steps.ts";

/** A part of the stream. */
export interface StreamRange {
  position: number;
  length: number;
}

/** Further entries are counted, not named. */
const SHOWN_ENTRIES = 3;

/**
 * Names the first few entries within `volume` that overlap one of `damages`, which are in stream order; counts the
 * others.
 */
export function affectedEntries(inventory: Inventory, volume: StreamRange, damages: readonly StreamRange[]): string {
  let next = 0;
  // Both lists are in stream order and each is walked once: there may be 100,000 of either.
  const shown: string[] = [];
  let count = 0;
  for (const entry of streamEntriesBehind(inventory, volume.position)) {
    const from = frameStart(entry);
    const to = frameEnd(entry);
    if (from >= endOf(volume)) break;
    while (next < damages.length && endOf(damages[next] as StreamRange) <= from) next++;
    if (next === damages.length || (damages[next] as StreamRange).position >= to) continue;
    if (++count <= SHOWN_ENTRIES) shown.push(`"${printableName(entry.path, 120)}"`);
  }
  if (count === 0) return "no entries";
  return `${shown.join(", ")}${count > shown.length ? ` and ${count - shown.length} more` : ""}`;
}

function endOf(it: StreamRange): number {
  return it.position + it.length;
}
