/**
 * The entries of an inventory as columns of memory that threads share: 500,000 take 45 MB, as objects 200 MB in every
 * thread. An entry becomes an object when it is asked for.
 */
import { bug } from "../errors.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { DigestIndex, type DigestSlots } from "../io/digest-index.ts";
import { bufferOf, sharedBytes, sharedNumbers, sharedWords } from "../io/shared-memory.ts";

const DIGEST_BYTES = 32;
/** Values of `flags`: the low bit is the mode, what is above it `from`. */
const MODES = ["0644", "0755"] as const;
const PLACES = [undefined, "bundle", "store", "recipe"] as const;
/** In `offsets`. */
const NONE = -1;
/** UTF-8 of one UTF-16 code unit. */
const MAX_CHAR_BYTES = 3;
const FIRST_ENTRIES = 64;
const FIRST_PATH_BYTES = 4096;

/**
 * The memory of a table: goes to a thread in a message without a copy. The columns may have room behind the entries.
 */
export interface SharedEntries {
  readonly length: number;
  /** UTF-8, one after the other, in the order of their bytes. */
  readonly paths: Uint8Array<SharedArrayBuffer>;
  /** Where each path starts; then the end of the last. */
  readonly starts: Uint32Array<SharedArrayBuffer>;
  /** Bytes. */
  readonly sizes: Float64Array<SharedArrayBuffer>;
  /** -1: none. */
  readonly offsets: Float64Array<SharedArrayBuffer>;
  /** SHA-256, 32 bytes each. */
  readonly digests: Uint8Array<SharedArrayBuffer>;
  readonly flags: Uint8Array<SharedArrayBuffer>;
  /** Absent until a digest was looked for. */
  readonly slots?: DigestSlots;
}

/** One file of the release. */
export interface TableEntry {
  /** Relative, `/`-separated, no empty, `.` or `..` segments; NFC. */
  path: string;
  /** Bytes. */
  size: number;
  mode: "0644" | "0755";
  /** In the file: `sha256`, hex. */
  digest: Digest;
  /** First byte of the content in the tar stream, after its header records. Absent with `from`. */
  offset?: number;
  /**
   * `bundle`: another entry of this bundle carries the same bytes. `store`, in a delta: none does, and the store must
   * have them already. `recipe`, in a delta: the reader builds them (recipe-list.ts).
   */
  from?: "bundle" | "store" | "recipe";
}

/** Entries sorted by path. Indexes are 0 to `length - 1`; others are bugs of the caller. */
export class EntryTable implements Iterable<TableEntry> {
  readonly length: number;
  readonly #columns: SharedEntries;
  readonly #paths: Buffer;
  readonly #digests: Buffer;
  #index: DigestIndex | undefined;
  #order: Uint32Array | undefined;

  private constructor(columns: SharedEntries) {
    this.length = columns.length;
    this.#columns = columns;
    this.#paths = bufferOf(columns.paths);
    this.#digests = bufferOf(columns.digests);
    this.#index = columns.slots && new DigestIndex(columns.digests, columns.slots);
  }

  /** The table of another thread. */
  static of(shared: SharedEntries): EntryTable {
    return new EntryTable(shared);
  }

  /** A table of entries in any order. */
  static from(entries: Iterable<TableEntry>): EntryTable {
    const writer = new EntryTableWriter();
    for (const it of entries) writer.add(it);
    return writer.finish();
  }

  /** What {@link EntryTable.of} takes, with the index of digests if there is one by now. */
  get shared(): SharedEntries {
    return this.#index === undefined ? this.#columns : { ...this.#columns, slots: this.#index.slots };
  }

  at(index: number): TableEntry {
    const path = this.pathAt(index);
    const size = this.sizeAt(index);
    const mode = this.modeAt(index);
    const digest = this.digestAt(index);
    const offset = this.offsetAt(index);
    if (offset !== undefined) return { path, size, mode, digest, offset };
    const from = this.fromAt(index);
    return from === undefined ? { path, size, mode, digest } : { path, size, mode, digest, from };
  }

  pathAt(index: number): string {
    const { starts } = this.#columns;
    if (index < 0 || index >= this.length) bug(`no entry ${index}`);
    return this.#paths.toString("utf8", starts[index], starts[index + 1]);
  }

  /** Bytes of the path as UTF-8. */
  pathBytesAt(index: number): number {
    const { starts } = this.#columns;
    return (starts[index + 1] ?? 0) - (starts[index] ?? 0);
  }

  sizeAt(index: number): number {
    return this.#columns.sizes[index] ?? 0;
  }

  modeAt(index: number): TableEntry["mode"] {
    return MODES[((this.#columns.flags[index] ?? 0) & 1) as 0 | 1];
  }

  digestAt(index: number): Digest {
    return `sha256:${this.#digests.toString("hex", DIGEST_BYTES * index, DIGEST_BYTES * (index + 1))}`;
  }

  offsetAt(index: number): number | undefined {
    const offset = this.#columns.offsets[index] ?? NONE;
    return offset === NONE ? undefined : offset;
  }

  fromAt(index: number): TableEntry["from"] {
    return PLACES[(this.#columns.flags[index] ?? 0) >> 1];
  }

  /** Index of the entry with a path; -1 for none. */
  find(path: string): number {
    const sought = Buffer.from(path);
    const index = this.#lowerBound(sought);
    return index < this.length && this.#compare(index, sought) === 0 ? index : -1;
  }

  /** The entry with a path. */
  get(path: string): TableEntry | undefined {
    const index = this.find(path);
    return index < 0 ? undefined : this.at(index);
  }

  has(path: string): boolean {
    return this.find(path) >= 0;
  }

  /** The first entry whose path starts with `prefix`, and the end of those that do: equal if there are none. */
  range(prefix: string): [first: number, end: number] {
    const sought = Buffer.from(prefix);
    const first = this.#lowerBound(sought);
    // No byte of UTF-8 is 255: this is behind all that starts with the prefix.
    const end = prefix === "" ? this.length : this.#lowerBound(Buffer.concat([sought, Buffer.of(255)]), first);
    return [first, end];
  }

  /** The entries whose paths start with `prefix`, as objects: for the few. */
  below(prefix: string): TableEntry[] {
    const [first, end] = this.range(prefix);
    return Array.from({ length: end - first }, (_, at) => this.at(first + at));
  }

  /**
   * Index of an entry with a digest, if there is one that carries its bytes; -1 for none. The first call makes an index
   * of 8 to 16 bytes an entry.
   */
  findDigest(digest: Digest): number {
    return this.#digestIndex().find(hexOf(digest));
  }

  /** As {@link findDigest} for the digest of an entry: one index for all that have the same bytes. */
  sameAs(index: number): number {
    return this.#digestIndex().of(index);
  }

  /** Whether the bundle carries the bytes of an entry, at its own place or at that of another entry. */
  isCarried(index: number): boolean {
    return this.offsetAt(this.sameAs(index)) !== undefined;
  }

  /** Indexes of the entries that have a place in the stream, in its order. */
  get streamOrder(): Uint32Array {
    if (this.#order === undefined) {
      const { offsets } = this.#columns;
      const placed = new Uint32Array(this.length);
      let count = 0;
      for (let index = 0; index < this.length; index++) if (offsets[index] !== NONE) placed[count++] = index;
      this.#order = placed.subarray(0, count).sort((a, b) => (offsets[a] ?? 0) - (offsets[b] ?? 0));
    }
    return this.#order;
  }

  /** The entry at `index`, which has a place in the stream. */
  placedAt(index: number): TableEntry & { offset: number } {
    const it = this.at(index);
    return { ...it, offset: it.offset ?? bug(`no place of entry ${index}`) };
  }

  *[Symbol.iterator](): Generator<TableEntry, void> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }

  /** For documents: a list of objects. */
  toJSON(): TableEntry[] {
    return [...this];
  }

  *paths(): Generator<string, void> {
    for (let index = 0; index < this.length; index++) yield this.pathAt(index);
  }

  /** Bytes of all entries. */
  get totalBytes(): number {
    const { sizes } = this.#columns;
    let sum = 0;
    for (let index = 0; index < this.length; index++) sum += sizes[index] ?? 0;
    return sum;
  }

  /** How many entries say that their bytes come `from` there, and what they have together. */
  tally(from: TableEntry["from"]): { files: number; bytes: number } {
    const sum = { files: 0, bytes: 0 };
    for (let index = 0; index < this.length; index++) {
      if (this.fromAt(index) !== from) continue;
      sum.files++;
      sum.bytes += this.sizeAt(index);
    }
    return sum;
  }

  some(test: (entry: TableEntry) => boolean): boolean {
    for (const it of this) if (test(it)) return true;
    return false;
  }

  /** The entries that pass the test, as objects: for the few. */
  filter(test: (entry: TableEntry) => boolean): TableEntry[] {
    const passed: TableEntry[] = [];
    for (const it of this) if (test(it)) passed.push(it);
    return passed;
  }

  /** Those that are carried come first. */
  #digestIndex(): DigestIndex {
    if (this.#index !== undefined) return this.#index;
    const { digests, offsets } = this.#columns;
    this.#index = DigestIndex.empty(digests, this.length);
    for (let row = 0; row < this.length; row++) if (offsets[row] !== NONE) this.#index.insert(row);
    for (let row = 0; row < this.length; row++) if (offsets[row] === NONE) this.#index.insert(row);
    return this.#index;
  }

  /** The first entry from `first` on whose path is not below the bytes. */
  #lowerBound(sought: Uint8Array, first = 0): number {
    let from = first;
    for (let to = this.length; from < to; ) {
      const middle = (from + to) >>> 1;
      if (this.#compare(middle, sought) < 0) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  #compare(index: number, sought: Uint8Array): number {
    const { paths, starts } = this.#columns;
    const start = starts[index] ?? 0;
    const length = (starts[index + 1] ?? 0) - start;
    for (let at = 0; at < length && at < sought.length; at++) {
      const difference = (paths[start + at] ?? 0) - (sought[at] ?? 0);
      if (difference !== 0) return difference;
    }
    return length - sought.length;
  }
}

/** Makes a table of entries in any order; those that come sorted by path cost nothing more. */
export class EntryTableWriter {
  #length = 0;
  #isSorted = true;
  #paths: Buffer<SharedArrayBuffer>;
  #starts: SharedEntries["starts"];
  #sizes: SharedEntries["sizes"];
  #offsets: SharedEntries["offsets"];
  #digests: Buffer<SharedArrayBuffer>;
  #flags: Buffer<SharedArrayBuffer>;

  /**
   * @param count of entries that may come, and how many bytes their paths have: more than that is copied to larger
   *   memory, and of less the rest is never touched, so that it costs nothing
   */
  constructor(count = FIRST_ENTRIES, pathBytes = FIRST_PATH_BYTES) {
    this.#paths = sharedBytes(pathBytes);
    this.#starts = sharedWords(count + 1);
    this.#sizes = sharedNumbers(count);
    this.#offsets = sharedNumbers(count);
    this.#digests = sharedBytes(DIGEST_BYTES * count);
    this.#flags = sharedBytes(count);
  }

  /** Entries so far. */
  get length(): number {
    return this.#length;
  }

  add({ path, size, mode, digest, offset, from }: TableEntry): void {
    const index = this.#length++;
    const start = this.#starts[index] ?? 0;
    this.#makeRoom(start + MAX_CHAR_BYTES * path.length);
    const end = start + this.#paths.write(path, start);
    const before = index === 0 ? start : (this.#starts[index - 1] ?? 0);
    if (this.#paths.compare(this.#paths, before, start, start, end) < 0) this.#isSorted = false;
    this.#starts[index + 1] = end;
    this.#sizes[index] = size;
    this.#offsets[index] = offset ?? NONE;
    this.#digests.write(hexOf(digest), DIGEST_BYTES * index, "hex");
    this.#flags[index] = 2 * PLACES.indexOf(from) + MODES.indexOf(mode);
  }

  /** The table; nothing may be added afterwards. */
  finish(): EntryTable {
    const table = EntryTable.of({
      length: this.#length,
      paths: this.#paths,
      starts: this.#starts,
      sizes: this.#sizes,
      offsets: this.#offsets,
      digests: this.#digests,
      flags: this.#flags,
    });
    return this.#isSorted ? table : sorted(table);
  }

  /** For the entry that `#length` counts already. */
  #makeRoom(pathBytes: number): void {
    if (pathBytes > this.#paths.length) this.#paths = sharedBytes(2 * pathBytes, this.#paths);
    if (this.#length < this.#starts.length) return;
    const count = 2 * this.#starts.length;
    this.#starts = sharedWords(count + 1, this.#starts);
    this.#sizes = sharedNumbers(count, this.#sizes);
    this.#offsets = sharedNumbers(count, this.#offsets);
    this.#digests = sharedBytes(DIGEST_BYTES * count, this.#digests);
    this.#flags = sharedBytes(count, this.#flags);
  }
}

function sorted(table: EntryTable): EntryTable {
  const { paths, starts } = table.shared;
  const bytes = bufferOf(paths);
  const order = Uint32Array.from({ length: table.length }, (_, index) => index);
  order.sort((a, b) => bytes.compare(bytes, starts[b], starts[b + 1], starts[a], starts[a + 1]));
  const writer = new EntryTableWriter();
  for (const index of order) writer.add(table.at(index));
  return writer.finish();
}
