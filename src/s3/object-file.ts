/** Objects from and to local files: documents that are large, and blobs while they are repaired. */
import { open } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import type { Bucket } from "./bucket.ts";
import { PartBuffers, upload } from "./s3-upload.ts";

/**
 * Writes a file as an object, whatever is there under its key.
 * @throws {AirferryError} ERR_DIGEST_MISMATCH when the file does not have the digest, and nothing was written; ERR_IO;
 *   ERR_SPACE, ERR_OBJECT_STORAGE
 */
export async function uploadFile(bucket: Bucket, key: string, file: string, digest: Digest): Promise<void> {
  const handle = await open(file).catch((error: unknown) => Promise.reject(ioError("read", file, error)));
  try {
    const { size } = await handle.stat();
    const fill = async (position: number, into: Buffer) => {
      for (let at = 0; at < into.length; ) {
        const { bytesRead } = await handle
          .read(into, at, into.length - at, position + at)
          .catch((error: unknown) => Promise.reject(ioError("read", file, error)));
        // A file that became shorter has another digest.
        if (bytesRead === 0) into.fill(0, at);
        at += bytesRead === 0 ? into.length - at : bytesRead;
      }
    };
    const end = await upload(bucket, key, { size, digest, fill, isSuspect: true }, new PartBuffers());
    if (end.is !== "differs") return;
    throw new AirferryError(
      "ERR_DIGEST_MISMATCH",
      `cannot copy "${file}": digest mismatch: expected ${digest}, got ${end.digest}`,
      {
        path: file,
        expected: digest,
        actual: end.digest,
      },
    );
  } finally {
    await handle.close();
  }
}

/** Reads an object of a known size into an existing file. @throws {AirferryError} ERR_IO, ERR_SPACE, as Bucket.read */
export async function downloadFile(bucket: Bucket, key: string, file: string, size: number): Promise<void> {
  const handle = await open(file, "r+").catch((error: unknown) => Promise.reject(ioError("write", file, error)));
  try {
    let at = 0;
    for await (const bytes of bucket.read(key, size)) {
      await handle
        .write(bytes, 0, bytes.length, at)
        .catch((error: unknown) => Promise.reject(ioError("write", file, error)));
      at += bytes.length;
    }
  } finally {
    await handle.close();
  }
}
