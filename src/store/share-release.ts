/** A release as plain data that goes to a thread: what is large of it is memory that both share. */
import { type SharedInventory, sharedInventory, shareInventory } from "../bundle/shared-inventory.ts";
import type { Release } from "./types.ts";

export type SharedRelease = Omit<Release, "inventory" | "entries"> & { inventory: SharedInventory };

/** Of a release that was read from its record. */
export function shareRelease({ inventory, entries: _, ...rest }: Release): SharedRelease {
  return { ...rest, inventory: shareInventory(inventory) };
}

/** The release in another thread. */
export function sharedRelease({ inventory: shared, ...rest }: SharedRelease): Release {
  const inventory = sharedInventory(shared);
  return { ...rest, inventory, entries: inventory.entries };
}
