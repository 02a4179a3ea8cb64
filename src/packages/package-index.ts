/**
 * Reads an index of packages: lists and searches. Nothing of it stays in memory but the header: a search reads it block
 * by block, so that other work goes on between, and stops when it has found enough.
 */
import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { bug } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { folded, headerSchema, type IndexHeader, MAX_HEADER_BYTES } from "./index-file.ts";
import type { IndexSource, ListedRepository, PackageRow } from "./types.ts";

/** Further matches of a search are not looked for. */
const MAX_MATCHES = 1000;
const MAX_QUERY = 200;
const MAX_WORDS = 8;
const HASH_BYTES = 256 * 1024;
const LINE_FEED = 0x0a;

/** Rows of a search, the best first. */
interface Matches {
  rows: number[];
  /** There are more. */
  more: boolean;
}

/** How well a package fits: its name, the start of its name, name and version, summary, what it provides. */
const RANK = { name: 0, start: 1, nvra: 2, summary: 3, provides: 4 } as const;

/** An index of one release. Holds no handle; the source is its creator's. */
export class PackageIndex {
  readonly #source: IndexSource;
  readonly #header: IndexHeader;
  /** Where the sections begin. */
  readonly #at: { rows: number; offsets: number; names: number; provides: number };

  private constructor(source: IndexSource, header: IndexHeader, begin: number) {
    this.#source = source;
    this.#header = header;
    const offsets = begin + header.rows;
    const names = offsets + 4 * (this.#count() + 1);
    const provides = names + header.names.reduce((sum, [length]) => sum + length, 0);
    this.#at = { rows: begin, offsets, names, provides };
  }

  /** Checks a whole index once. Undefined when it is damaged, of another version, or of another release. */
  static async open(source: IndexSource, release: Digest): Promise<PackageIndex | undefined> {
    const head = await bytesAt(source, 0, Math.min(source.size, MAX_HEADER_BYTES));
    const end = head.indexOf(LINE_FEED);
    if (end < 0) return undefined;
    let json: unknown;
    try {
      json = JSON.parse(head.toString("utf8", 0, end));
    } catch {
      return undefined;
    }
    const { data: header } = headerSchema.safeParse(json);
    if (header?.release !== release) return undefined;
    const hash = createHash("sha256");
    const buffer = Buffer.allocUnsafeSlow(HASH_BYTES);
    for (let at = end + 1; at < source.size; at += HASH_BYTES) {
      const piece = buffer.subarray(0, Math.min(HASH_BYTES, source.size - at));
      await source.fill(piece, at);
      hash.update(piece);
      await setImmediate();
    }
    if (`sha256:${hash.digest("hex")}` !== header.digest) return undefined;
    return new PackageIndex(source, header, end + 1);
  }

  get repositories(): readonly ListedRepository[] {
    return this.#header.repositories;
  }

  /** The repository of a row. */
  repositoryOf(row: number): ListedRepository {
    return (
      this.#header.repositories.findLast((it) => it.first <= row && it.packages > 0) ?? bug("a row of no repository")
    );
  }

  /** Rows of a repository, in the order of names; at most `count` from the `from`th. */
  list(path: string, from: number, count: number): number[] {
    const found = this.#header.repositories.find((it) => it.path === path);
    if (found === undefined) return [];
    const end = Math.min(found.first + found.packages, found.first + from + count);
    return Array.from({ length: Math.max(0, end - found.first - from) }, (_, at) => found.first + from + at);
  }

  /** Reads rows, in the given order. */
  async read(rows: readonly number[]): Promise<PackageRow[]> {
    const found: PackageRow[] = [];
    for (const row of rows) {
      const ends = await bytesAt(this.#source, this.#at.offsets + 4 * row, 8);
      const [start, end] = [ends.readUInt32LE(0), ends.readUInt32LE(4)];
      const line = await bytesAt(this.#source, this.#at.rows + start, end - start - 1);
      const [name = "", evr = "", arch = "", summary = "", href = "", size = ""] = line.toString().split("\t");
      found.push({ name, evr, arch, summary, href, size: Number(size) });
    }
    return found;
  }

  /**
   * Finds packages that have every word of a query in name, version and summary, or in what they provide; the best
   * first, at most a thousand. Case does not matter. `path` limits it to one repository.
   */
  async search(query: string, path?: string): Promise<Matches> {
    const words = wordsOf(query);
    const only = this.#header.repositories.find((it) => it.path === path);
    if (words.length === 0 || (path !== undefined && only === undefined)) return { rows: [], more: false };
    const range = only ?? { first: 0, packages: this.#count() };
    const ranks = new Map<number, number>();
    let more = await this.#scan("names", words, range, (row, text, nameLength) => {
      const rank = rankOf(text, nameLength, words);
      if (rank < (ranks.get(row) ?? Number.POSITIVE_INFINITY)) ranks.set(row, rank);
      return ranks.size < MAX_MATCHES;
    });
    more ||= await this.#scan("provides", words, range, (row) => {
      if (!ranks.has(row)) ranks.set(row, RANK.provides);
      return ranks.size < MAX_MATCHES;
    });
    const rows = [...ranks].sort(([a, x], [b, y]) => x - y || a - b).map(([row]) => row);
    return { rows, more };
  }

  /** Calls back with lines that have all words, until it says that it is enough. Returns whether there may be more. */
  async #scan(
    section: "names" | "provides",
    words: readonly string[],
    { first, packages }: { first: number; packages: number },
    onLine: (row: number, text: string, nameLength: number) => boolean,
  ): Promise<boolean> {
    const [rarest = ""] = words.toSorted((a, b) => b.length - a.length);
    const needle = Buffer.from(rarest);
    const blocks = this.#header[section];
    // One buffer for all blocks: as garbage they would cost more than the search.
    const buffer = Buffer.allocUnsafeSlow(blocks.reduce((most, [length]) => Math.max(most, length), 0));
    // Of names those first that begin with the word: there may be more matches than are looked for.
    const starts = Buffer.from(`\n${rarest}`);
    for (const wanted of section === "names" ? [starts, needle] : [needle]) {
      let at = this.#at[section];
      for (const [index, [length, firstRow]] of blocks.entries()) {
        const begin = at;
        at += length;
        if (firstRow >= first + packages) break;
        const nextRow = blocks[index + 1]?.[1] ?? Number.POSITIVE_INFINITY;
        if (nextRow <= first) continue;
        const block = buffer.subarray(0, length);
        await this.#source.fill(block, begin);
        for (const { row, text, nameLength } of linesWith(block, wanted)) {
          if (row < first || row >= first + packages || !words.every((it) => text.includes(it))) continue;
          if (!onLine(row, text, nameLength)) return true;
        }
        await setImmediate();
      }
    }
    return false;
  }

  #count(): number {
    return this.#header.repositories.reduce((sum, it) => sum + it.packages, 0);
  }
}

async function bytesAt(source: IndexSource, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  await source.fill(bytes, position);
  return bytes;
}

/** Lines of a block that have the bytes in them, each once. `text` is without the numbers at its end. */
function* linesWith(block: Buffer, needle: Buffer): Generator<{ row: number; text: string; nameLength: number }> {
  for (let at = block.indexOf(needle); at >= 0; ) {
    const start = block[at] === LINE_FEED ? at : block.lastIndexOf(LINE_FEED, at);
    const next = block.indexOf(LINE_FEED, start + 1);
    const line = block.toString("utf8", start + 1, next < 0 ? block.length : next);
    const tab = line.lastIndexOf("\t");
    const [row = "", nameLength = ""] = line.slice(tab + 1).split(":");
    yield { row: Number.parseInt(row, 36), text: line.slice(0, tab), nameLength: Number.parseInt(nameLength, 36) };
    at = next < 0 ? -1 : block.indexOf(needle, next);
  }
}

function rankOf(text: string, nameLength: number, [word = "", more]: readonly string[]): number {
  const [nvra = "", summary = ""] = text.split("\t");
  if (more === undefined && nvra.startsWith(word)) return nameLength === word.length ? RANK.name : RANK.start;
  return nvra.includes(word) || !summary.includes(word) ? RANK.nvra : RANK.summary;
}

/** The words of a query in the form of the index. An epoch is not in it, so `name-1:2-3` is `name-2-3`. */
function wordsOf(query: string): string[] {
  const words = folded(query.slice(0, MAX_QUERY)).split(/\s+/);
  return words
    .filter((it) => it !== "")
    .slice(0, MAX_WORDS)
    .map((it) => it.replace(/-\d+:(?=\d)/, "-"));
}
