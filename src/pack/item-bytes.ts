/** Copies bytes to an item, and compares what was written with the digests in the lock. */
import type { ItemWriter } from "../bundle/item-writer.ts";
import type { Digest, Digests } from "../io/digest.ts";
import { isExpected } from "../io/integrity.ts";
import { throwIfAborted } from "../io/limit.ts";
import type { Extent, RandomAccess } from "../io/types.ts";
import type { LaidItem } from "./lay-out.ts";

const COPY_CHUNK_BYTES = 4 * 1024 * 1024;

/** Where bytes come from, as the journal names it; `etag` changes with the bytes. */
interface Origin {
  url: string;
  etag?: string;
}

/**
 * Writes the bytes of an item behind what an earlier run left of it. If a digest is wrong then, the two may not belong
 * together, and it starts again.
 * @param bytes all of the item's; fewer are no error here
 * @returns the SHA-256 of what was written if every known digest matches
 */
export async function copyChecked(
  item: LaidItem,
  writer: ItemWriter,
  bytes: RandomAccess,
  from: Origin,
): Promise<Digest | undefined> {
  if (writer.position > 0 && !mayContinue(item, writer, from)) await writer.restart();
  const isContinued = writer.position > 0;
  writer.began(from);
  await copyRest(bytes, writer);
  const digest = await checkedDigest(item, writer);
  if (digest !== undefined || !isContinued) return digest;
  await writer.restart();
  await copyRest(bytes, writer);
  return checkedDigest(item, writer);
}

/** Whether a digest can tell that bytes of two runs belong together, and nothing says that they do not. */
function mayContinue({ integrity }: LaidItem, { validator }: ItemWriter, { url, etag }: Origin): boolean {
  return integrity !== undefined && (validator?.url !== url || validator.etag === etag);
}

async function copyRest(bytes: RandomAccess, writer: ItemWriter): Promise<void> {
  for (let { position } = writer; position < bytes.size; ) {
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

/** Parts of other bytes, one after the other. */
export function gathered(bytes: RandomAccess, extents: readonly Extent[]): RandomAccess {
  const starts: number[] = [];
  let size = 0;
  for (const it of extents) {
    starts.push(size);
    size += it.size;
  }
  const indexAt = (position: number) => {
    let low = 0;
    for (let high = starts.length; high - low > 1; ) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) <= position) low = middle;
      else high = middle;
    }
    return low;
  };
  return {
    size,
    async read(position, length) {
      const parts: Uint8Array[] = [];
      const end = Math.min(size, position + length);
      for (let index = indexAt(position); position < end; index++) {
        const { offset, size: whole } = extents[index] as Extent;
        const inside = position - (starts[index] as number);
        const part = await bytes.read(offset + inside, Math.min(whole - inside, end - position));
        parts.push(part);
        if (part.length === 0) break;
        position = (starts[index] as number) + inside + part.length;
      }
      return Buffer.concat(parts);
    },
  };
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
