/** Local files of this host, open files, and memory, as random access to bytes. */
import { open, readFile } from "node:fs/promises";
import { digestOf } from "./digest.ts";
import { type BytesPlace, HeldBytes } from "./held-files.ts";
import type { RandomAccess } from "./types.ts";

/**
 * Opens a file for positional reads on one handle. The caller closes it. Links are followed: the path is the user's
 * own. Its `version` changes when it is written or replaced.
 */
export async function openBytes(
  file: BytesPlace,
): Promise<{ bytes: RandomAccess; version: string; close(): Promise<void> }> {
  if (file instanceof Uint8Array) {
    return { version: digestOf(file), bytes: inMemory(file), close: () => Promise.resolve() };
  }
  if (typeof file !== "string") {
    const held = new HeldBytes(file);
    return {
      version: file.map(({ held, offset, size }) => [offset, size, held.mtimeNs, held.ctimeNs].join("-")).join(" "),
      bytes: {
        size: held.size,
        async read(position, length) {
          const buffer = Buffer.allocUnsafe(Math.min(length, Math.max(0, held.size - position)));
          return buffer.subarray(0, await held.fill(buffer, buffer.length, position));
        },
      },
      close: () => Promise.resolve(),
    };
  }
  const handle = await open(file, "r");
  const found = await handle.stat({ bigint: true });
  const size = Number(found.size);
  return {
    version: [size, found.ino, found.mtimeNs, found.ctimeNs].join("-"),
    bytes: {
      size,
      async read(position, length) {
        const buffer = Buffer.allocUnsafe(Math.min(length, Math.max(0, size - position)));
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
        return buffer.subarray(0, bytesRead);
      },
    },
    close: () => handle.close(),
  };
}

/** Reads all bytes of a place, which is small. @throws as opening and reading it do */
export async function readBytes(place: BytesPlace): Promise<Buffer> {
  if (typeof place === "string") return readFile(place);
  if (place instanceof Uint8Array) return Buffer.from(place.buffer, place.byteOffset, place.length);
  const held = new HeldBytes(place);
  const buffer = Buffer.allocUnsafe(held.size);
  await held.fill(buffer, buffer.length, 0);
  return buffer;
}

/** A file of which the first bytes are in memory: it is opened only for what is read beyond them. */
export function withHead(head: Uint8Array, size: number, file: string): RandomAccess {
  return {
    size,
    async read(position, wanted) {
      const length = Math.max(0, Math.min(wanted, size - position));
      if (position + length <= head.length) return head.subarray(position, position + length);
      const { bytes, close } = await openBytes(file);
      try {
        return await bytes.read(position, length);
      } finally {
        await close();
      }
    },
  };
}

/** Bytes of this process; nobody changes them while they are read. */
export function inMemory(bytes: Uint8Array): RandomAccess {
  return {
    size: bytes.length,
    read: (position, length) => Promise.resolve(bytes.subarray(position, position + Math.max(0, length))),
  };
}
