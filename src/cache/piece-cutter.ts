/** One stream of bytes cut into pieces of 1 MiB, each in memory of its own that is used again. */
import { PIECE_BYTES } from "../io/piece-digests.ts";

const MAX_SPARE = 16;
const spare: Buffer[] = [];

/** Called with each piece as it is whole, and its index; `bytes` are valid until it resolves. */
type OnPiece = (index: number, bytes: Buffer) => Promise<void>;

/**
 * Cuts a stream that begins at the start of a piece. {@link PieceCutter.finish} or {@link PieceCutter.settle} must be
 * called, however it ended.
 */
export class PieceCutter {
  #index: number;
  #buffer: Buffer | undefined;
  #filled = 0;
  readonly #onPiece: OnPiece;
  readonly #running = new Set<Promise<void>>();
  readonly #maxRunning: number;
  #fault: unknown;

  /** @param maxRunning how many pieces may be with their receiver at once; more stop the stream */
  constructor(first: number, maxRunning: number, onPiece: OnPiece) {
    this.#index = first;
    this.#maxRunning = maxRunning;
    this.#onPiece = onPiece;
  }

  /** Takes the next bytes; returns a promise where their sender must wait. @throws what the receiver threw */
  take = (bytes: Buffer): Promise<void> | undefined => {
    for (let at = 0; at < bytes.length; ) {
      this.#buffer ??= spare.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
      const count = bytes.copy(this.#buffer, this.#filled, at);
      at += count;
      this.#filled += count;
      if (this.#filled === PIECE_BYTES) this.#give();
    }
    if (this.#fault !== undefined) throw this.#fault;
    return this.#running.size >= this.#maxRunning ? Promise.race(this.#running) : undefined;
  };

  /** Ends the last piece, if there is one, and waits for the receiver. @throws what the receiver threw */
  async finish(): Promise<void> {
    if (this.#filled > 0) this.#give();
    await this.settle();
    if (this.#fault !== undefined) throw this.#fault;
  }

  /** Waits for the receiver after a stream that broke off. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #give(): void {
    const buffer = this.#buffer;
    if (buffer === undefined) return;
    const running = this.#onPiece(this.#index, buffer.subarray(0, this.#filled))
      .catch((error: unknown) => {
        this.#fault ??= error;
      })
      .finally(() => {
        this.#running.delete(running);
        if (spare.length < MAX_SPARE) spare.push(buffer);
      });
    this.#running.add(running);
    this.#index++;
    this.#buffer = undefined;
    this.#filled = 0;
  }
}
