/**
 * `data.pieces`: the digests of the pieces of every entry above 1 MiB. A record for each distinct digest, in their
 * order: the digest, the size, and SHA-256 of every MiB. So every record's place follows from the inventory, and
 * nothing of the file is parsed. docs/format.md, "Pieces".
 */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { AirferryError, type ErrorCode } from "../errors.ts";
import { ioError, replaceFile } from "../io/atomic.ts";
import { type Digest, hexOf, parseHex } from "../io/digest.ts";
import { hasPieces, PIECE_DIGEST_BYTES, pieceCount } from "../io/piece-digests.ts";
import { openRegular } from "../io/safe-open.ts";
import type { RandomAccess } from "../io/types.ts";
import { MAX_PIECES_BYTES } from "./format-limits.ts";
import type { InventoryEntry } from "./inventory-types.ts";
import { PIECES_NAME } from "./media-names.ts";

/** Digest and size. */
const HEAD_BYTES = PIECE_DIGEST_BYTES + 8;
const CHUNK_BYTES = 1024 * 1024;

type Sized = Pick<InventoryEntry, "digest" | "size">;

/** Where the record of one digest is. */
interface RecordPlace extends Sized {
  /** Of its first byte. */
  position: number;
  /** Bytes of the whole record. */
  length: number;
}

/** The records that belong to entries, in the order of the file. */
function recordsOf(entries: Iterable<Sized>): RecordPlace[] {
  const sizes = new Map<Digest, number>();
  for (const { digest, size } of entries) if (hasPieces(size)) sizes.set(digest, size);
  let position = 0;
  return [...sizes]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([digest, size]) => {
      const length = HEAD_BYTES + pieceCount(size) * PIECE_DIGEST_BYTES;
      position += length;
      return { digest, size, position: position - length, length };
    });
}

function headOf({ digest, size }: Sized): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.write(hexOf(digest), "hex");
  head.writeBigUInt64BE(BigInt(size), PIECE_DIGEST_BYTES);
  return head;
}

/** Whether a bundle with these entries has the file. */
export function needsPieceList(entries: Iterable<Sized>): boolean {
  for (const it of entries) if (hasPieces(it.size)) return true;
  return false;
}

/** The bytes of the file, record by record. */
function* pieceListBytes(entries: Iterable<Sized>, piecesOf: (digest: Digest) => Uint8Array): Generator<Uint8Array> {
  for (const it of recordsOf(entries)) {
    yield headOf(it);
    yield piecesOf(it.digest);
  }
}

/**
 * Writes the file into a folder; undefined if these entries need none.
 * @param piecesOf the digests of the pieces of an entry's content
 */
export async function writePieceList(
  dir: string,
  entries: Iterable<Sized>,
  piecesOf: (digest: Digest) => Uint8Array,
): Promise<{ name: string; digest: Digest } | undefined> {
  if (!needsPieceList(entries)) return undefined;
  const hash = createHash("sha256");
  await replaceFile(`${dir}/${PIECES_NAME}`, 0o644, async (handle) => {
    for (const bytes of pieceListBytes(entries, piecesOf)) {
      hash.update(bytes);
      await handle.writeFile(bytes);
    }
  });
  return { name: PIECES_NAME, digest: `sha256:${hash.digest("hex")}` };
}

/**
 * Reads the whole file once: whether it has the signed digest, and exactly the records that belong to the entries.
 * @throws {AirferryError} ERR_DIGEST_MISMATCH, ERR_SIZE_LIMIT; ERR_BUNDLE_INVALID for one that does not belong to the
 *   entries; ERR_PATH_UNSAFE, ERR_IO
 */
export async function checkPieceList(file: string, signed: Digest, entries: Iterable<Sized>): Promise<void> {
  const refuse = (code: ErrorCode, fault: string) =>
    new AirferryError(code, `cannot read "${file}": ${fault}`, { path: PIECES_NAME });
  const { handle, size } = await openRegular(file);
  try {
    if (size > MAX_PIECES_BYTES)
      throw refuse("ERR_SIZE_LIMIT", `too large: expected at most ${MAX_PIECES_BYTES} bytes, got ${size}`);
    const hash = createHash("sha256");
    const heads = headsOf(entries);
    let next = heads.next().value;
    let wrong: RecordPlace | undefined;
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    // A head may begin in one chunk and end in the next.
    for (let position = 0; ; ) {
      const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, position);
      if (bytesRead === 0) break;
      const chunk = buffer.subarray(0, bytesRead);
      hash.update(chunk);
      while (next !== undefined && next.record.position < position + bytesRead) {
        const { record, head } = next;
        const from = Math.max(record.position, position);
        const to = Math.min(record.position + HEAD_BYTES, position + bytesRead);
        const is = chunk.subarray(from - position, to - position);
        if (!is.equals(head.subarray(from - record.position, to - record.position))) wrong ??= record;
        if (to < record.position + HEAD_BYTES) break;
        next = heads.next().value;
      }
      position += bytesRead;
    }
    const actual = parseHex(hash.digest("hex"));
    if (actual !== signed) throw refuse("ERR_DIGEST_MISMATCH", `digest mismatch: expected ${signed}, got ${actual}`);
    const expected = sizeOf(recordsOf(entries));
    if (wrong !== undefined)
      throw refuse("ERR_BUNDLE_INVALID", `expected a record of ${wrong.digest} at byte ${wrong.position}`);
    if (size !== expected) throw refuse("ERR_BUNDLE_INVALID", `wrong size: expected ${expected} bytes, got ${size}`);
  } catch (error) {
    throw ioError("read", file, error);
  } finally {
    await handle.close();
  }
}

function* headsOf(entries: Iterable<Sized>): Generator<{ record: RecordPlace; head: Buffer }, undefined> {
  for (const record of recordsOf(entries)) yield { record, head: headOf(record) };
  return undefined;
}

function sizeOf(records: readonly RecordPlace[]): number {
  const last = records.at(-1);
  return last === undefined ? 0 : last.position + last.length;
}

/** Finds the pieces of single entries in a file whose bytes were checked. Reads only what is asked for. */
export class PieceList {
  readonly #places: ReadonlyMap<Digest, RecordPlace>;
  readonly #read: RandomAccess["read"];

  /** @param read of the file, or of an open one in its place */
  constructor(entries: Iterable<Sized>, read: RandomAccess["read"]) {
    this.#places = new Map(recordsOf(entries).map((it) => [it.digest, it]));
    this.#read = read;
  }

  /** The digests of the pieces of some content; undefined if it has none here, or the file is not what it should be. */
  async of(digest: Digest): Promise<Uint8Array | undefined> {
    const place = this.#places.get(digest);
    if (place === undefined) return undefined;
    const bytes = await this.#read(place.position, place.length);
    const isRight = bytes.length === place.length && headOf(place).equals(bytes.subarray(0, HEAD_BYTES));
    return isRight ? bytes.subarray(HEAD_BYTES) : undefined;
  }
}

/** Reads parts of a file, which is open only meanwhile. */
export function readingFile(file: string): RandomAccess["read"] {
  return async (position, length) => {
    const handle = await open(file, "r").catch((error: unknown) => Promise.reject(ioError("read", file, error)));
    try {
      const buffer = Buffer.allocUnsafe(length);
      const { bytesRead } = await handle.read(buffer, 0, length, position);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  };
}
