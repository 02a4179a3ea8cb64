/** Writes a text that comes in pieces, without ever having all of it in memory. */
import { lstat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { ioError, replaceFile } from "./atomic.ts";
import { type Digest, RunningDigest } from "./digest.ts";
import { throwIfAborted } from "./limit.ts";

/** What is written at once. */
const CHUNK_CHARS = 256 * 1024;

/** Replaces or creates a file in one step that survives a power loss; returns the digest of its bytes. */
export async function writePieces(file: string, pieces: Iterable<string> | AsyncIterable<string>): Promise<Digest> {
  const running = new RunningDigest();
  await replaceFile(file, 0o644, async (handle) => {
    for await (const bytes of inChunks(pieces)) {
      throwIfAborted();
      running.update(bytes);
      await handle.writeFile(bytes);
    }
  });
  return running.digest();
}

/**
 * Refuses to replace a file that somebody may still need.
 * @throws {AirferryError} ERR_USAGE when anything has this name; ERR_IO
 */
export async function refuseExisting(file: string, flag: string): Promise<void> {
  try {
    await lstat(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw ioError("write", file, error);
  }
  throw new AirferryError("ERR_USAGE", `cannot write "${file}": it exists already, and is not replaced`, {
    path: file,
    hint: `give another name with ${flag}, or move that file away`,
  });
}

async function* inChunks(pieces: Iterable<string> | AsyncIterable<string>): AsyncGenerator<Buffer> {
  let text = "";
  for await (const piece of pieces) {
    text += piece;
    if (text.length < CHUNK_CHARS) continue;
    yield Buffer.from(text);
    text = "";
  }
  yield Buffer.from(text);
}
