/** Reads a blob through a cache, for commands: all of it, or what they ask for. */
import { open } from "node:fs/promises";
import { bug } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { digestOf } from "../io/digest.ts";
import { inMemory } from "../io/open-bytes.ts";
import type { OpenBlob } from "../store/types.ts";
import { CachedBlob } from "./cached-blob.ts";
import { chunkPath } from "./chunk-folder.ts";
import type { AskCache } from "./types.ts";

/** How often a small blob is fetched that is damaged, or removed before it is read. */
const ATTEMPTS = 4;

/**
 * Opens a blob; what is read of it was compared with its digest.
 * @throws {AirferryError} ERR_OBJECT_STORAGE, ERR_STORE_INVALID
 */
export async function openThrough(dir: string, ask: AskCache, digest: Digest): Promise<OpenBlob> {
  const facts = await ask({ kind: "open", digest });
  if (facts === undefined || !("size" in facts)) return bug("a cache that says nothing of a blob");
  if (facts.pieces === undefined) return { bytes: inMemory(await readChunk(dir, ask, digest)), close: closeNothing };
  const blob = new CachedBlob({ digest, size: facts.size, pieces: facts.pieces }, { dir, ask });
  return {
    bytes: {
      size: blob.size,
      async read(position, length) {
        const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, blob.size - position)));
        return buffer.subarray(0, await blob.fill(buffer, buffer.length, position));
      },
    },
    close: closeNothing,
  };
}

async function closeNothing(): Promise<void> {}

async function readChunk(dir: string, ask: AskCache, digest: Digest): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    const bytes = await readWhole(chunkPath(dir, digest));
    if (bytes !== undefined && digestOf(bytes) === digest) return bytes;
    if (attempt >= ATTEMPTS) return bug("a cache that does not keep what it fetched");
    await ask({ kind: "discard", chunk: digest });
    await ask({ kind: "open", digest });
  }
}

async function readWhole(file: string): Promise<Buffer | undefined> {
  const handle = await open(file, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  if (handle === undefined) return undefined;
  try {
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}
