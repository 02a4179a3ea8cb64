/** How the content of a release was pinned. */
import type { Inventory } from "../../bundle/inventory-types.ts";
import { countEstablished } from "../../io/established.ts";

/** How many sources a release has, and how many of them were pinned on first sight. */
export function pinsOf({ catalog: { provenance } }: Inventory): { sources: number; firstSight: number } {
  const counts = provenance.established ?? countEstablished(provenance);
  const { generated = 0, "first-sight": firstSight = 0 } = counts;
  return { sources: provenance.length - generated, firstSight };
}
