/**
 * Writes one item of a bundle to its place: bytes go to the volumes, are read back by the hashing threads from the page
 * cache, and every so often the journal learns how far it got. It is the sink that the fetch engine appends to.
 */
import { createHash, type Hash } from "node:crypto";
import type { HashAlgorithm, HashPool, RangeHasher } from "../io/hash-pool.ts";
import type { WorkFolder, WorkItem } from "./work-folder.ts";

/** How many bytes may be written again after a kill, at most, of one item. */
const JOURNAL_STEP_BYTES = 8 * 1024 * 1024;
/** Below this a message to a hashing thread costs more than the hashing. */
const HASH_STEP_BYTES = 1024 * 1024;

export interface Validator {
  url: string;
  etag?: string;
  lastModified?: string;
}

export class ItemWriter {
  readonly #work: WorkFolder;
  readonly #item: WorkItem;
  readonly #index: number;
  readonly #pool: HashPool;
  readonly #algorithms: readonly HashAlgorithm[];
  readonly #onBytes: (bytes: number) => void;
  /** Small items are hashed as they are written: asking a thread costs more. */
  #inline: { name: HashAlgorithm; hash: Hash }[] | undefined;
  #hasher: RangeHasher | undefined;
  #hashing: Promise<void> = Promise.resolve();
  #digests: Promise<Record<string, string>> | undefined;
  #position = 0;
  #hashed = 0;
  #journaled = 0;
  #validator: Validator | undefined;

  /** Starts or continues an item: its tar header is in place before its first byte. */
  static async open(
    work: WorkFolder,
    index: number,
    pool: HashPool,
    algorithms: readonly HashAlgorithm[],
    onBytes: (bytes: number) => void,
  ): Promise<ItemWriter> {
    await work.writeFrame(work.layout.items[index] as WorkItem);
    return new ItemWriter(work, index, pool, algorithms, onBytes);
  }

  private constructor(
    work: WorkFolder,
    index: number,
    pool: HashPool,
    algorithms: readonly HashAlgorithm[],
    onBytes: (bytes: number) => void,
  ) {
    this.#work = work;
    this.#index = index;
    this.#item = work.layout.items[index] as WorkItem;
    this.#pool = pool;
    this.#algorithms = algorithms;
    this.#onBytes = onBytes;
    const part = work.journal.parts.get(this.#item.path);
    if (part !== undefined && part.part <= this.#item.size) {
      this.#position = part.part;
      this.#journaled = part.part;
      this.#validator = {
        url: part.url,
        ...(part.etag && { etag: part.etag }),
        ...(part.lastModified && { lastModified: part.lastModified }),
      };
      onBytes(part.part);
    }
    this.#startHash();
  }

  #startHash(): void {
    const small = this.#item.size <= HASH_STEP_BYTES && this.#position === 0;
    this.#inline = small ? this.#algorithms.map((name) => ({ name, hash: createHash(name) })) : undefined;
    this.#hasher = small ? undefined : this.#pool.open(this.#algorithms);
    this.#digests = undefined;
  }

  /** Bytes in place, those of an earlier run included. */
  get position(): number {
    return this.#position;
  }

  get validator(): Validator | undefined {
    return this.#validator;
  }

  began(response: Validator): void {
    this.#validator = response;
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (const { hash } of this.#inline ?? []) hash.update(chunk);
    await this.#work.volumes.write(this.#item.offset + this.#position, chunk);
    this.#position += chunk.length;
    this.#onBytes(chunk.length);
    if (this.#position - this.#hashed >= HASH_STEP_BYTES) this.#hashUpTo(this.#position);
    if (this.#validator !== undefined && this.#position - this.#journaled >= JOURNAL_STEP_BYTES)
      await this.#recordPart();
    this.#work.progress(this.#index, Math.min(this.#position, this.#item.size - 1));
  }

  /** Remembers how far it got, for a rerun; called when the item could not be finished. */
  async suspend(): Promise<void> {
    if (this.#validator !== undefined && this.#position > this.#journaled) await this.#recordPart();
    this.#hasher?.discard();
  }

  async restart(): Promise<void> {
    await this.#hashing;
    this.#hasher?.discard();
    this.#onBytes(-this.#position);
    this.#position = 0;
    this.#startHash();
    this.#hashed = 0;
    this.#journaled = 0;
    await this.#work.journal.forget(this.#item.path);
    this.#work.progress(this.#index, 0);
  }

  /** Digests (hex by algorithm) of everything written; of large items as it is read back from the volumes. */
  digests(): Promise<Record<string, string>> {
    this.#digests ??= (async () => {
      if (this.#inline) return Object.fromEntries(this.#inline.map(({ name, hash }) => [name, hash.digest("hex")]));
      this.#hashUpTo(this.#position);
      await this.#hashing;
      return (this.#hasher as RangeHasher).digests();
    })();
    return this.#digests;
  }

  /** The digest was right: the item counts as whole. */
  async done(sha256: string): Promise<void> {
    await this.#work.journal.recordDone({
      path: this.#item.path,
      done: sha256,
      size: this.#item.size,
      offset: this.#item.offset,
    });
    this.#work.progress(this.#index, this.#item.size);
  }

  #hashUpTo(position: number): void {
    const hasher = this.#hasher;
    if (hasher === undefined) return;
    const pieces = this.#work.volumes.pieces(this.#item.offset + this.#hashed, position - this.#hashed);
    this.#hashed = position;
    this.#hashing = this.#hashing.then(async () => {
      for (const piece of pieces) await hasher.advance(piece);
    });
    // A failure shows when the digests are asked for.
    this.#hashing.catch(() => {});
  }

  async #recordPart(): Promise<void> {
    this.#journaled = this.#position;
    const { url, etag, lastModified } = this.#validator as Validator;
    await this.#work.journal.recordPart({
      path: this.#item.path,
      part: this.#position,
      url,
      ...(etag && { etag }),
      ...(lastModified && { lastModified }),
    });
  }
}
