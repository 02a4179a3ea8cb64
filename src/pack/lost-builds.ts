/**
 * What the far side cannot build of a release whose content it lost a part of: a need file lists what did not arrive,
 * and what recipes make of that is missing too.
 */
import { join } from "node:path";
import { MAX_RECIPES_BYTES, MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import { RECIPES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { parseRecipes, type Recipe, type RecipeSource } from "../bundle/recipe-list.ts";
import { parseSums } from "../bundle/sums.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import { type PieceRun, pieceCount } from "../io/piece-digests.ts";
import { readSmall } from "../io/safe-open.ts";
import type { EarlierRelease } from "./earlier-releases.ts";

/** A file that was to be built. */
export interface LostBuild {
  digest: Digest;
  /** What else it was to be built of, which is there. */
  sources: RecipeSource[];
  /** The other pieces of it are there; absent: none are, or nothing tells. */
  pieces?: PieceRun[];
}

/**
 * The files of a release that were to be built of what is lost. Where its recipes are gone, each may be one.
 * @param isLost whether some content did not arrive
 */
export async function lostBuilds(
  release: EarlierRelease,
  { entries }: Inventory,
  isLost: (digest: Digest) => boolean,
): Promise<LostBuild[]> {
  const built = entries.filter(({ from, digest }) => from === "recipe" && !isLost(digest));
  const wanted = new Set(built.map((it) => it.digest));
  if (wanted.size === 0) return [];
  const recipes = await recipesOf(release, entries);
  return [...wanted].flatMap((digest): LostBuild[] => {
    const recipe = recipes?.get(digest);
    if (recipe === undefined) return [{ digest, sources: [] }];
    if (!recipe.sources.some((it) => isLost(it.digest))) return [];
    const sources = recipe.sources.filter((it) => it.digest !== digest && !isLost(it.digest));
    const own = recipe.ownPieces();
    return [{ digest, sources, ...(own.length > 0 && { pieces: otherPieces(own, recipe.size) }) }];
  });
}

/** Undefined if they are not here as they were signed. */
async function recipesOf(
  { folder, digest }: EarlierRelease,
  entries: Inventory["entries"],
): Promise<Map<Digest, Recipe> | undefined> {
  try {
    const sums = await readSmall(join(folder, SUMS_NAME), MAX_SUMS_BYTES);
    const expected = parseSums(sums).lines.find((it) => it.name === RECIPES_NAME)?.digest;
    const bytes = await readSmall(join(folder, RECIPES_NAME), MAX_RECIPES_BYTES);
    if (digestOf(sums) !== digest || digestOf(bytes) !== expected) return undefined;
    return await parseRecipes(bytes, entries);
  } catch {
    throwIfAborted();
    return undefined;
  }
}

/** All pieces of a file but these, which are in order. */
function otherPieces(runs: readonly PieceRun[], size: number): PieceRun[] {
  const others: PieceRun[] = [];
  let next = 0;
  for (const { first, count } of [...runs, { first: pieceCount(size), count: 0 }]) {
    if (first > next) others.push({ first: next, count: first - next });
    next = first + count;
  }
  return others;
}
