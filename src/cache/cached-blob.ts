/**
 * A blob above 1 MiB, read from the chunks of a cache: those that are missing are asked for, and everybody who reads on
 * has the next ones fetched meanwhile. What was not fetched since this process asked for it is compared with its digest
 * when it is first read, and again after its file changed; a damaged chunk is fetched again.
 */
import { createHash } from "node:crypto";
import { close, fstat, futimes, open, read } from "node:fs";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { buffersUsed } from "../io/flat-memory.ts";
import { PIECE_BYTES, pieceCount, pieceDigest } from "../io/piece-digests.ts";
import { chunkOf, chunkPath } from "./chunk-folder.ts";
import { readFromMemory, type SharedMemory } from "./piece-memory.ts";
import type { AskCache, BlobPieceFacts } from "./types.ts";

/** Pieces that are fetched before anybody asks for them: as many as were read one after the other, up to this. */
const MAX_AHEAD = 32;
/** So many at once, for whoever said that they will be read. */
const FIRST_AHEAD = 8;
/** What one request brings: fewer are not worth one. */
const STEP = 8;
/** Readers of one blob that are followed, each at its own place. */
const MAX_READERS = 64;
/** How often a chunk is fetched that is removed or damaged before it is read. */
const ATTEMPTS = 4;
/** Clocks of file systems are so much behind. */
const CLOCK_MS = 20;
/** How exact it is known when a chunk was last used. */
export const USED_MS = 600_000;

// A FileHandle of node:fs/promises costs as much of the processor as a small read.
const openFile = promisify(open);
const statFile = promisify(fstat);
const readFile = promisify(read);
const touchFile = promisify(futimes);

/** Somebody who reads piece by piece. */
interface Reading {
  /** How many pieces to fetch before they are asked for. */
  window: number;
  /** Up to which piece, exclusive, that was begun. */
  begun: number;
  /** Up to which piece, exclusive, it will read. */
  end: number;
  /** How many to fetch ahead as soon as one is missing. */
  first: number;
}

/** How a blob is read. */
interface ReadOptions {
  /** The folder of the cache. */
  dir: string;
  ask: AskCache;
  /** Compare with the digest each time. */
  isAlways?: boolean;
  /** Called for each piece that was in the cache. */
  onHit?: () => void;
}

/** Reads one blob. Holds nothing open. */
export class CachedBlob {
  readonly size: number;
  readonly #dir: string;
  readonly #digest: Digest;
  readonly #lists: readonly Uint8Array[];
  readonly #ask: AskCache;
  readonly #isAlways: boolean;
  readonly #onHit: () => void;
  readonly #right: Float64Array;
  readonly #asked: Float64Array;
  readonly #memory: SharedMemory;
  /** By the piece that they will read next. */
  readonly #readings = new Map<number, Reading>();

  constructor(
    { digest, size, pieces }: { digest: Digest; size: number; pieces: BlobPieceFacts },
    { dir, ask, isAlways = false, onHit = () => {} }: ReadOptions,
  ) {
    this.#onHit = onHit;
    this.size = size;
    this.#digest = digest;
    this.#lists = pieces.lists;
    this.#right = pieces.right;
    this.#asked = pieces.asked;
    this.#memory = pieces.memory;
    this.#dir = dir;
    this.#ask = ask;
    this.#isAlways = isAlways;
  }

  /**
   * Fills `target` from `position`; returns the number of bytes, fewer only at the end of the blob.
   * @throws {AirferryError} ERR_OBJECT_STORAGE for what is not here while the bucket does not answer;
   *   ERR_STORE_INVALID for bytes of the bucket that are not what was signed
   */
  async fill(target: Uint8Array, length: number, position: number): Promise<number> {
    const end = Math.min(position + length, this.size);
    for (let at = position; at < end; ) {
      const index = Math.floor(at / PIECE_BYTES);
      const start = index * PIECE_BYTES;
      const to = Math.min(end, start + PIECE_BYTES);
      await this.#read(index, target.subarray(at - position, to - position), at - start);
      at = to;
    }
    return Math.max(0, end - position);
  }

  /**
   * Brings the piece at a position, and begins to bring what follows up to `end`, exclusive: somebody will read it.
   * @throws {AirferryError} as {@link CachedBlob.fill}
   */
  async prepare(position: number, end: number): Promise<void> {
    const index = Math.floor(position / PIECE_BYTES);
    const last = pieceCount(Math.min(end, this.size));
    if (!this.#readings.has(index)) this.#follow(index, { window: 0, begun: index, end: last, first: FIRST_AHEAD });
    await this.fill(new Uint8Array(1), 1, position);
  }

  async #read(index: number, target: Uint8Array, offset: number): Promise<void> {
    const size = Math.min(PIECE_BYTES, this.size - index * PIECE_BYTES);
    const reading = this.#readings.get(index) ?? { window: 0, begun: index, end: this.#right.length, first: 1 };
    if (offset + target.length === size) this.#goesOn(index, reading);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.#lists.some((it) => readFromMemory(this.#memory, pieceDigest(it, index), target, offset))) {
        if (attempt === 0) this.#onHit();
        return;
      }
      const file = await this.#openChunk(index);
      if (file === undefined) {
        this.#readsMissing(index, reading);
        this.#note(index, reading.begun);
        await this.#ask({
          kind: "pieces",
          digest: this.#digest,
          first: index,
          count: 1,
          ahead: Math.max(0, reading.begun - index - 1),
        });
        continue;
      }
      try {
        if (await this.#readFile(file, index, size, target, offset)) {
          if (attempt === 0) this.#onHit();
          return;
        }
      } finally {
        close(file.fd, () => {});
      }
      await this.#ask({ kind: "discard", chunk: file.chunk });
    }
    throw new AirferryError("ERR_IO", `cannot keep piece ${index} of ${this.#digest} in "${this.#dir}"`, {
      hint: "the cache is too small for what is asked of it, or its disk is damaged: give more with --cache-size",
    });
  }

  async #openChunk(index: number): Promise<{ fd: number; chunk: Digest } | undefined> {
    for (const list of this.#lists) {
      const chunk = chunkOf(list, index);
      const fd = await openFile(chunkPath(this.#dir, chunk), "r").catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
      });
      if (fd !== undefined) return { fd, chunk };
    }
    return undefined;
  }

  /** Reads a part of a chunk; false when it is damaged. */
  async #readFile(
    { fd, chunk }: { fd: number; chunk: Digest },
    index: number,
    size: number,
    target: Uint8Array,
    offset: number,
  ): Promise<boolean> {
    const stats = await statFile(fd);
    if (!stats.isFile() || stats.size !== size) return false;
    const asked = this.#asked[index] ?? 0;
    if (asked > 0 && stats.mtimeMs + CLOCK_MS >= asked && this.#right[index] === 0) this.#right[index] = stats.ctimeMs;
    if (this.#right[index] === stats.ctimeMs && !this.#isAlways) {
      await readAll(fd, target, offset);
    } else {
      const isWhole = target.length === size;
      const whole = isWhole ? target : Buffer.allocUnsafeSlow(size);
      await readAll(fd, whole, 0);
      if (`sha256:${createHash("sha256").update(whole).digest("hex")}` !== chunk) return false;
      this.#right[index] = stats.ctimeMs;
      if (!isWhole) {
        target.set(whole.subarray(offset, offset + target.length));
        buffersUsed(size);
      }
    }
    const now = Date.now();
    if (now - Math.max(stats.atimeMs, stats.mtimeMs) > USED_MS) {
      await touchFile(fd, now / 1000, stats.mtimeMs / 1000).catch(() => {});
      this.#right[index] = (await statFile(fd)).ctimeMs;
    }
    return true;
  }

  /** Somebody is at the end of a piece, and will read the next. */
  #goesOn(index: number, reading: Reading): void {
    this.#readings.delete(index);
    if (index + 1 >= reading.end) return;
    this.#follow(index + 1, reading);
    if (reading.window === 0) return;
    const first = Math.max(reading.begun, index + 1);
    const window = Math.min(MAX_AHEAD, reading.window * 2);
    const wanted = Math.min(reading.end, index + 1 + window) - first;
    // The next request is made when it is worth one.
    if (wanted <= 0 || wanted < Math.min(STEP, reading.window, reading.end - first)) return;
    const end = first + (wanted > STEP && first + wanted < reading.end ? wanted - (wanted % STEP) : wanted);
    reading.window = window;
    reading.begun = end;
    this.#note(first, end);
    // Whoever reads them hears of a fault.
    this.#ask({ kind: "pieces", digest: this.#digest, first, count: 0, ahead: end - first }).catch(() => {});
  }

  #follow(next: number, reading: Reading): void {
    this.#readings.set(next, reading);
    if (this.#readings.size <= MAX_READERS) return;
    const [oldest] = this.#readings.keys();
    if (oldest !== undefined) this.#readings.delete(oldest);
  }

  /** A piece is not here: from now on the next ones are fetched ahead. */
  #readsMissing(index: number, reading: Reading): void {
    reading.window = Math.min(MAX_AHEAD, Math.max(reading.first, reading.window * 2));
    reading.begun = Math.max(reading.begun, Math.min(reading.end, index + reading.window), index + 1);
  }

  #note(first: number, end: number): void {
    const now = Date.now();
    for (let index = first; index < end; index++) {
      this.#asked[index] = now;
      this.#right[index] = 0;
    }
  }
}

async function readAll(fd: number, target: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await readFile(fd, target, done, target.length - done, position + done);
    if (bytesRead === 0) throw Object.assign(new Error("it ends early"), { code: "EIO" });
    done += bytesRead;
  }
}
