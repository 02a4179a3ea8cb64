/** Names the entries that a damaged part of a bundle affects, so that people know what a bad volume costs. */
import { printableName } from "./entry-paths.ts";
import { streamEntries } from "./inventory.ts";
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
  const inside = streamEntries(inventory).filter((entry) => {
    const from = frameStart(entry);
    const to = frameEnd(entry);
    if (to <= volume.position || from >= endOf(volume)) return false;
    while (next < damages.length && endOf(damages[next] as StreamRange) <= from) next++;
    return next < damages.length && (damages[next] as StreamRange).position < to;
  });
  const shown = inside.slice(0, SHOWN_ENTRIES).map((it) => `"${printableName(it.path, 120)}"`);
  if (inside.length === 0) return "no entries";
  return `${shown.join(", ")}${inside.length > shown.length ? ` and ${inside.length - shown.length} more` : ""}`;
}

function endOf(it: StreamRange): number {
  return it.position + it.length;
}
