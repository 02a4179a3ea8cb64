/**
 * Finds rows by their SHA-256: a hash table over a column of digests, in memory that threads share. Its hash has a
 * random seed, so that nobody can choose digests which all have the same one.
 */
import { randomFillSync } from "node:crypto";

const WORDS = 8;
const WORD_BYTES = 4;

/**
 * A random word for each of a digest; then slots, a power of two and at least twice as many as rows: 0, or the number
 * of the row that stands for a digest, counted from 1.
 */
export type DigestSlots = Uint32Array<SharedArrayBuffer>;

export class DigestIndex {
  readonly slots: DigestSlots;
  readonly #words: Uint32Array;
  readonly #mask: number;
  readonly #sought = new Uint32Array(WORDS);
  readonly #bytes = Buffer.from(this.#sought.buffer);

  /** @param digests 32 bytes a row, from the start of their memory */
  constructor(digests: Uint8Array<SharedArrayBuffer>, slots: DigestSlots) {
    this.slots = slots;
    this.#words = new Uint32Array(digests.buffer, 0, Math.floor(digests.byteLength / WORD_BYTES));
    this.#mask = slots.length - WORDS - 1;
  }

  /** An index with room for some rows, and none in it. */
  static empty(digests: Uint8Array<SharedArrayBuffer>, rows: number): DigestIndex {
    let count = 2;
    while (count < 2 * rows) count *= 2;
    const slots = new Uint32Array(new SharedArrayBuffer(WORD_BYTES * (WORDS + count)));
    randomFillSync(slots, 0, WORDS);
    return new DigestIndex(digests, slots);
  }

  /** Adds a row, unless another one stands for its digest; returns the one that does. */
  insert(row: number): number {
    const slot = this.#slotOf(this.#words, WORDS * row);
    if (this.slots[slot] === 0) this.slots[slot] = row + 1;
    return (this.slots[slot] ?? 0) - 1;
  }

  /** The row that stands for a digest, in hex; -1 for none. */
  find(hex: string): number {
    const written = this.#bytes.write(hex, "hex");
    return written === WORDS * WORD_BYTES ? (this.slots[this.#slotOf(this.#sought, 0)] ?? 0) - 1 : -1;
  }

  /** The row that stands for the digest of `row`; -1 for none. */
  of(row: number): number {
    return (this.slots[this.#slotOf(this.#words, WORDS * row)] ?? 0) - 1;
  }

  /** The slot of a digest, or the free one where it would be. */
  #slotOf(words: Uint32Array, at: number): number {
    let hash = 0;
    for (let word = 0; word < WORDS; word++) {
      hash = Math.imul(hash ^ (words[at + word] ?? 0) ^ (this.slots[word] ?? 0), 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    for (let step = hash & this.#mask; ; step = (step + 1) & this.#mask) {
      const row = this.slots[WORDS + step] ?? 0;
      if (row === 0 || this.#isSame(words, at, WORDS * (row - 1))) return WORDS + step;
    }
  }

  #isSame(words: Uint32Array, at: number, other: number): boolean {
    for (let word = 0; word < WORDS; word++) if (words[at + word] !== this.#words[other + word]) return false;
    return true;
  }
}
