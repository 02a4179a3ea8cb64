/** Writes `data.recipes` and `data.files` of a bundle. docs/format.md, "Recipes" and "Files of ISOs". */
import { join } from "node:path";
import { formatFileList, type ListedIso } from "../bundle/file-list.ts";
import { MAX_FILES_BYTES } from "../bundle/format-limits.ts";
import { placesOf } from "../bundle/inventory.ts";
import type { InventoryEntry, WrittenInventory } from "../bundle/inventory-types.ts";
import { FILES_NAME, RECIPES_NAME } from "../bundle/media-names.ts";
import { formatRecipes, type WrittenRecipe } from "../bundle/recipe-bytes.ts";
import type { WorkFolder } from "../bundle/work-folder.ts";
import { replaceFile } from "../io/atomic.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { isoFiles } from "../sources/iso-files.ts";
import { earlierIsos } from "./earlier-files.ts";
import { digestFiles, listedIso } from "./iso-digests.ts";
import type { PackJob } from "./job.ts";
import type { LeftOutItem } from "./left-out.ts";
import type { RecipePlanner } from "./plan-recipes.ts";

/** A written file, as a line of SHA256SUMS. */
type Written = { name: string; digest: Digest }[];

/** Writes how entries are built; nothing if none is. */
export async function writeRecipes(
  dir: string,
  entries: Iterable<InventoryEntry>,
  leftOut: readonly LeftOutItem[],
): Promise<Written> {
  const built = new Map(leftOut.flatMap((it) => (it.built === undefined ? [] : [[it.digest, it.built.ranges]])));
  const recipes = new Map<Digest, WrittenRecipe>();
  for (const { digest, size, from } of entries) {
    const ranges = built.get(digest);
    if (from === "recipe" && ranges !== undefined) recipes.set(digest, { digest, size, ranges });
  }
  if (recipes.size === 0) return [];
  return write(dir, RECIPES_NAME, formatRecipes([...recipes.values()]));
}

/**
 * Writes which files are inside of the ISOs of a bundle, as far as that can be seen here: of those that it carries, and
 * of those that an earlier bundle tells it of. Nothing if there are none.
 */
export async function writeFileList(
  dir: string,
  { out, pool }: PackJob,
  bundle: { inventory: WrittenInventory; work: WorkFolder; planner: RecipePlanner | undefined },
): Promise<Written> {
  const { inventory, work, planner } = bundle;
  const paths = new Set(inventory.catalog.isos.map((it) => it.path));
  const isos = new Map(inventory.entries.filter((it) => paths.has(it.path)).map((it) => [it.digest, it]));
  if (isos.size === 0) return [];
  const placeOf = placesOf(inventory.entries);
  const isLookedAt = (digest: Digest) => planner?.filesOf(digest) !== undefined;
  const isAllKnown = [...isos.keys()].every(isLookedAt);
  const isNew = (digest: Digest, size: number) => isos.get(digest)?.size === size && !isLookedAt(digest);
  const known = isAllKnown ? new Map<Digest, ListedIso>() : await earlierIsos(out, isNew);
  const found: ListedIso[] = [];
  for (const entry of isos.values()) {
    const { digest, size, path } = entry;
    const offset = placeOf(entry);
    const { volumes } = work;
    const files = planner?.filesOf(digest);
    const listed = known.get(digest);
    if (files !== undefined) found.push(listedIso(digest, size, files));
    else if (listed !== undefined) found.push(listed);
    else if (offset !== undefined) {
      const inside = await isoFiles(volumes.range(offset, size), path);
      const digested = await digestFiles(inside, (it) => volumes.pieces(offset + it.offset, it.size), pool);
      found.push(listedIso(digest, size, digested));
    }
  }
  const useful = found.filter((it) => it.files.length > 0);
  const bytes = formatFileList(useful);
  return useful.length === 0 || bytes.length > MAX_FILES_BYTES ? [] : write(dir, FILES_NAME, bytes);
}

async function write(dir: string, name: string, bytes: Buffer): Promise<Written> {
  await replaceFile(join(dir, name), 0o644, (handle) => handle.writeFile(bytes));
  return [{ name, digest: digestOf(bytes) }];
}
