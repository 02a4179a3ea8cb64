/** Writes a text that comes in pieces, without ever having all of it in memory. */
import { lstat } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { ioError, replaceFile } from "./atomic.ts";
import { type Digest, RunningDigest } from "./digest.ts";
import { throwIfAborted } from "./limit.ts";

/** What is written at once. */
const CHUNK_BYTES = 256 * 1024;
/** What is encoded at once: V8 collects a text of this length with the young ones. */
const PIECE_CHARS = 8 * 1024;

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

/** The bytes of a text, always in the same memory: a chunk is whole until the next one is asked for. */
async function* inChunks(pieces: Iterable<string> | AsyncIterable<string>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  const memory = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for await (const piece of joined(pieces)) {
    for (let rest = piece; ; ) {
      const { read, written } = encoder.encodeInto(rest, memory.subarray(filled));
      filled += written;
      if (read === rest.length) break;
      rest = rest.slice(read);
      yield memory.subarray(0, filled);
      filled = 0;
    }
  }
  yield memory.subarray(0, filled);
}

/** Fewer and longer pieces. */
async function* joined(pieces: Iterable<string> | AsyncIterable<string>): AsyncGenerator<string> {
  let text = "";
  for await (const piece of pieces) {
    text += piece;
    if (text.length < PIECE_CHARS) continue;
    yield text;
    text = "";
  }
  yield text;
}
