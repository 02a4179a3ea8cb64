/**
 * The file that packages are looked up in: all packages of one release, for lists and for a search that reads it in
 * small blocks and keeps nothing in memory. Its form, after one line of JSON ({@link IndexHeader}) that ends in a line
 * feed, is four sections:
 *
 * ```
 * rows      name TAB epoch:version-release TAB arch TAB summary TAB href TAB size LF
 * offsets   u32le: where each row begins, and where the last one ends
 * names     LF name-version-release.arch TAB summary TAB row ":" length-of-name      in lower case
 * provides  LF capability SPACE capability … TAB row                                  in lower case
 * ```
 *
 * Rows are in the order of repositories, then names. Numbers in the last two sections are in base 36. Both are cut into
 * blocks at line starts.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { Digest } from "../io/digest.ts";
import { digestSchema } from "../io/own-file.ts";
import type { PackageRow } from "./types.ts";

export const MAX_HEADER_BYTES = 1024 * 1024;
const BLOCK_BYTES = 128 * 1024;
/** Longest summary, and longest list of what one package provides, that is kept, in UTF-16 units. */
const MAX_SUMMARY = 500;
export const MAX_PROVIDES = 64 * 1024;

/** A block of a section: its bytes, and the row of its first line. */
const blockSchema = z.tuple([
  z
    .int()
    .min(0)
    .max(4 * 1024 * 1024),
  z.int().min(0),
]);

export const headerSchema = z.object({
  version: z.literal(1),
  /** The release: digest of its SHA256SUMS. */
  release: digestSchema,
  /** Of everything after this line. */
  digest: digestSchema,
  /** URL path below the server's address, ends in `/`; how many packages, from which row. */
  repositories: z.array(z.object({ path: z.string(), packages: z.int().min(0), first: z.int().min(0) })),
  /** Bytes. */
  rows: z.int().min(0),
  names: z.array(blockSchema),
  provides: z.array(blockSchema),
});

export type IndexHeader = z.output<typeof headerSchema>;

/** A package as it goes into the index. */
interface IndexedPackage extends PackageRow {
  provides: readonly string[];
}

/** What the sections have of a package but its row: bytes, since parts of a text keep all of it in memory. */
interface Packed {
  name: string;
  row: Buffer;
  search: Buffer;
  nameLength: number;
  provides: Buffer;
}

/** Collects the packages of a release, repository by repository. */
export class IndexWriter {
  readonly #release: Digest;
  readonly #repositories: IndexHeader["repositories"] = [];
  readonly #rows: Buffer[] = [];
  readonly #names = new BlockWriter();
  readonly #provides = new BlockWriter();
  readonly #offsets: number[] = [0];
  #adding: Packed[] = [];
  /** Of all packages so far. */
  bytes = 0;

  constructor(release: Digest) {
    this.#release = release;
  }

  /** How many so far. */
  get packages(): number {
    return this.#offsets.length - 1 + this.#adding.length;
  }

  /** Adds a package of the next repository, in any order. */
  add({ name, evr, arch, summary, href, size, provides }: IndexedPackage): void {
    const short = oneLine(summary).slice(0, MAX_SUMMARY);
    const cells = [name, evr, arch, short, href, String(size)].map(oneLine);
    const nvra = folded(`${name}-${evr.replace(/^\d+:/, "")}.${arch}`);
    // The name itself is found without.
    const others = provides.filter((it) => it !== name && it !== `${name}(${arch})`);
    const packed = {
      name: Buffer.from(name).toString(),
      row: Buffer.from(`${cells.join("\t")}\n`),
      search: Buffer.from(`\n${nvra}\t${folded(short)}`),
      nameLength: folded(name).length,
      provides: Buffer.from(folded(others.join(" ")).slice(0, MAX_PROVIDES)),
    };
    this.#adding.push(packed);
    this.bytes += packed.row.length + packed.search.length + packed.provides.length;
  }

  /** Ends a repository. */
  end(path: string): void {
    const first = this.#offsets.length - 1;
    this.#repositories.push({ path, packages: this.#adding.length, first });
    this.#adding.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
    for (const it of this.#adding) this.#write(it);
    this.#adding = [];
  }

  /** Forgets the packages of a repository that has not ended. */
  drop(): void {
    for (const { row, search, provides } of this.#adding) this.bytes -= row.length + search.length + provides.length;
    this.#adding = [];
  }

  #write({ row, search, nameLength, provides }: Packed): void {
    const number = this.#offsets.length - 1;
    const shown = number.toString(36);
    this.#rows.push(row);
    this.#names.add(`${search}\t${shown}:${nameLength.toString(36)}`, number);
    if (provides.length > 0) this.#provides.add(`\n${provides}\t${shown}`, number);
    this.#offsets.push((this.#offsets.at(-1) ?? 0) + row.length);
  }

  /** The whole file, in memory that threads can share. */
  finish(): Buffer {
    const offsets = Buffer.alloc(4 * this.#offsets.length);
    for (const [at, offset] of this.#offsets.entries()) offsets.writeUInt32LE(offset, 4 * at);
    const names = this.#names.finish();
    const provides = this.#provides.finish();
    const rest = [...this.#rows, offsets, ...names.bytes, ...provides.bytes];
    const hash = createHash("sha256");
    for (const it of rest) hash.update(it);
    const header: IndexHeader = {
      version: 1,
      release: this.#release,
      digest: `sha256:${hash.digest("hex")}`,
      repositories: this.#repositories,
      rows: this.#offsets.at(-1) ?? 0,
      names: names.blocks,
      provides: provides.blocks,
    };
    const parts = [Buffer.from(`${JSON.stringify(header)}\n`), ...rest];
    const whole = Buffer.from(new SharedArrayBuffer(parts.reduce((sum, it) => sum + it.length, 0)));
    let at = 0;
    for (const it of parts) {
      whole.set(it, at);
      at += it.length;
    }
    return whole;
  }
}

/** Lines of a section, in blocks. */
class BlockWriter {
  readonly #bytes: Buffer[] = [];
  readonly #blocks: [length: number, firstRow: number][] = [];
  #lines: string[] = [];
  #length = 0;
  #firstRow = 0;

  add(line: string, row: number): void {
    if (this.#lines.length === 0) this.#firstRow = row;
    this.#lines.push(line);
    this.#length += line.length;
    if (this.#length >= BLOCK_BYTES) this.#end();
  }

  #end(): void {
    if (this.#lines.length === 0) return;
    const bytes = Buffer.from(this.#lines.join(""));
    this.#bytes.push(bytes);
    this.#blocks.push([bytes.length, this.#firstRow]);
    this.#lines = [];
    this.#length = 0;
  }

  finish() {
    this.#end();
    return { bytes: this.#bytes, blocks: this.#blocks };
  }
}

/** The form in which texts are compared. */
export function folded(text: string): string {
  return oneLine(text).normalize("NFC").toLowerCase();
}

function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f]+/g, " ");
}
