/**
 * Memory that threads share, lent out in pieces: bytes are received into a piece, written from it and hashed from it by
 * other threads, without a copy. It consists of whole pages, as writes that bypass the page cache require (O_DIRECT).
 */

/**
 * Direct writes start and end at multiples of this, in the file and in memory; a multiple of what any disk requires.
 */
export const DISK_BLOCK_BYTES = 4096;

const PIECE_BYTES = 1024 * 1024;

const PAGE_BYTES = 65536;

/** Not in the library types of Node. */
const wasm = Reflect.get(globalThis, "WebAssembly") as {
  Memory: new (of: { initial: number; maximum: number; shared: true }) => { buffer: SharedArrayBuffer };
};

/** One piece. The holder returns it, once, when no thread uses it any more. */
export interface Piece {
  readonly bytes: Uint8Array<SharedArrayBuffer>;
}

/** A fixed number of pieces of one length. Unused pages cost nothing. */
export class SharedPieces {
  readonly #free: Piece[];
  readonly #waiting: ((piece: Piece) => void)[] = [];

  /** @param pieceBytes a multiple of a MiB */
  constructor(count: number, pieceBytes = PIECE_BYTES) {
    const pages = (count * pieceBytes) / PAGE_BYTES;
    const { buffer } = new wasm.Memory({ initial: pages, maximum: pages, shared: true });
    this.#free = Array.from({ length: count }, (_, index) => ({
      bytes: new Uint8Array(buffer, (count - 1 - index) * pieceBytes, pieceBytes),
    }));
  }

  /** A free piece, as soon as there is one. Recently used ones come first: they are in the processor's caches. */
  take(): Promise<Piece> {
    const piece = this.#free.pop();
    return piece === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(piece);
  }

  giveBack(piece: Piece): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(piece);
    else next(piece);
  }
}
