/** How far the hashing of local files is that are being locked. */

export interface HashedState {
  /** Bytes. */
  done: number;
  total: number;
  /** As the manifest names it. */
  path: string;
}

export class HashedBytes {
  #done = 0;
  #total = 0;
  readonly #show: ((state: HashedState) => void) | undefined;

  constructor(show: ((state: HashedState) => void) | undefined) {
    this.#show = show;
  }

  /** So many bytes will be hashed. */
  expect(bytes: number): void {
    this.#total += bytes;
  }

  /** So many more bytes of a file are hashed. */
  add(bytes: number, path: string): void {
    this.#done += bytes;
    // A file that grows while it is read is refused at its end.
    this.#show?.({ done: Math.min(this.#done, this.#total), total: this.#total, path });
  }

  /** There is nothing more to hash. */
  end(): void {
    if (this.#done < this.#total) this.add(this.#total - this.#done, "");
  }
}
