/**
 * Reads blobs of packed images from the store: everything is hashed on the way, so a bit error of the disk is detected
 * here and not by the host that starts a container. See OCI image-spec v1.1, descriptor.md, "Verification".
 */

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { Readable } from "node:stream";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { currentSignal, throwIfAborted } from "../io/limit.ts";
import { shellWord } from "../io/shell.ts";
import type { OciDigest } from "../oci/oci-digest.ts";
import type { OpenBlob } from "./types.ts";

/** A blob and its file in the store. */
export interface PackedBlob {
  digest: OciDigest;
  file: string;
  /** Bytes. */
  size: number;
  /** Opens it, where it is no file. */
  open?: (() => Promise<OpenBlob>) | undefined;
}

/** 64 KiB chunks cost a third of the speed. */
const READ_BUFFER_BYTES = 1024 * 1024;

/**
 * Reads one blob as a stream that fails before its last chunk unless all bytes are correct. Read it to its end or
 * destroy it.
 * @param sent called with the bytes of each chunk as it is sent
 * @throws {AirferryError} by the stream: ERR_STORE_INVALID when size or digest differ, ERR_IO
 */
export function readPackedBlob(blob: PackedBlob, sent?: (bytes: number) => void): Readable {
  return Readable.from(chunksOf(blob, sent), { objectMode: false, highWaterMark: READ_BUFFER_BYTES });
}

async function* chunksOf(blob: PackedBlob, sent?: (bytes: number) => void): AsyncGenerator<Buffer> {
  const [algorithm] = blob.digest.split(":") as [string];
  const hash = createHash(algorithm);
  let size = 0;
  // The last chunk is sent once all bytes are known to be right: a receiver with the full length considers its request
  // complete.
  let held: Buffer | undefined;
  const give = (chunk: Buffer) => {
    sent?.(chunk.length);
    return chunk;
  };
  try {
    for await (const chunk of bytesOf(blob)) {
      hash.update(chunk);
      size += chunk.length;
      // One byte too many is as wrong as one too few, and receivers count.
      if (size > blob.size) break;
      if (held !== undefined) yield give(held);
      held = chunk;
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") throw damaged(blob.digest, blob.file, "no such file");
    throw ioError("read", blob.file, cause);
  }
  const actual = `${algorithm}:${hash.digest("hex")}`;
  if (size !== blob.size || actual !== blob.digest) throw damaged(blob.digest, blob.file, `${size} bytes, ${actual}`);
  if (held !== undefined) yield give(held);
}

async function* bytesOf({ file, size, open }: PackedBlob): AsyncGenerator<Buffer> {
  if (open === undefined) {
    yield* createReadStream(file, { highWaterMark: READ_BUFFER_BYTES, signal: currentSignal() });
    return;
  }
  const { bytes, close } = await open();
  try {
    for (let at = 0; at < Math.max(size, bytes.size); ) {
      throwIfAborted();
      const { buffer, byteOffset, length } = await bytes.read(at, READ_BUFFER_BYTES);
      if (length === 0) return;
      yield Buffer.from(buffer, byteOffset, length);
      at += length;
    }
  } finally {
    await close();
  }
}

/** The error for bytes in the store that changed since the import. */
export function damaged(digest: OciDigest, file: string, actual: string): AirferryError {
  return new AirferryError(
    "ERR_STORE_INVALID",
    `cannot read blob ${digest} of the store: it is damaged: expected ${digest}, got ${actual}`,
    {
      path: file,
      expected: digest,
      actual,
      hint: `check the disk, then unpack the bundle again without the file: rm -f ${shellWord(file)}`,
    },
  );
}
