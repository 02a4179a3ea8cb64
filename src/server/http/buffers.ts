/**
 * The buffers that large responses are read into and written from. They are few, large and reused, so that memory stays
 * flat: when many clients are busy, each gets smaller ones. See docs/serve.md, "Large and small files".
 */
const KIB = 1024;

/** Size classes, largest first, with the bytes that may be lent out in all before the class is skipped. */
const CLASSES = [
  { size: 1024 * KIB, pair: true, budget: 16 * 1024 * KIB },
  { size: 256 * KIB, pair: true, budget: 24 * 1024 * KIB },
  { size: 64 * KIB, pair: false, budget: Number.POSITIVE_INFINITY },
] as const;
const MAX_SPARE_BYTES = 8 * 1024 * KIB;

/** Two buffers of one size (the second may be the first again): one is read into while the other is written out. */
export interface BufferPair {
  readonly first: Uint8Array;
  readonly second: Uint8Array;
}

/** The buffers of one site. */
export class BufferPool {
  #lent = 0;
  #spareBytes = 0;
  readonly #spares = new Map<number, Uint8Array[]>();

  /** Takes buffers for one response of `length` bytes: the largest class that the present load allows and the length needs. */
  take(length: number): BufferPair {
    const fitting = CLASSES.find((c, i) => {
      const cost = c.pair ? 2 * c.size : c.size;
      const next = CLASSES[i + 1];
      return this.#lent + cost <= c.budget && (next === undefined || length > next.size);
    });
    const { size, pair } = fitting ?? CLASSES[2];
    const first = this.#takeOne(size);
    return { first, second: pair && length > size ? this.#takeOne(size) : first };
  }

  /**
   * Gives buffers back for the next response. Only after every write from them has been taken by the socket: of a response
   * that was cut off nobody can tell, so its buffers go through {@link BufferPool.drop}.
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
    if (this.#spareBytes + buffer.length > MAX_SPARE_BYTES) return;
    const list = this.#spares.get(buffer.length);
    if (list === undefined) this.#spares.set(buffer.length, [buffer]);
    else list.push(buffer);
    this.#spareBytes += buffer.length;
  }
}
