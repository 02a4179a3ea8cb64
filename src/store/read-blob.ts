/** Reads blobs of any store: of a folder, where they are files, and of one that has to bring them first. */
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { openBytes } from "../io/open-bytes.ts";
import { readSmall } from "../io/safe-open.ts";
import type { OpenBlob, StoreReader } from "./types.ts";

/** Opens a blob. @throws {AirferryError} as {@link StoreReader.openBlob}; the system's error for a file */
export async function openStored(store: StoreReader, digest: Digest): Promise<OpenBlob> {
  return (await store.openBlob?.(digest)) ?? openBytes(store.blobPath(digest));
}

/**
 * Reads a small blob whole.
 * @throws {AirferryError} ERR_SIZE_LIMIT when it is over `maxBytes`; as `readSmall()` and {@link StoreReader.openBlob}
 */
export async function readStored(store: StoreReader, digest: Digest, maxBytes: number): Promise<Buffer> {
  if (store.openBlob === undefined) return readSmall(store.blobPath(digest), maxBytes);
  const { bytes, close } = await store.openBlob(digest);
  try {
    if (bytes.size > maxBytes)
      throw new AirferryError("ERR_SIZE_LIMIT", `cannot read ${digest}: too large: at most ${maxBytes} bytes`);
    const { buffer, byteOffset, length } = await bytes.read(0, bytes.size);
    return Buffer.from(buffer, byteOffset, length);
  } finally {
    await close();
  }
}
