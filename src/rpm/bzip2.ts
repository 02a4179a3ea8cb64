/**
 * Decompresses bzip2 data with seek-bzip, strictly: to its last byte, in one stream or several. The library decodes a
 * file in one call, so it runs in a thread that is terminated when it takes too long.
 */
import Bunzip from "seek-bzip";
import type { AirferryError } from "../errors.ts";
import { runInThread } from "../io/parser-thread.ts";

const PIECE_BYTES = 1024 * 1024;
/** Time limits for small and large files: ten times what they take on a slow machine. */
const LEAST_MS = 20_000;
const MS_PER_KB = 100;
const MOST_MS = 5 * 60_000;

interface Bzip2Limits {
  /** When there is more output, the returned data ends somewhere beyond that. */
  maxBytes: number;
  /** Default: ten times what honest data takes. */
  maxMs?: number;
  /** Creates the error for data that takes longer. */
  tooMuch(fault: string): AirferryError;
}

/** Decompresses a file in a thread. Throws for damaged or truncated data. */
export async function openBzip2(bytes: Uint8Array, limits: Bzip2Limits): Promise<Buffer> {
  const { maxBytes, tooMuch, maxMs = Math.min(MOST_MS, LEAST_MS + (bytes.length / 1000) * MS_PER_KB) } = limits;
  const open = await runInThread<Uint8Array>("bzip2", { bytes, args: [maxBytes], maxMs, tooMuch });
  return Buffer.from(open.buffer, open.byteOffset, open.byteLength);
}

/** The same in the current thread, without a time limit. */
export function decodeBzip2(bytes: Uint8Array, maxBytes: number): Buffer {
  const output = new Output(maxBytes);
  let at = 0;
  const input = Object.assign(new Bunzip.Stream(), {
    readByte: () => {
      if (at >= bytes.length) throw new Error("the data ends early");
      return bytes[at++] as number;
    },
  });
  try {
    // Without an end position, the library reads one stream, up to its checksum.
    do Bunzip.decode(input, output);
    while (at < bytes.length);
  } catch (error) {
    if (!(error instanceof Enough))
      throw (error as { errorCode?: number }).errorCode ? new Error((error as Error).message) : error;
  }
  return output.bytes();
}

class Enough extends Error {}

/** Collects bytes; throws {@link Enough} once there are enough. */
class Output {
  readonly #maxBytes: number;
  readonly #pieces: Buffer[] = [];
  #piece = Buffer.allocUnsafe(PIECE_BYTES);
  #used = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  writeByte(byte: number): void {
    this.#piece[this.#used++] = byte;
    if (this.#used < PIECE_BYTES) return;
    this.#pieces.push(this.#piece);
    this.#piece = Buffer.allocUnsafe(PIECE_BYTES);
    this.#used = 0;
    if (this.#pieces.length * PIECE_BYTES > this.#maxBytes) throw new Enough();
  }

  bytes(): Buffer {
    return Buffer.concat([...this.#pieces, this.#piece.subarray(0, this.#used)]);
  }
}
