/** A set of digests that takes 50 bytes each: as strings in a Set they take three times as much. */
import { type Digest, hexOf } from "./digest.ts";
import { DigestIndex } from "./digest-index.ts";
import { sharedBytes } from "./shared-memory.ts";

const DIGEST_BYTES = 32;
const FIRST_ROWS = 64;

export class DigestSet implements Iterable<Digest> {
  #rows = 0;
  #column = sharedBytes(DIGEST_BYTES * FIRST_ROWS);
  #index = DigestIndex.empty(this.#column, FIRST_ROWS);
  /** By row: what was deleted. */
  #isGone = new Uint8Array(FIRST_ROWS);
  #size = 0;

  constructor(digests: Iterable<Digest> = []) {
    for (const it of digests) this.add(it);
  }

  get size(): number {
    return this.#size;
  }

  /** Where a digest is in the order in which they were added; -1 for one that was not. */
  indexOf(digest: Digest): number {
    return this.#index.find(hexOf(digest));
  }

  has(digest: Digest): boolean {
    const row = this.#index.find(hexOf(digest));
    return row >= 0 && this.#isGone[row] === 0;
  }

  add(digest: Digest): this {
    if (DIGEST_BYTES * (this.#rows + 1) > this.#column.length) this.#grow();
    this.#column.write(hexOf(digest), DIGEST_BYTES * this.#rows, "hex");
    const row = this.#index.insert(this.#rows);
    if (row === this.#rows) this.#rows++;
    else if (this.#isGone[row] === 0) return this;
    this.#isGone[row] = 0;
    this.#size++;
    return this;
  }

  /** Returns whether it was there. */
  delete(digest: Digest): boolean {
    const row = this.#index.find(hexOf(digest));
    if (row < 0 || this.#isGone[row] === 1) return false;
    this.#isGone[row] = 1;
    this.#size--;
    return true;
  }

  /** In the order in which they were added. */
  *[Symbol.iterator](): Generator<Digest, void> {
    for (let row = 0; row < this.#rows; row++) if (this.#isGone[row] === 0) yield this.#at(row);
  }

  /** In the order of their digits. */
  *sorted(): Generator<Digest, void> {
    const bytes = this.#column;
    const at = (row: number) => DIGEST_BYTES * row;
    const order = Uint32Array.from({ length: this.#rows }, (_, row) => row);
    order.sort((a, b) => bytes.compare(bytes, at(b), at(b + 1), at(a), at(a + 1)));
    for (const row of order) if (this.#isGone[row] === 0) yield this.#at(row);
  }

  #at(row: number): Digest {
    return `sha256:${this.#column.toString("hex", DIGEST_BYTES * row, DIGEST_BYTES * (row + 1))}`;
  }

  #grow(): void {
    const rows = 2 * this.#isGone.length;
    const column = sharedBytes(DIGEST_BYTES * rows, this.#column);
    const isGone = new Uint8Array(rows);
    isGone.set(this.#isGone);
    this.#index = DigestIndex.empty(column, rows);
    for (let row = 0; row < this.#rows; row++) this.#index.insert(row);
    this.#column = column;
    this.#isGone = isGone;
  }
}
