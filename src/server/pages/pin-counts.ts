/** How the content of a release was pinned. */
import type { Inventory } from "../../bundle/inventory-types.ts";

/** How many sources a release has, and how many of them were pinned on first sight. */
export function pinsOf({ catalog }: Inventory): { sources: number; firstSight: number } {
  const sources = catalog.provenance.filter((it) => it.established !== "generated");
  return { sources: sources.length, firstSight: sources.filter((it) => it.established === "first-sight").length };
}
