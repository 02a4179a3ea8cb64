/** Local files of this host, and memory, as random access to bytes. */
import { open } from "node:fs/promises";
import type { RandomAccess } from "./types.ts";

/**
 * Opens a file for positional reads on one handle. The caller closes it. Links are followed: the path is the user's
 * own. Its `version` changes when it is written or replaced.
 */
export async function openBytes(
  file: string,
): Promise<{ bytes: RandomAccess; version: string; close(): Promise<void> }> {
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

/** Bytes of this process; nobody changes them while they are read. */
export function inMemory(bytes: Uint8Array): RandomAccess {
  return {
    size: bytes.length,
    read: (position, length) => Promise.resolve(bytes.subarray(position, position + Math.max(0, length))),
  };
}
