/** Entries of a table as a list of their paths: four bytes each, in memory that threads share. */
import { bug } from "../errors.ts";
import { sharedWords } from "../io/shared-memory.ts";
import type { EntryTable } from "./entry-table.ts";

export class EntryList implements Iterable<{ path: string }> {
  /** Of the entries in the table, in the order of the list. */
  readonly indexes: Uint32Array<SharedArrayBuffer>;
  readonly #entries: EntryTable;

  /** The list of another thread, and the table that it is of. */
  constructor(entries: EntryTable, indexes: Uint32Array<SharedArrayBuffer>) {
    this.#entries = entries;
    this.indexes = indexes;
  }

  /** @param paths those of entries: any other is a bug */
  static of(entries: EntryTable, paths: Iterable<{ path: string }> & { readonly length: number }): EntryList {
    const indexes = sharedWords(paths.length);
    let count = 0;
    for (const { path } of paths) {
      const index = entries.find(path);
      if (index < 0) bug(`"${path}" is no entry`);
      indexes[count++] = index;
    }
    return new EntryList(entries, indexes);
  }

  get length(): number {
    return this.indexes.length;
  }

  *[Symbol.iterator](): Generator<{ path: string }, void> {
    for (const index of this.indexes) yield { path: this.#entries.pathAt(index) };
  }
}
