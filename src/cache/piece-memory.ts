/**
 * Pieces in memory that all threads of a server share: one is there from the moment that it was found right, before it
 * is on the disk, and until its memory is needed for another. Whoever reads copies, and then looks whether it still was
 * that piece; nobody holds anything, so that no thread that ends can keep memory from others.
 */
import { bug } from "../errors.ts";
import { PIECE_BYTES, PIECE_DIGEST_BYTES } from "../io/piece-digests.ts";

/** Pieces at once: what is on its way from the bucket, and what is not on the disk yet. */
const SLOTS = 48;
/** Readers that follow have read it by then. */
const YOUNG_MS = 1000;
/** Of each slot: how often it changed (odd: now), the size of the piece, and its digest. */
const WORDS = 16;
const STATE = 0;
const SIZE = 1;
const DIGEST = 2;
const DIGEST_WORDS = PIECE_DIGEST_BYTES / Int32Array.BYTES_PER_ELEMENT;

/** The memory, for threads that read. */
export interface SharedMemory {
  table: Int32Array;
  bytes: Uint8Array;
}

/**
 * Copies bytes of a piece from memory, if it is there; false if it is not, and what is in `target` is nothing then.
 * @param digest of the piece, 32 bytes
 */
export function readFromMemory(
  { table, bytes }: SharedMemory,
  digest: Uint8Array,
  target: Uint8Array,
  offset: number,
): boolean {
  const at = findSlot(table, digest);
  if (at === undefined) return false;
  const state = Atomics.load(table, at + STATE);
  // It may have changed meanwhile.
  if (state % 2 !== 0 || findSlot(table, digest, at) !== at) return false;
  if (offset + target.length > (table[at + SIZE] ?? 0)) return false;
  const start = (at / WORDS) * PIECE_BYTES + offset;
  target.set(bytes.subarray(start, start + target.length));
  // Unlike a load, an exchange is not overtaken by the reads before it.
  return Atomics.compareExchange(table, at + STATE, state, state) === state;
}

function findSlot(table: Int32Array, digest: Uint8Array, from = 0): number | undefined {
  const words = wordsOf(digest);
  for (let at = from; at < table.length; at += WORDS) {
    if (table[at + DIGEST] !== words[0] || (table[at + STATE] ?? 1) % 2 !== 0) continue;
    if (words.every((word, index) => table[at + DIGEST + index] === word)) return at;
  }
  return undefined;
}

function wordsOf(digest: Uint8Array): Int32Array {
  return new Int32Array(Uint8Array.from(digest).buffer);
}

/** Gives memory to pieces. For the one thread that fetches them. */
export class PieceMemory {
  readonly shared: SharedMemory = {
    table: new Int32Array(new SharedArrayBuffer(SLOTS * WORDS * Int32Array.BYTES_PER_ELEMENT)),
    bytes: new Uint8Array(new SharedArrayBuffer(SLOTS * PIECE_BYTES)),
  };
  /** Slots that may be used again, with the time from when on, the oldest first. */
  readonly #free: { slot: number; sinceMs: number }[] = [];
  /** Slots from here on were never used, and take no memory. */
  #unused = 0;
  readonly #waiting: { count: number; resolve: (slots: number[]) => void }[] = [];

  /** Whether a piece is here. */
  has(digest: Uint8Array): boolean {
    return findSlot(this.shared.table, digest) !== undefined;
  }

  /**
   * Takes slots, far fewer than there are. Each is given back by {@link PieceMemory.free}; who waits for that has no
   * other.
   */
  take(count: number): Promise<number[]> {
    return new Promise((resolve) => {
      this.#waiting.push({ count, resolve });
      this.#serve();
    });
  }

  /** The memory of a slot that was taken. */
  bytesOf(slot: number): Uint8Array {
    return this.shared.bytes.subarray(slot * PIECE_BYTES, (slot + 1) * PIECE_BYTES);
  }

  /** From now on it is the piece with this digest, which the caller has checked. */
  publish(slot: number, digest: Uint8Array, size: number): void {
    const { table } = this.shared;
    const at = slot * WORDS;
    table[at + SIZE] = size;
    table.set(wordsOf(digest), at + DIGEST);
    Atomics.add(table, at + STATE, 1);
  }

  /** The slot may be used again. A piece that was published stays until it is. */
  free(slot: number): void {
    const { table } = this.shared;
    const at = slot * WORDS;
    const isPiece = Atomics.load(table, at + STATE) % 2 === 0;
    if (isPiece) this.#free.push({ slot, sinceMs: performance.now() });
    else {
      table.fill(0, at + SIZE, at + DIGEST + DIGEST_WORDS);
      Atomics.add(table, at + STATE, 1);
      this.#free.unshift({ slot, sinceMs: 0 });
    }
    this.#serve();
  }

  /** In the order of the questions: many slots are not waited for longer than few. */
  #serve(): void {
    for (let [next] = this.#waiting; next !== undefined; [next] = this.#waiting) {
      if (next.count > this.#free.length + SLOTS - this.#unused) return;
      this.#waiting.shift();
      next.resolve(Array.from({ length: next.count }, () => this.#takeOne()));
    }
  }

  #takeOne(): number {
    const [oldest] = this.#free;
    const isYoung = oldest === undefined || performance.now() - oldest.sinceMs < YOUNG_MS;
    const slot = isYoung && this.#unused < SLOTS ? this.#unused++ : (this.#free.shift()?.slot ?? bug("no free slot"));
    Atomics.add(this.shared.table, slot * WORDS + STATE, 1);
    return slot;
  }
}
