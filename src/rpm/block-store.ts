/**
 * The blocks of a large document in memory, one after the other in pages: the first as they are, the rest compressed,
 * since metadata of 80,000 packages has 200 MB. A page is opened again when one of its blocks is read.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { buffersUsed } from "../io/flat-memory.ts";

const PAGE_BYTES = 256 * 1024;
/** Opened pages that are kept: readers go through a document in its order, or come back to a few packages. */
const OPEN_PAGES = 4;
/** What a page takes compressed, and more. */
const PACKED_BYTES = 64 * 1024;
const FAST = { params: { [constants.ZSTD_c_compressionLevel]: 1 }, chunkSize: PACKED_BYTES };

/** Where a block is: bytes `start` to `end` of a page. */
export interface BlockPlace {
  page: number;
  start: number;
  end: number;
}

export class BlockStore {
  readonly #plainBytes: number;
  readonly #pages: { bytes: Buffer; size: number }[] = [];
  /** By page, the least recently used first. */
  readonly #opened = new Map<number, Buffer>();
  #page = Buffer.alloc(0);
  #used = 0;
  #total = 0;

  /** @param plainBytes how much is kept as it is, in whole pages */
  constructor(plainBytes: number) {
    this.#plainBytes = plainBytes;
  }

  /** Appends a copy of a block. It can be read after {@link close}. */
  add(block: Uint8Array): BlockPlace {
    if (this.#used + block.length > this.#page.length) {
      this.close();
      this.#page = Buffer.allocUnsafeSlow(Math.max(PAGE_BYTES, block.length));
    }
    const start = this.#used;
    this.#page.set(block, start);
    this.#used += block.length;
    return { page: this.#pages.length, start, end: this.#used };
  }

  /** Ends the last page: to be called when nothing is added any more. */
  close(): void {
    if (this.#used === 0) return;
    const page = this.#page.subarray(0, this.#used);
    this.#total += page.length;
    const isPlain = this.#total <= this.#plainBytes;
    this.#pages.push({ bytes: isPlain ? page : packed(page), size: page.length });
    // A compressed page has left its memory to the next one.
    if (isPlain) this.#page = Buffer.alloc(0);
    this.#used = 0;
  }

  /** The bytes of a block, which must not be changed. */
  read({ page, start, end }: BlockPlace): Buffer {
    return this.#open(page).subarray(start, end);
  }

  #open(number: number): Buffer {
    const { bytes, size } = this.#pages[number] as { bytes: Buffer; size: number };
    if (bytes.length === size) return bytes;
    const opened = this.#opened.get(number) ?? unpacked(bytes, size);
    this.#opened.delete(number);
    this.#opened.set(number, opened);
    if (this.#opened.size > OPEN_PAGES) this.#opened.delete(this.#opened.keys().next().value as number);
    return opened;
  }
}

/** A page that does not get smaller stays as it is. */
function packed(page: Buffer): Buffer {
  const bytes = zstdCompressSync(page, FAST);
  buffersUsed(PACKED_BYTES);
  // A copy of its own size: what comes back is a part of something larger.
  return Buffer.from(bytes.length < page.length ? bytes : page);
}

function unpacked(bytes: Buffer, size: number): Buffer {
  buffersUsed(size);
  // Everything in one piece: joining several would need the memory twice.
  return zstdDecompressSync(bytes, { chunkSize: size + 64 });
}
