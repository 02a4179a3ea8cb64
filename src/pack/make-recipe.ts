/**
 * How one ISO is built: whole files of it that the far side has, found by their digests, zeros, and what is left, which
 * is carried. docs/format.md, "Recipes".
 */
import type { RecipeRange, RecipeSource } from "../bundle/recipe-list.ts";
import type { Digest } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import type { Extent, RandomAccess } from "../io/types.ts";
import type { DigestedFile } from "./iso-digests.ts";

/** What lies between files is zeros or not by this unit. */
const SECTOR_BYTES = 2048;
/** A multiple of it. */
const READ_BYTES = 4 * 1024 * 1024;
const NOTHING = Buffer.alloc(SECTOR_BYTES);

/** Where the bytes of a file are on the far side. */
export interface SourcePlace {
  source: RecipeSource;
  offset: number;
}

/** A range of the ISO, and where its bytes come from. */
type Piece =
  | { from: "source"; at: SourcePlace; length: number }
  | { from: "zeros" | "carried"; offset: number; length: number };

/** A file of this host with an ISO in it. */
export interface IsoPlace {
  file: string;
  /** Where it begins. */
  offset: number;
}

/** Of an item that the far side builds. */
export interface BuiltBytes extends IsoPlace {
  ranges: readonly RecipeRange[];
  /** Digests of its pieces. */
  pieces: Uint8Array;
}

/** A recipe whose carried bytes have no name yet. */
interface MadeRecipe {
  /** Parts of the ISO that are carried, in their order; none that follow each other. */
  carried: readonly Extent[];
  /** Bytes of these. */
  carriedBytes: number;
  /** @param from what carries these bytes, one after the other */
  ranges(from: RecipeSource | undefined): RecipeRange[];
}

/**
 * Makes a recipe. `placeOf` finds files by digest and size, `bytes` is the whole ISO, of which only what is found
 * nowhere is read.
 */
export async function makeRecipe(
  bytes: RandomAccess,
  files: readonly DigestedFile[],
  placeOf: (digest: Digest, size: number) => SourcePlace | undefined,
): Promise<MadeRecipe> {
  const pieces: Piece[] = [];
  let position = 0;
  for (const { at, extent } of foundExtents(files, placeOf)) {
    // They do not overlap, so this only says it again.
    if (extent.offset < position) continue;
    await addGap(bytes, position, extent.offset, pieces);
    add(pieces, { from: "source", at, length: extent.size });
    position = extent.offset + extent.size;
  }
  await addGap(bytes, position, bytes.size, pieces);
  const carried = pieces.flatMap((it) => (it.from === "carried" ? [{ offset: it.offset, size: it.length }] : []));
  return {
    carried,
    carriedBytes: carried.reduce((sum, it) => sum + it.size, 0),
    ranges(source) {
      let offset = 0;
      return pieces.map((it): RecipeRange => {
        if (it.from === "source") return { source: it.at.source, offset: it.at.offset, length: it.length };
        if (it.from === "zeros" || source === undefined) return { offset: 0, length: it.length };
        offset += it.length;
        return { source, offset: offset - it.length, length: it.length };
      });
    },
  };
}

/** The extents of files that are found somewhere, in the order of the ISO: one operation each. */
function foundExtents(
  files: readonly DigestedFile[],
  placeOf: (digest: Digest, size: number) => SourcePlace | undefined,
): { at: SourcePlace; extent: Extent }[] {
  const found = files.flatMap(({ digest, size, extents }) => {
    const place = placeOf(digest, size);
    if (place === undefined) return [];
    let { offset } = place;
    return extents.map((extent) => {
      const at = { source: place.source, offset };
      offset += extent.size;
      return { at, extent };
    });
  });
  return found.sort((a, b) => a.extent.offset - b.extent.offset);
}

/** Divides what is found nowhere into zeros and what is carried. */
async function addGap(bytes: RandomAccess, from: number, to: number, pieces: Piece[]): Promise<void> {
  for (let position = from; position < to; ) {
    throwIfAborted();
    // The first read ends with a sector, so that all others begin with one.
    const length = Math.min(to - position, READ_BYTES - (position % SECTOR_BYTES));
    const chunk = await bytes.read(position, length);
    if (chunk.length !== length) throw new Error("the file ends early");
    for (let at = 0; at < length; ) {
      const part = chunk.subarray(at, at + SECTOR_BYTES - ((position + at) % SECTOR_BYTES));
      const isZero = NOTHING.compare(part, 0, part.length, 0, part.length) === 0;
      add(pieces, { from: isZero ? "zeros" : "carried", offset: position + at, length: part.length });
      at += part.length;
    }
    position += length;
  }
}

/** Adds a piece, or makes the last one longer. */
function add(pieces: Piece[], piece: Piece): void {
  const last = pieces.at(-1);
  if (last !== undefined && last.from === piece.from && follows(last, piece)) last.length += piece.length;
  else pieces.push(piece);
}

function follows(last: Piece, piece: Piece): boolean {
  if (last.from !== "source" || piece.from !== "source") return true;
  const { source, offset } = last.at;
  return source.digest === piece.at.source.digest && offset + last.length === piece.at.offset;
}
