/**
 * Digests of whole local files, in the main thread. Tens of thousands of small ones are read into reused memory: a new
 * buffer for each would keep the garbage collector busier than the hash.
 */
import { close, createReadStream, open, read } from "node:fs";
import { promisify } from "node:util";
import { type Digests, type HashAlgorithm, RunningDigest } from "./digest.ts";
import { currentSignal, throwIfAborted } from "./limit.ts";

const [openFile, readFrom, closeFile] = [promisify(open), promisify(read), promisify(close)];

const SMALL_BYTES = 64 * 1024;
const CHUNK_BYTES = 1024 * 1024;

/** Of small files that are being read at a time. */
const spare: Buffer[] = [];

/**
 * Reads a file of `size` bytes from front to back. Throws the system's errors as they are, and the signal's reason.
 * @param onBytes called with the bytes of each piece
 * @returns SHA-256 and `others`, and the bytes that were there: more or fewer when somebody else writes it
 */
export async function digestsOfFile(
  file: string,
  size: number,
  others: readonly HashAlgorithm[],
  onBytes?: (bytes: number) => void,
): Promise<{ digests: Digests; read: number }> {
  const running = new RunningDigest(others);
  let total = 0;
  if (size < SMALL_BYTES) {
    throwIfAborted();
    const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
    const handle = await openFile(file, "r");
    try {
      for (;;) {
        const { bytesRead } = await readFrom(handle, buffer, 0, SMALL_BYTES, total);
        running.update(buffer.subarray(0, bytesRead));
        total += bytesRead;
        onBytes?.(bytesRead);
        // A regular file gives as much as it has.
        if (bytesRead < SMALL_BYTES) break;
      }
    } finally {
      spare.push(buffer);
      await closeFile(handle);
    }
  } else {
    for await (const chunk of createReadStream(file, { highWaterMark: CHUNK_BYTES, signal: currentSignal() })) {
      running.update(chunk);
      total += chunk.length;
      onBytes?.(chunk.length);
    }
  }
  return { digests: running.digests(), read: total };
}
