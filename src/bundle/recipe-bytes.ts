/** Writes `data.recipes`, which recipe-list.ts reads. docs/format.md, "Recipes". */
import { type Digest, hexOf } from "../io/digest.ts";
import type { RecipeRange } from "./recipe-list.ts";

const DIGEST_BYTES = 32;
const SIZED_BYTES = DIGEST_BYTES + 8;
const OPERATION_BYTES = 20;
/** In the place of a source's number. */
const ZEROS = 0xffff_ffff;

/** How an entry is built. */
export interface WrittenRecipe {
  digest: Digest;
  size: number;
  /** In the order of the entry's bytes. */
  ranges: readonly RecipeRange[];
}

/** The bytes of the file; one recipe for each digest. */
export function formatRecipes(recipes: readonly WrittenRecipe[]): Buffer {
  return Buffer.concat(recipes.toSorted((a, b) => (a.digest < b.digest ? -1 : 1)).map(formatRecipe));
}

/** Sizes of the distinct sources of a recipe. */
function sourcesOf({ ranges }: Pick<WrittenRecipe, "ranges">): Map<Digest, number> {
  const sizes = new Map<Digest, number>();
  for (const { source } of ranges) if (source !== undefined) sizes.set(source.digest, source.size);
  return sizes;
}

/** How many sources a recipe has, and the bytes of its record. */
export function recipeSize(recipe: Pick<WrittenRecipe, "ranges">): { sources: number; bytes: number } {
  const sources = sourcesOf(recipe).size;
  return { sources, bytes: SIZED_BYTES + 8 + sources * SIZED_BYTES + recipe.ranges.length * OPERATION_BYTES };
}

function formatRecipe(recipe: WrittenRecipe): Buffer {
  const { digest, size, ranges } = recipe;
  const sources = [...sourcesOf(recipe)].sort(([a], [b]) => (a < b ? -1 : 1));
  const numbers = new Map(sources.map(([it], index) => [it, index]));
  const bytes = Buffer.alloc(recipeSize(recipe).bytes);
  let at = writeSized(bytes, 0, digest, size);
  at = bytes.writeUInt32BE(sources.length, at);
  at = bytes.writeUInt32BE(ranges.length, at);
  for (const [it, length] of sources) at = writeSized(bytes, at, it, length);
  for (const { source, offset, length } of ranges) {
    at = bytes.writeUInt32BE((source && numbers.get(source.digest)) ?? ZEROS, at);
    at = bytes.writeBigUInt64BE(BigInt(offset), at);
    at = bytes.writeBigUInt64BE(BigInt(length), at);
  }
  return bytes;
}

function writeSized(bytes: Buffer, at: number, digest: Digest, size: number): number {
  bytes.write(hexOf(digest), at, "hex");
  return bytes.writeBigUInt64BE(BigInt(size), at + DIGEST_BYTES);
}
