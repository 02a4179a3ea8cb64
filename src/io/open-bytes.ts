/** A local file of this host as random access to its bytes, with positional reads on one handle. */
import { open } from "node:fs/promises";
import type { RandomAccess } from "./types.ts";

/** The caller closes it. Links are followed: the path is the user's own. */
export async function openBytes(file: string): Promise<{ bytes: RandomAccess; close(): Promise<void> }> {
  const handle = await open(file, "r");
  const { size } = await handle.stat();
  return {
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
