/**
 * Lists of the digests of pieces that were found out by reading whole blobs, of which no release has such a list. Each
 * file ends in a digest of its own.
 */
import { hash } from "node:crypto";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { PIECE_DIGEST_BYTES, pieceCount } from "../io/piece-digests.ts";
import { readSmall } from "../io/safe-open.ts";

const FOLDER = "lists";

/** Reads the list of a blob of this size; undefined when there is none, or it is damaged. */
export async function readFoundList(dir: string, digest: Digest, size: number): Promise<Uint8Array | undefined> {
  const length = pieceCount(size) * PIECE_DIGEST_BYTES;
  const bytes = await readSmall(join(dir, FOLDER, hexOf(digest)), length + PIECE_DIGEST_BYTES).catch(
    (error: unknown) => {
      if (!(error instanceof AirferryError)) throw error;
    },
  );
  if (bytes === undefined || bytes.length !== length + PIECE_DIGEST_BYTES) return undefined;
  const list = bytes.subarray(0, length);
  return hash("sha256", list, "buffer").equals(bytes.subarray(length)) ? list : undefined;
}

/** Keeps the list of a blob. @throws {AirferryError} ERR_IO, ERR_SPACE */
export async function keepFoundList(dir: string, digest: Digest, list: Buffer): Promise<void> {
  const file = join(dir, FOLDER, hexOf(digest));
  const temporary = `${file}.tmp-${process.pid}`;
  try {
    await mkdir(join(dir, FOLDER), { recursive: true });
    await writeFile(temporary, Buffer.concat([list, hash("sha256", list, "buffer")]), { mode: 0o644 });
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw ioError("write", file, error);
  }
}
