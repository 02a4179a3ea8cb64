/**
 * Bundles that were packed before and are still under `--out`: which releases they are, and the whole content of each.
 * Their small files are enough: volumes may be gone.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { BundleIdentity } from "../bundle/bundle-identity.ts";
import { foldersOf } from "../bundle/check-finished.ts";
import { MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import { INVENTORY_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { digestOfInventory, readInventory } from "../bundle/read-inventory.ts";
import { parseSums } from "../bundle/sums.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import { readSmall } from "../io/safe-open.ts";

/** A bundle that is still here. */
export interface EarlierRelease extends BundleIdentity {
  /** Of its SHA256SUMS. */
  digest: Digest;
  /** Its folder, or the first of its media. */
  folder: string;
  /** As SHA256SUMS says. */
  inventory: Digest;
}

/** The bundles under a folder, oldest first; what cannot be read as one is ignored. */
export async function earlierReleases(out: string): Promise<EarlierRelease[]> {
  const found: EarlierRelease[] = [];
  for (const name of (await readdir(out).catch(() => [])).sort()) {
    if (name.startsWith(".")) continue;
    throwIfAborted();
    try {
      const [folder = ""] = await foldersOf(join(out, name));
      const sums = await readSmall(join(folder, SUMS_NAME), MAX_SUMS_BYTES);
      const { lines, identity } = parseSums(sums);
      const inventory = lines.find((it) => it.name === INVENTORY_NAME)?.digest;
      if (inventory !== undefined) found.push({ ...identity, digest: digestOf(sums), folder, inventory });
    } catch {
      // Something else, or damaged: what needs it will say that it is not here.
    }
  }
  return found.sort((a, b) => a.epoch - b.epoch || a.serial - b.serial);
}

/**
 * The inventory of an earlier bundle, as it was signed.
 * @throws {AirferryError} ERR_BASE_UNKNOWN when it was changed since, or is missing
 */
export async function inventoryOfEarlier({ folder, inventory }: EarlierRelease): Promise<Inventory> {
  const file = join(folder, INVENTORY_NAME);
  try {
    const actual = await digestOfInventory(file);
    if (actual !== inventory) throw new Error(`digest mismatch: expected ${inventory}, got ${actual}`);
    return await readInventory(file, inventory);
  } catch (cause) {
    throw new AirferryError("ERR_BASE_UNKNOWN", `cannot read "${file}": ${(cause as Error).message}`, {
      path: file,
      hint: "restore the small files of that bundle, or pack the whole content: without --for, --base, --overlap and --need",
      cause,
    });
  }
}
