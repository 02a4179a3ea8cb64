/** Copies bytes to an item, and compares what was written with the digests in the lock. */
import type { ItemWriter } from "../bundle/item-writer.ts";
import type { Digest, Digests } from "../io/digest.ts";
import { isExpected } from "../io/integrity.ts";
import { throwIfAborted } from "../io/limit.ts";
import type { RandomAccess } from "../io/types.ts";
import type { LaidItem } from "./lay-out.ts";

const COPY_CHUNK_BYTES = 4 * 1024 * 1024;

/** Writes all of `bytes`, or fewer if they end early. */
export async function copyInto(bytes: RandomAccess, writer: ItemWriter): Promise<void> {
  for (let position = 0; position < bytes.size; ) {
    throwIfAborted();
    const chunk = await bytes.read(position, COPY_CHUNK_BYTES);
    if (chunk.length === 0) return;
    await writer.write(chunk);
    position += chunk.length;
  }
}

/** A part of other bytes: `size` of them starting at `offset`. */
export function slice(bytes: RandomAccess, offset: number, size: number): RandomAccess {
  return { size, read: (position, length) => bytes.read(offset + position, Math.min(length, size - position)) };
}

/** Whether the bytes match every digest of an item in the lock. */
export function hasLockedDigests(item: LaidItem, digests: Digests): boolean {
  if (item.source.from === "kept" && item.source.digest !== digests.sha256) return false;
  return item.integrity === undefined || isExpected(item.integrity, digests);
}

/** The SHA-256 of what was written if every known digest matches; undefined otherwise. */
export async function checkedDigest(item: LaidItem, writer: ItemWriter): Promise<Digest | undefined> {
  const digests = await writer.digests();
  return writer.position === item.size && hasLockedDigests(item, digests) ? digests.sha256 : undefined;
}
