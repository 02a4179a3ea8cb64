/** Compares two releases of a store by their records; runs in a thread, since inventories can be large. */
import { readRelease } from "../store/release-record.ts";
import { type Comparison, compare } from "./compare.ts";
import { contentOfInventory } from "./content.ts";

/** Plain data. */
export interface ReleaseDifferences {
  before: { created: string; signers: readonly string[] };
  after: { created: string; signers: readonly string[] };
  comparison: Comparison;
}

/**
 * Reads both records in their folders and compares them.
 * @throws {AirferryError} ERR_STORE_INVALID, ERR_NOT_FOUND as {@link readRelease}
 */
export async function compareReleases(before: string, after: string): Promise<ReleaseDifferences> {
  const read = async (folder: string) => {
    const { inventory, signers } = await readRelease(folder);
    return { created: inventory.created, signers, content: contentOfInventory(inventory, signers) };
  };
  const { content: old, ...oldSide } = await read(before);
  const { content: fresh, ...freshSide } = await read(after);
  return { before: oldSide, after: freshSide, comparison: compare(old, fresh) };
}
