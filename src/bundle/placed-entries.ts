/**
 * Some of the entries of a table, of which there may be 500,000: as indexes and bits, and no object before it is used.
 */
import type { Digest } from "../io/digest.ts";
import type { EntryTable } from "./entry-table.ts";
import type { PlacedEntry } from "./steps.ts";

/** Some of the different contents of a table's entries. */
export class ContentSet {
  readonly #table: EntryTable;
  /** By the entry that stands for a digest. */
  readonly #has: Uint8Array;

  constructor(table: EntryTable) {
    this.#table = table;
    this.#has = new Uint8Array(table.length);
  }

  has(digest: Digest): boolean {
    return this.#has[this.#table.findDigest(digest)] === 1;
  }

  hasEntry(index: number): boolean {
    return this.#has[this.#table.sameAs(index)] === 1;
  }

  /** Adds the content of an entry; returns whether it is new here. */
  addEntry(index: number): boolean {
    const one = this.#table.sameAs(index);
    const isNew = this.#has[one] === 0;
    this.#has[one] = 1;
    return isNew;
  }

  delete(digest: Digest): void {
    this.#has[this.#table.findDigest(digest)] = 0;
  }
}

/** Entries that have a place in the stream, in its order. */
export class PlacedEntries implements Iterable<PlacedEntry> {
  readonly #table: EntryTable;
  readonly #indexes: Uint32Array;

  private constructor(table: EntryTable, indexes: Uint32Array) {
    this.#table = table;
    this.#indexes = indexes;
  }

  /** All of a table. */
  static in(table: EntryTable): PlacedEntries {
    return new PlacedEntries(table, table.streamOrder);
  }

  get length(): number {
    return this.#indexes.length;
  }

  get bytes(): number {
    return this.#indexes.reduce((sum, index) => sum + this.#table.sizeAt(index), 0);
  }

  /** Bytes of the largest; 0 without any. */
  get largest(): number {
    return this.#indexes.reduce((most, index) => Math.max(most, this.#table.sizeAt(index)), 0);
  }

  /** Those that pass a test of their index in the table. */
  filter(test: (index: number) => boolean): PlacedEntries {
    return new PlacedEntries(this.#table, this.#indexes.filter(test));
  }

  /** One for every content, the first in the stream. */
  get unique(): PlacedEntries {
    const seen = new ContentSet(this.#table);
    return this.filter((index) => seen.addEntry(index));
  }

  /** Offsets of those that are not among {@link unique}. */
  get repeats(): Set<number> {
    const seen = new ContentSet(this.#table);
    const offsets = new Set<number>();
    for (const index of this.#indexes) if (!seen.addEntry(index)) offsets.add(this.#table.placedAt(index).offset);
    return offsets;
  }

  *[Symbol.iterator](): Generator<PlacedEntry, void> {
    for (const index of this.#indexes) yield this.#table.placedAt(index);
  }
}
