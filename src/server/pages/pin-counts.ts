/** How the content of a release was pinned. */
import type { Inventory } from "../../bundle/inventory-types.ts";
import { countEstablished } from "../../io/established.ts";

/** How many sources a release has, and how many of them were pinned on first sight. */
export function pinsOf({ catalog }: Inventory): { sources: number; firstSight: number } {
  const counts = countEstablished(catalog.provenance);
  const generated = counts.generated ?? 0;
  return { sources: catalog.provenance.length - generated, firstSight: counts["first-sight"] ?? 0 };
}
