/**
 * Where the entries of a bundle came from, as the text of its lines, in memory that threads share: 500,000 are 60 MB,
 * as objects three times as much. A line is parsed when it is asked for. docs/format.md, "Catalog".
 */
import { bug } from "../errors.ts";
import { countEstablished, type EstablishedCounts } from "../io/established.ts";
import { bufferOf, sharedBytes, sharedWords } from "../io/shared-memory.ts";
import type { EntryTable, EntryTableWriter } from "./entry-table.ts";
import type { Provenance } from "./inventory-types.ts";

/** How the text of a line starts as airferry writes it; its path follows. */
const START = '{"path":"';
const QUOTE = 0x22;
const BACKSLASH = "\\";
const FIRST_BYTES = 4096;
const FIRST_LINES = 64;
/** Of `{"path":"p","kind":"iso","source":"","established":"manifest"}`. */
const MIN_LINE_BYTES = 64;

/** The memory of a table: goes to a thread in a message without a copy. */
export interface SharedProvenance {
  readonly length: number;
  /** JSON, one line after the other. */
  readonly text: Uint8Array<SharedArrayBuffer>;
  /** Where each line starts; then the end of the last. */
  readonly starts: Uint32Array<SharedArrayBuffer>;
  /** By entry: its line, counted from 1; 0: none. */
  readonly lines: Uint32Array<SharedArrayBuffer>;
  /** Lines of prefixes, counted from 0. */
  readonly folders: ReadonlyMap<string, number>;
}

/** Lines in the order of the inventory. */
export class ProvenanceTable implements Iterable<Provenance> {
  readonly length: number;
  readonly shared: SharedProvenance;
  readonly #text: Buffer;
  readonly #entries: EntryTable;
  #established: EstablishedCounts | undefined;

  private constructor(shared: SharedProvenance, entries: EntryTable) {
    this.length = shared.length;
    this.shared = shared;
    this.#text = bufferOf(shared.text);
    this.#entries = entries;
  }

  /** The table of another thread, and that of its entries. */
  static of(shared: SharedProvenance, entries: EntryTable): ProvenanceTable {
    return new ProvenanceTable(shared, entries);
  }

  /** The line of a path: its own, else that of the longest prefix that has one. */
  of(path: string): Provenance | undefined {
    const index = this.#entries.find(path);
    const own = index < 0 ? this.shared.folders.get(path) : (this.shared.lines[index] ?? 0) - 1;
    if (own !== undefined && own >= 0) return this.at(own);
    for (let slash = path.lastIndexOf("/"); slash > 0; slash = path.lastIndexOf("/", slash - 1)) {
      const above = this.shared.folders.get(path.slice(0, slash + 1));
      if (above !== undefined) return this.at(above);
    }
    return undefined;
  }

  at(line: number): Provenance {
    const { starts } = this.shared;
    if (line < 0 || line >= this.length) bug(`no line ${line}`);
    return JSON.parse(this.#text.toString("utf8", starts[line], starts[line + 1])) as Provenance;
  }

  /** For documents: a list of lines. */
  toJSON(): Provenance[] {
    return [...this];
  }

  /** How the digests were established; counted once. */
  get established(): EstablishedCounts {
    this.#established ??= countEstablished(this);
    return this.#established;
  }

  *[Symbol.iterator](): Generator<Provenance, void> {
    for (let line = 0; line < this.length; line++) yield this.at(line);
  }
}

/** Takes lines as they are read. */
export class ProvenanceWriter {
  #length = 0;
  #text: Buffer<SharedArrayBuffer>;
  #starts: SharedProvenance["starts"];

  /** @param bytes of lines that may come: as with {@link EntryTableWriter}, fewer cost nothing */
  constructor(bytes = FIRST_BYTES) {
    this.#text = sharedBytes(bytes);
    this.#starts = sharedWords(FIRST_LINES + Math.ceil(bytes / MIN_LINE_BYTES));
  }

  get length(): number {
    return this.#length;
  }

  add(line: Provenance): void {
    const text = JSON.stringify(line);
    const start = this.#starts[this.#length++] ?? 0;
    const size = Buffer.byteLength(text);
    if (start + size > this.#text.length) this.#text = sharedBytes(2 * (start + size), this.#text);
    if (this.#length >= this.#starts.length) this.#starts = sharedWords(2 * this.#starts.length, this.#starts);
    this.#text.write(text, start);
    this.#starts[this.#length] = start + size;
  }

  /**
   * The table; nothing may be added afterwards. Yields where the work may pause.
   * @param strange called for every path that is neither an entry nor has one below it
   */
  *finish(entries: EntryTable, strange: (path: string) => void): Generator<void, ProvenanceTable> {
    const lines = sharedWords(entries.length);
    const folders = new Map<string, number>();
    for (let line = 0; line < this.#length; line++) {
      if (line % 1000 === 0) yield;
      const path = this.#pathAt(line);
      const index = entries.find(path);
      if (index >= 0) lines[index] = line + 1;
      else {
        const [first, end] = path.endsWith("/") ? entries.range(path) : [0, 0];
        if (first === end) strange(path);
        folders.set(path, line);
      }
    }
    const shared = { length: this.#length, text: this.#text, starts: this.#starts, lines, folders };
    return ProvenanceTable.of(shared, entries);
  }

  #pathAt(line: number): string {
    const start = this.#starts[line] ?? 0;
    const pathStart = start + START.length;
    // Members that this version does not know may come before the path.
    if (this.#text.toString("latin1", start, pathStart) === START) {
      const path = this.#text.toString("utf8", pathStart, this.#text.indexOf(QUOTE, pathStart));
      if (!path.includes(BACKSLASH)) return path;
    }
    const text = this.#text.toString("utf8", start, this.#starts[line + 1]);
    return (JSON.parse(text) as Provenance).path;
  }
}
