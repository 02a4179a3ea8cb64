/**
 * `data.recipes`: how entries are built from ranges of files that the reader has, zeros, and what the bundle carries. A
 * record for each distinct digest of the entries with `"from": "recipe"`. docs/format.md, "Recipes".
 */
import { AirferryError } from "../errors.ts";
import { type Digest, parseHex } from "../io/digest.ts";
import { inTurns, Pace } from "../io/pace.ts";
import { hasPieces, PIECE_BYTES, type PieceRun } from "../io/piece-digests.ts";
import type { EntryTable } from "./entry-table.ts";
import { MAX_RECIPE_SOURCES } from "./format-limits.ts";
import { RECIPES_NAME } from "./media-names.ts";

const DIGEST_BYTES = 32;
const HEAD_BYTES = DIGEST_BYTES + 8 + 4 + 4;
const SOURCE_BYTES = DIGEST_BYTES + 8;
const OPERATION_BYTES = 4 + 8 + 8;
/** In the place of a source's number. */
const ZEROS = 0xffff_ffff;
/** Sources and operations that are read before the work may pause. */
const STEP_ITEMS = 10_000;

/** A file that ranges are taken from. */
export interface RecipeSource {
  digest: Digest;
  /** Bytes. */
  size: number;
}

/** Bytes of an entry: a range of a source, or zeros. */
export interface RecipeRange {
  /** Absent: zeros. */
  source?: RecipeSource;
  /** In the source; 0 for zeros. */
  offset: number;
  length: number;
}

/** One record of the file, read from its bytes as it is used: there may be millions of operations. */
export class Recipe {
  readonly digest: Digest;
  readonly size: number;
  /** Sorted by digest. */
  readonly sources: readonly RecipeSource[];
  readonly #operations: Buffer;
  /** Where in the entry each operation begins. */
  readonly #starts: Float64Array;

  constructor(head: RecipeSource, sources: readonly RecipeSource[], operations: Buffer, starts: Float64Array) {
    this.digest = head.digest;
    this.size = head.size;
    this.sources = sources;
    this.#operations = operations;
    this.#starts = starts;
  }

  /** The ranges that some bytes of the entry are, in order. */
  *ranges(position: number, length: number): Generator<RecipeRange> {
    const end = Math.min(this.size, position + length);
    for (let index = this.#at(position); position < end; index++) {
      const { source, offset, length: whole } = operationAt(this.#operations, index);
      const skipped = position - (this.#starts[index] as number);
      const taken = Math.min(whole - skipped, end - position);
      const from = this.sources[source];
      yield from === undefined
        ? { offset: 0, length: taken }
        : { source: from, offset: offset + skipped, length: taken };
      position += taken;
    }
  }

  /** How many bytes so many operations give from a position on. */
  lengthOf(position: number, operations: number): number {
    return (this.#starts[this.#at(position) + operations] ?? this.size) - position;
  }

  /** The pieces that it takes from the entry itself, in order; empty if it does not. */
  ownPieces(): PieceRun[] {
    const runs: PieceRun[] = [];
    for (const { source, offset, length } of this.ranges(0, this.size)) {
      if (source?.digest !== this.digest) continue;
      const first = offset / PIECE_BYTES;
      runs.push({ first, count: Math.ceil((offset + length) / PIECE_BYTES) - first });
    }
    return runs;
  }

  /** Index of the operation that gives the byte at a position. */
  #at(position: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if ((this.#starts[middle] as number) <= position) low = middle;
      else high = middle;
    }
    return low;
  }
}

/**
 * Parses the file of a bundle whose entries are these, after its digest was compared with the signed one. With pauses,
 * so that signals are handled.
 * @throws {AirferryError} ERR_BUNDLE_INVALID for anything that docs/format.md does not allow
 */
export async function parseRecipes(bytes: Buffer, entries: EntryTable): Promise<Map<Digest, Recipe>> {
  return inTurns(parsing(bytes, entries), new Pace(invalid));
}

function* parsing(bytes: Buffer, entries: EntryTable): Generator<void, Map<Digest, Recipe>> {
  const built = new Map<Digest, number>();
  for (let index = 0; index < entries.length; index++)
    if (entries.fromAt(index) === "recipe") built.set(entries.digestAt(index), entries.sizeAt(index));
  const sizeOf = (digest: Digest): number | undefined => {
    const index = entries.findDigest(digest);
    return index < 0 ? undefined : entries.sizeAt(index);
  };
  const recipes = new Map<Digest, Recipe>();
  let left = MAX_RECIPE_SOURCES;
  let at = 0;
  const take = (length: number): Buffer => {
    const part = bytes.subarray(at, at + length);
    if (part.length < length) throw invalid(`it ends at byte ${bytes.length}: expected ${length} bytes at ${at}`);
    at += length;
    return part;
  };
  for (const [digest, size] of [...built].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const start = at;
    const head = take(HEAD_BYTES);
    if (digestAt(head) !== digest || numberAt(head, DIGEST_BYTES) !== size)
      throw invalid(`expected the record of ${digest} and ${size} bytes at byte ${start}`);
    const count = head.readUInt32BE(DIGEST_BYTES + 8);
    const operations = head.readUInt32BE(DIGEST_BYTES + 12);
    if (operations === 0) throw invalid(`${digest}: expected operations`);
    left -= count;
    if (left < 0) throw invalid(`expected at most ${MAX_RECIPE_SOURCES} sources`);
    const sources = yield* readSources(take(count * SOURCE_BYTES), digest);
    const isOwn = (it: RecipeSource) => it.digest === digest && it.size === size && hasPieces(size);
    const wrong = sources.find(
      (it) => !isOwn(it) && (built.has(it.digest) || (sizeOf(it.digest) ?? it.size) !== it.size),
    );
    if (wrong !== undefined) {
      const fault = built.has(wrong.digest) ? "is built by a recipe itself" : `has ${sizeOf(wrong.digest)} bytes`;
      throw invalid(`${digest}: its source ${wrong.digest} ${fault}`);
    }
    recipes.set(digest, yield* readOperations({ digest, size }, sources, take(operations * OPERATION_BYTES)));
  }
  if (at !== bytes.length) throw invalid(`expected ${at} bytes, got ${bytes.length}`);
  return recipes;
}

function* readSources(bytes: Buffer, of: Digest): Generator<void, RecipeSource[]> {
  const sources: RecipeSource[] = [];
  for (let at = 0; at < bytes.length; at += SOURCE_BYTES) {
    const digest = digestAt(bytes, at);
    const size = numberAt(bytes, at + DIGEST_BYTES);
    const before = sources.at(-1);
    if (before !== undefined && before.digest >= digest) throw invalid(`${of}: its sources are not sorted`);
    if (size === undefined || size === 0) throw invalid(`${of}: its source ${digest} has no right size`);
    sources.push({ digest, size });
    if (sources.length % STEP_ITEMS === 0) yield;
  }
  return sources;
}

function* readOperations(head: RecipeSource, sources: readonly RecipeSource[], bytes: Buffer): Generator<void, Recipe> {
  const starts = new Float64Array(bytes.length / OPERATION_BYTES);
  const used = new Uint8Array(sources.length);
  let position = 0;
  for (let index = 0; index < starts.length; index++) {
    const { source, offset, length } = operationAt(bytes, index);
    const from = source === ZEROS ? undefined : sources[source];
    // What is no safe integer is NaN, which is neither.
    const isRange = source === ZEROS ? offset === 0 : from !== undefined && offset <= from.size - length;
    if (from?.digest === head.digest && !isOwnRange(offset, length, position, head.size))
      throw invalid(`${head.digest}: operation ${index} does not leave pieces of it where they are`);
    if (!isRange || !(length >= 1)) throw invalid(`${head.digest}: operation ${index} is not a range of its source`);
    if (length > head.size - position)
      throw invalid(`${head.digest}: its operations give more than ${head.size} bytes`);
    if (index % STEP_ITEMS === 0) yield;
    starts[index] = position;
    position += length;
    if (source !== ZEROS) used[source] = 1;
  }
  if (position !== head.size)
    throw invalid(`${head.digest}: its operations give ${position} bytes: expected ${head.size}`);
  if (used.includes(0)) throw invalid(`${head.digest}: a source is not used`);
  return new Recipe(head, sources, bytes, starts);
}

/** Whole pieces of an entry, taken from the entry itself. */
function isOwnRange(offset: number, length: number, position: number, size: number): boolean {
  const end = offset + length;
  return offset === position && offset % PIECE_BYTES === 0 && (end % PIECE_BYTES === 0 || end === size);
}

function operationAt(bytes: Buffer, index: number): { source: number; offset: number; length: number } {
  const at = index * OPERATION_BYTES;
  const source = bytes.readUInt32BE(at);
  const offset = numberAt(bytes, at + 4) ?? Number.NaN;
  return { source, offset, length: numberAt(bytes, at + 12) ?? Number.NaN };
}

function digestAt(bytes: Buffer, at = 0): Digest {
  return parseHex(bytes.toString("hex", at, at + DIGEST_BYTES)) as Digest;
}

/** A number of 64 bits; undefined if it is above 2^53-1. */
function numberAt(bytes: Buffer, at: number): number | undefined {
  const number = bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
  return Number.isSafeInteger(number) ? number : undefined;
}

function invalid(fault: string): AirferryError {
  return new AirferryError("ERR_BUNDLE_INVALID", `cannot read "${RECIPES_NAME}": ${fault}`, { path: RECIPES_NAME });
}
