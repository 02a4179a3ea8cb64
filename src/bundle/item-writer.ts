/**
 * Writes one item of a bundle to its place; the fetch engine appends to it as a sink. Large items are received into
 * shared memory, from which they are written and hashed at the same time; several writes run at once. Progress is
 * recorded in the journal at intervals.
 */

import { bug } from "../errors.ts";
import { type Digest, type Digests, digestsOf, type HashAlgorithm, RunningDigest } from "../io/digest.ts";
import type { HashPool, RangeHasher } from "../io/hash-pool.ts";
import { inMemory } from "../io/open-bytes.ts";
import { DISK_BLOCK_BYTES, type SharedPieces } from "../io/shared-pieces.ts";
import type { RandomAccess } from "../io/types.ts";
import { SMALL_BYTES, type WorkFolder, type WorkItem } from "./work-folder.ts";

/** How many bytes may be written again after a kill, at most, of one item … */
const STEP_BYTES = 8 * 1024 * 1024 - DISK_BLOCK_BYTES;
/** … and what came in how much time, where that is less. */
const STEP_MS = 3000;

interface Validator {
  url: string;
  etag?: string;
  lastModified?: string;
}

/** State shared by item writers. */
interface WriterTools {
  pool: HashPool;
  /** More pieces than writers at a time. */
  pieces: SharedPieces;
  /** Larger ones, for the one item that is hashed into its volume as it arrives: a read, a write and messages each. */
  longPieces: SharedPieces;
}

interface WriterOptions {
  algorithms: readonly HashAlgorithm[];
  readBack: boolean;
  needsPieces: boolean;
  onBytes: (bytes: number) => void;
}

/** Where the next bytes are received: a piece of shared memory, or a small item's own memory. */
interface LentMemory {
  bytes: Uint8Array;
  /** Of shared memory only: when nobody uses it any more. */
  giveBack?: () => void;
}

export class ItemWriter {
  readonly #work: WorkFolder;
  readonly #item: WorkItem;
  readonly #index: number;
  readonly #tools: WriterTools;
  readonly #algorithms: readonly HashAlgorithm[];
  readonly #readBack: boolean;
  readonly #needsPieces: boolean;
  readonly #onBytes: (bytes: number) => void;
  /** It is hashed here, and not by a thread. */
  #isSmall = false;
  /** Of a small item that comes in several pieces. */
  #inline: RunningDigest | undefined;
  /** All bytes of a small item that came at once: they are nowhere else until it is done. */
  #whole: Uint8Array | undefined;
  #framed: Promise<void> | undefined;
  #hasher: RangeHasher | undefined;
  /** Digests of the pieces of a complete large item, if they were not known. */
  #pieces: Uint8Array | undefined;
  #digests: Promise<Digests> | undefined;
  #lent: LentMemory | undefined;
  /** Everything before this item is in place: it is hashed into its volume as it arrives. */
  #isNext = false;
  #position = 0;
  /** Settled when all bytes below `position` are written and hashed; rejected at the first failure. */
  #settled: Promise<unknown> = Promise.resolve();
  /** Settled when nothing is running any more, whatever the outcome. */
  #idle: Promise<unknown> = Promise.resolve();
  #failure: { error: unknown } | undefined;
  /** Bytes that are in place. */
  #inPlace = 0;
  /** Bytes up to the last position in the journal, or about to be recorded. */
  #marked = 0;
  #markedAt = Date.now();
  #validator: Validator | undefined;

  /**
   * Starts or continues an item: the tar header of one that comes in pieces is in place before its first byte. What an
   * earlier run wrote of it is hashed and counts only if it matches the journal.
   * @param readBack the item is read as soon as it is complete, and should be in the page cache then
   * @param needsPieces the digests of a large item's pieces are wanted, and not known
   */
  static async open(work: WorkFolder, index: number, tools: WriterTools, options: WriterOptions): Promise<ItemWriter> {
    const writer = new ItemWriter(work, index, tools, options);
    await writer.#takeOver();
    if (!writer.#isSmall) await writer.#frame();
    return writer;
  }

  private constructor(work: WorkFolder, index: number, tools: WriterTools, options: WriterOptions) {
    this.#work = work;
    this.#index = index;
    this.#item = work.layout.items[index] as WorkItem;
    this.#tools = tools;
    this.#algorithms = options.algorithms;
    this.#readBack = options.readBack;
    this.#needsPieces = options.needsPieces && this.#item.size > SMALL_BYTES;
    this.#onBytes = options.onBytes;
    this.#startHash();
  }

  /** Reuses what the journal records as in place, if the disk has it. */
  async #takeOver(): Promise<void> {
    const { path, offset, size } = this.#item;
    const part = this.#work.journal.parts.get(path);
    if (part === undefined) return;
    if (part.part > 0 && part.part <= size) {
      const hasher = this.#openHasher();
      for (const piece of this.#work.volumes.pieces(offset, part.part)) await hasher.advance(piece);
      if ((await hasher.peek()).sha256 === part.digest) {
        this.#hasher = hasher;
        this.#isSmall = false;
        this.#position = part.part;
        this.#inPlace = part.part;
        this.#marked = part.part;
        const { url, etag, lastModified } = part;
        this.#validator = { url, ...(etag && { etag }), ...(lastModified && { lastModified }) };
        this.#onBytes(part.part);
        return;
      }
      hasher.discard();
    }
    await this.#work.journal.forget(path);
  }

  #frame(): Promise<void> {
    this.#framed ??= this.#work.writeFrame(this.#item);
    return this.#framed;
  }

  #startHash(): void {
    this.#isSmall = this.#item.size <= SMALL_BYTES;
    // Begun when there are bytes.
    this.#inline = undefined;
    this.#hasher = undefined;
    this.#pieces = undefined;
    this.#digests = undefined;
  }

  /** The running hash of a large item. */
  get #running(): RangeHasher {
    this.#hasher ??= this.#openHasher();
    return this.#hasher;
  }

  #openHasher(): RangeHasher {
    return this.#tools.pool.open(this.#algorithms, undefined, this.#needsPieces);
  }

  /** The running hash of a small item. */
  get #inlineDigest(): RunningDigest {
    this.#inline ??= new RunningDigest(this.#algorithms);
    return this.#inline;
  }

  /** Bytes received, including those of an earlier run. */
  get position(): number {
    return this.#position;
  }

  get validator(): Validator | undefined {
    return this.#validator;
  }

  began(response: Validator): void {
    this.#validator = response;
  }

  /** Memory for the next bytes; waits while all of it is being written. */
  async lend(): Promise<Uint8Array> {
    if (this.#lent === undefined) {
      if (this.#isSmall) this.#lent = { bytes: Buffer.allocUnsafe(Math.max(1, this.#item.size)) };
      else {
        const { pieces, longPieces } = this.#tools;
        const from = this.#work.isNext(this.#index) ? longPieces : pieces;
        const piece = await from.take();
        // Its offset in memory equals its offset in a block of the volume.
        const bytes = piece.bytes.subarray((this.#item.offset + this.#position) % DISK_BLOCK_BYTES);
        this.#lent = { bytes, giveBack: () => from.giveBack(piece) };
      }
    }
    return this.#lent.bytes;
  }

  /**
   * Accepts bytes: memory from `lend` no longer belongs to the caller, other memory is copied. Failures may surface at
   * the next call.
   */
  async write(chunk: Uint8Array): Promise<void> {
    if (this.#failure) throw this.#failure.error;
    const lent = this.#lent?.bytes;
    if (lent !== undefined && chunk.buffer === lent.buffer && chunk.byteOffset === lent.byteOffset) {
      return this.#take(chunk.length);
    }
    for (let done = 0; done < chunk.length; ) {
      const memory = await this.lend();
      const part = chunk.subarray(done, done + memory.length);
      memory.set(part);
      await this.#take(part.length);
      done += part.length;
    }
  }

  /** Starts writing and hashing the first bytes of the lent memory. */
  async #take(length: number): Promise<void> {
    const lent = this.#lent as LentMemory;
    this.#lent = undefined;
    const bytes = lent.bytes.subarray(0, length);
    const from = this.#item.offset + this.#position;
    // Behind its end its neighbour begins.
    if (length > this.#item.size - this.#position) bug(`"${this.#item.path}" gets more than ${this.#item.size} bytes`);
    this.#position += length;
    this.#onBytes(length);
    const { giveBack } = lent;
    if (giveBack === undefined) {
      if (length === this.#item.size && length === this.#position) {
        this.#whole = bytes;
        return;
      }
      await this.#frame();
      this.#inlineDigest.update(bytes);
      const mark = this.#markAfter(STEP_BYTES);
      await this.#work.volumes.write(from, bytes);
      return this.#written(this.#position, mark);
    }
    const shared = bytes as Uint8Array<SharedArrayBuffer>;
    const jobs: Promise<unknown>[] = [this.#running.feed(shared)];
    const mark = this.#markAfter(STEP_BYTES);
    if (!this.#isNext && this.#work.isNext(this.#index)) {
      await this.#settled;
      this.#work.hashUpTo(from);
      this.#isNext = true;
    }
    if (this.#isNext) jobs.push(this.#work.hashNext(from, shared));
    const { volumes } = this.#work;
    const direct = this.#isNext && !this.#readBack;
    const writing = direct ? volumes.writeDirect(from, shared) : volumes.write(from, shared);
    const before = this.#settled;
    const position = this.#position;
    this.#track(
      Promise.all([before, writing]).then(() => this.#written(position, mark)),
      ...jobs,
    );
    void Promise.allSettled([writing, ...jobs]).then(giveBack);
  }

  #track(...jobs: Promise<unknown>[]): void {
    this.#idle = Promise.allSettled([this.#idle, ...jobs]);
    this.#settled = Promise.all([this.#settled, ...jobs]);
    this.#settled.catch((error: unknown) => {
      this.#failure ??= { error };
    });
  }

  /** The digest of all bytes received, if the journal is due; requested before further bytes are queued. */
  #markAfter(step: number): Promise<Digests> | undefined {
    const fresh = this.#position - this.#marked;
    const isDue = fresh >= step || (fresh > 0 && Date.now() - this.#markedAt >= STEP_MS);
    if (this.#validator === undefined || !isDue) return undefined;
    this.#marked = this.#position;
    this.#markedAt = Date.now();
    const digest = this.#isSmall ? Promise.resolve(this.#inlineDigest.peek()) : this.#running.peek();
    digest.catch(() => {});
    return digest;
  }

  async #written(position: number, mark?: Promise<Digests>): Promise<void> {
    this.#inPlace = position;
    if (mark !== undefined) await this.#recordPart(position, (await mark).sha256);
    this.#work.progress(this.#index, Math.min(position, this.#item.size - 1));
  }

  /** Records the progress for a rerun; called when the item could not be finished. */
  async suspend(): Promise<void> {
    await this.#idle;
    this.#release();
    // Once its digests are final a part has no digest, and needs none.
    const mark = this.#inPlace === this.#position && this.#digests === undefined ? this.#markAfter(1) : undefined;
    const digests = await mark?.catch(() => undefined);
    if (digests !== undefined) await this.#recordPart(this.#inPlace, digests.sha256);
    this.#hasher?.discard();
  }

  async restart(): Promise<void> {
    await this.#idle;
    this.#settled = Promise.resolve();
    this.#release();
    this.#hasher?.discard();
    this.#whole = undefined;
    this.#onBytes(-this.#position);
    this.#position = 0;
    this.#inPlace = 0;
    this.#marked = 0;
    this.#isNext = false;
    this.#startHash();
    await this.#work.journal.forget(this.#item.path);
    this.#work.restarted(this.#index);
  }

  /** Waits until everything is written; returns the digests of it. */
  digests(): Promise<Digests> {
    this.#digests ??= (async () => {
      this.#release();
      if (this.#whole) return digestsOf(this.#whole, this.#algorithms);
      if (this.#isSmall) return this.#inlineDigest.digests();
      await this.#settled;
      const hasher = this.#running;
      const pieces = this.#needsPieces ? hasher.pieces.bind(hasher) : async () => undefined;
      const [digests, found] = await Promise.all([hasher.digests(), pieces()]);
      this.#pieces = found;
      return digests;
    })();
    return this.#digests;
  }

  /** The bytes so far, to be read once all are taken. */
  content(): RandomAccess {
    return this.#whole === undefined
      ? this.#work.volumes.range(this.#item.offset, this.#item.size)
      : inMemory(this.#whole);
  }

  /** The digest was right: the item counts as complete. */
  async done(digest: Digest): Promise<void> {
    if (this.#whole !== undefined) {
      return this.#work.addSmall({
        index: this.#index,
        item: this.#item,
        bytes: this.#whole,
        digest,
        journaled: true,
      });
    }
    await this.#frame();
    if (this.#pieces !== undefined) this.#work.pieces.set(digest, this.#pieces);
    await this.#work.journal.recordDone({
      path: this.#item.path,
      done: digest,
      size: this.#item.size,
      offset: this.#item.offset,
    });
    this.#work.progress(this.#index, this.#item.size);
  }

  /** Returns lent memory that was not used. */
  #release(): void {
    this.#lent?.giveBack?.();
    this.#lent = undefined;
  }

  async #recordPart(part: number, digest: Digest): Promise<void> {
    const { url, etag, lastModified } = this.#validator as Validator;
    await this.#work.journal.recordPart({
      path: this.#item.path,
      part,
      digest,
      url,
      ...(etag && { etag }),
      ...(lastModified && { lastModified }),
    });
  }
}
