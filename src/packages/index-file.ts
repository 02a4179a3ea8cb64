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
const MAX_PROVIDES = 64 * 1024;

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

/** Collects the packages of a release, repository by repository. */
export class IndexWriter {
  readonly #release: Digest;
  readonly #repositories: IndexHeader["repositories"] = [];
  readonly #rows: Buffer[] = [];
  readonly #names = new BlockWriter();
  readonly #provides = new BlockWriter();
  readonly #offsets: number[] = [0];

  constructor(release: Digest) {
    this.#release = release;
  }

  get packages(): number {
    return this.#offsets.length - 1;
  }

  /** Adds a repository with its packages, in any order. */
  add(path: string, packages: readonly IndexedPackage[]): void {
    this.#repositories.push({ path, packages: packages.length, first: this.packages });
    const order = (a: IndexedPackage, b: IndexedPackage) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
    for (const it of packages.toSorted(order)) this.#add(it);
  }

  #add({ name, evr, arch, summary, href, size, provides }: IndexedPackage): void {
    const row = this.packages.toString(36);
    const short = oneLine(summary).slice(0, MAX_SUMMARY);
    const cells = [name, evr, arch, short, href, String(size)].map(oneLine);
    const bytes = Buffer.from(`${cells.join("\t")}\n`);
    this.#rows.push(bytes);
    const nvra = folded(`${name}-${evr.replace(/^\d+:/, "")}.${arch}`);
    this.#names.add(`\n${nvra}\t${folded(short)}\t${row}:${folded(name).length.toString(36)}`, this.packages);
    // The name itself is found without.
    const others = provides.filter((it) => it !== name && it !== `${name}(${arch})`);
    const list = folded(others.join(" ")).slice(0, MAX_PROVIDES);
    if (list !== "") this.#provides.add(`\n${list}\t${row}`, this.packages);
    this.#offsets.push((this.#offsets.at(-1) ?? 0) + bytes.length);
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
