/**
 * The buffers of large responses. They are few, large and reused, so that memory stays constant: when many clients are
 * active, each gets smaller ones. See docs/serve.md, "Large and small files".
 */
const KIB = 1024;

/** Size classes, largest first, with the total bytes that the process may have lent before the class is skipped. */
const CLASSES = [
  { size: 1024 * KIB, pair: true, budget: 8 * 1024 * KIB },
  { size: 256 * KIB, pair: true, budget: 12 * 1024 * KIB },
  { size: 64 * KIB, pair: false, budget: Number.POSITIVE_INFINITY },
] as const;
const MAX_SPARE_BYTES = 4 * 1024 * KIB;

/** Two buffers of one size (the second may be the first again): one is read into while the other is written out. */
export interface BufferPair {
  readonly first: Uint8Array;
  readonly second: Uint8Array;
}

/** The buffers of one site. */
export class BufferPool {
  readonly #sites: number;
  #lent = 0;
  #spareBytes = 0;
  readonly #spares = new Map<number, Uint8Array[]>();

  /** @param sites how many of them are in this process, each with its part of all */
  constructor(sites = 1) {
    this.#sites = sites;
  }

  /**
   * Takes buffers for one response of `length` bytes: the largest class that the current load allows and the length
   * needs.
   */
  take(length: number): BufferPair {
    const fitting = CLASSES.find((c, i) => {
      const cost = c.pair ? 2 * c.size : c.size;
      const next = CLASSES[i + 1];
      return this.#lent + cost <= c.budget / this.#sites && (next === undefined || length > next.size);
    });
    const { size, pair } = fitting ?? CLASSES[2];
    const first = this.#takeOne(size);
    return { first, second: pair && length > size ? this.#takeOne(size) : first };
  }

  /**
   * Returns buffers for the next response, only after the socket has accepted every write from them: for an aborted
   * response that is unknown, so its buffers go through {@link BufferPool.drop}.
   */
  giveBack(buffers: BufferPair): void {
    this.#giveBackOne(buffers.first);
    if (buffers.second !== buffers.first) this.#giveBackOne(buffers.second);
  }

  /** Leaves buffers to the garbage collector. */
  drop(buffers: BufferPair): void {
    this.#lent -= buffers.first.length;
    if (buffers.second !== buffers.first) this.#lent -= buffers.second.length;
  }

  #takeOne(size: number): Uint8Array {
    this.#lent += size;
    const spare = this.#spares.get(size)?.pop();
    if (spare === undefined) return Buffer.allocUnsafeSlow(size);
    this.#spareBytes -= size;
    return spare;
  }

  #giveBackOne(buffer: Uint8Array): void {
    this.#lent -= buffer.length;
    if (this.#spareBytes + buffer.length > MAX_SPARE_BYTES / this.#sites) return;
    const list = this.#spares.get(buffer.length);
    if (list === undefined) this.#spares.set(buffer.length, [buffer]);
    else list.push(buffer);
    this.#spareBytes += buffer.length;
  }
}
