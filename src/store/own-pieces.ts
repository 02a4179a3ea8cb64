/**
 * What a store has of an entry that is not whole: a damaged blob, or what earlier imports left in the quarantine.
 * Recipes take good pieces from it. docs/format.md, "Recipes".
 */
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { PieceList } from "../bundle/piece-list.ts";
import type { Recipe } from "../bundle/recipe-list.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, hexOf, parseHex } from "../io/digest.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { PIECE_BYTES, type PieceRun, pieceDigest } from "../io/piece-digests.ts";
import type { Store } from "./store.ts";

/** So many pieces are read at once. */
const STEP_PIECES = 64;

/**
 * The file that has all pieces which the recipe takes from its entry; undefined if there is none, and in object
 * storage, which keeps nothing that is not whole.
 */
export async function findOwnPieces(
  recipe: Recipe,
  store: Store,
  pieces: PieceList | undefined,
  pool: HashPool,
): Promise<string | undefined> {
  const list = await pieces?.of(recipe.digest);
  if (list === undefined || store.bucket !== undefined) return undefined;
  const runs = recipe.ownPieces();
  for (const file of [store.blobPath(recipe.digest), ...(await partsOf(store.dir, recipe.digest))]) {
    const found = await lstat(file).catch(() => undefined);
    const last = runs.at(-1);
    const end = last === undefined ? 0 : Math.min(recipe.size, (last.first + last.count) * PIECE_BYTES);
    if (found?.isFile() !== true || found.size < end) continue;
    if (await areRight(file, recipe.size, runs, list, pool)) return file;
  }
  return undefined;
}

/** Files of an entry in the quarantines of unfinished imports. */
async function partsOf(dir: string, digest: Digest): Promise<string[]> {
  const root = join(dir, "incoming");
  const names = await readdir(root).catch(() => []);
  const parts = names.filter((it) => parseHex(it) !== undefined).map((it) => join(root, it, "parts", hexOf(digest)));
  return parts.flatMap((it) => [`${it}.pieces`, it]);
}

async function areRight(
  file: string,
  size: number,
  runs: readonly PieceRun[],
  list: Uint8Array,
  pool: HashPool,
): Promise<boolean> {
  for (const { first, count } of runs) {
    for (let index = first; index < first + count; index += STEP_PIECES) {
      const step = Math.min(STEP_PIECES, first + count - index);
      const hasher = pool.openPieces();
      try {
        const offset = index * PIECE_BYTES;
        await hasher.advance({ file, offset, length: Math.min(size, offset + step * PIECE_BYTES) - offset });
        const actual = await hasher.pieces();
        for (let it = 0; it < step; it++)
          if (Buffer.compare(pieceDigest(actual, it), pieceDigest(list, index + it)) !== 0) return false;
      } catch (error) {
        if (!(error instanceof AirferryError)) throw error;
        return false;
      } finally {
        hasher.discard();
      }
    }
  }
  return true;
}
