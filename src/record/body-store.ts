/**
 * Bodies on their way into files named by their digest: collected into large pieces, which hash threads hash while they
 * are written. Memory stays flat: a body that is not written fast enough says so, and whoever reads it from upstream
 * waits.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, lstat, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ioError } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { HashPool, type RangeHasher } from "../io/hash-pool.ts";

/** Bodies up to this are held in memory until their end, and hashed here. */
const SMALL_BYTES = 256 * 1024;
const PIECE_BYTES = 256 * 1024;
/** Pieces of one body that are being written. */
const MAX_RUNNING = 4;
/** Above this in all, each body has one piece that is being written. */
const MAX_PIECES_BYTES = 8 * 1024 * 1024;
/** Above this many large bodies at a time their pieces are small. */
const MANY_BODIES = 24;
const SMALL_PIECE_BYTES = 64 * 1024;
const MAX_SPARE_BYTES = 8 * 1024 * 1024;

/** A complete body. */
export interface StoredBody {
  digest: Digest;
  size: number;
  /** All of it, if it is small. */
  bytes?: Buffer;
  /** Whether its file was written now: the disk may not have it yet. */
  isNew: boolean;
}

type Piece = Uint8Array<SharedArrayBuffer>;

/** The folder of bodies. Its creator closes it. */
export class BodyStore {
  readonly folder: string;
  /** One thread hashes more than the proxy, which is one thread too, passes on. */
  readonly #pool = new HashPool(1);
  readonly #spare = new Map<number, Piece[]>([
    [PIECE_BYTES, []],
    [SMALL_PIECE_BYTES, []],
  ]);
  #open = 0;
  #usedBytes = 0;

  /** `folder` exists. */
  constructor(folder: string) {
    this.folder = folder;
  }

  /** A body to be received. With `isRead` it is in its file early, in small pieces, for readers. */
  begin(isRead = false): IncomingBody {
    return new IncomingBody(this, isRead);
  }

  pathOf(digest: Digest): string {
    return join(this.folder, hexOf(digest));
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  /** @internal */
  hasher(): RangeHasher {
    this.#open++;
    return this.#pool.open();
  }

  /** @internal */
  released(): void {
    this.#open--;
  }

  /** @internal */
  take(isSmall: boolean): Piece {
    const size = isSmall || this.#open > MANY_BODIES ? SMALL_PIECE_BYTES : PIECE_BYTES;
    this.#usedBytes += size;
    return this.#spare.get(size)?.pop() ?? new Uint8Array(new SharedArrayBuffer(size));
  }

  /** @internal */
  giveBack(piece: Piece): void {
    this.#usedBytes -= piece.length;
    const spare = this.#spare.get(piece.length) ?? [];
    if ((spare.length + 1) * piece.length <= MAX_SPARE_BYTES) spare.push(piece);
  }

  /** @internal */
  get maxRunning(): number {
    return this.#usedBytes > MAX_PIECES_BYTES ? 1 : MAX_RUNNING;
  }
}

/** One body while it arrives. End it with `finish` or `discard`. */
export class IncomingBody {
  /** Called when `isFull` may have become false, and at the end. */
  onProgress: () => void = () => {};
  #waiting: (() => void)[] = [];
  #isOver = false;
  readonly file: string;
  readonly #store: BodyStore;
  readonly #isRead: boolean;
  #small: Buffer[] = [];
  #size = 0;
  #hasher: RangeHasher | undefined;
  #opening: Promise<FileHandle> | undefined;
  #piece: Piece | undefined;
  #filled = 0;
  #running = 0;
  #handedOn = 0;
  /** Bytes from the start that are in the file. */
  #written = 0;
  readonly #ahead = new Map<number, number>();
  #failure: { error: unknown } | undefined;
  #idle: () => void = () => {};

  /** Use {@link BodyStore.begin}. */
  constructor(store: BodyStore, isRead: boolean) {
    this.#store = store;
    this.#isRead = isRead;
    this.file = join(store.folder, `.tmp-${randomBytes(8).toString("hex")}`);
    if (isRead) this.#enlarge();
  }

  /** Bytes received. */
  get size(): number {
    return this.#size;
  }

  /** Bytes from the start that can be read from `file`. */
  get written(): number {
    return this.#written;
  }

  /** Whether the next bytes should wait. Never after a failure: the client is served nevertheless. */
  get isFull(): boolean {
    return this.#running >= this.#store.maxRunning && this.#failure === undefined;
  }

  /** Whether it is stored or discarded. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Settled when more is in the file, or the body is over. */
  changed(): Promise<void> {
    return this.#isOver ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Why it cannot be stored, such as a full disk. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  /** All bytes so far, while they are few enough to be in memory. */
  get inMemory(): Buffer | undefined {
    if (this.#hasher !== undefined) return undefined;
    if (this.#small.length !== 1) this.#small = [Buffer.concat(this.#small)];
    return this.#small[0];
  }

  /** Another handle of the file, for a body that is read while it arrives. The caller closes it. */
  async reader(): Promise<FileHandle> {
    await this.#opening;
    return open(this.file, "r");
  }

  /** Takes bytes. Faults surface at `finish`. */
  push(chunk: Buffer): void {
    this.#size += chunk.length;
    if (this.#failure !== undefined) return;
    if (this.#hasher === undefined) {
      this.#small.push(chunk);
      if (this.#size > SMALL_BYTES) this.#enlarge();
      return;
    }
    for (let done = 0; done < chunk.length; ) {
      this.#piece ??= this.#store.take(this.#isRead);
      const part = Math.min(chunk.length - done, this.#piece.length - this.#filled);
      this.#piece.set(part === chunk.length ? chunk : chunk.subarray(done, done + part), this.#filled);
      this.#filled += part;
      done += part;
      if (this.#filled === this.#piece.length) this.#handOn();
    }
  }

  /** The first `length` bytes of one that has come to its end and is in its file; none after a failure. */
  async head(length: number): Promise<Buffer> {
    this.#handOn();
    await this.#settled();
    const bytes = Buffer.alloc(length);
    const found = await (await this.#opening?.catch(() => undefined))?.read(bytes, 0, length, 0);
    return bytes.subarray(0, found?.bytesRead ?? 0);
  }

  /** From now on it goes through pieces into its file. */
  #enlarge(): void {
    this.#hasher = this.#store.hasher();
    this.#opening = open(this.file, "wx+", 0o644);
    this.#opening.catch(() => {});
    const before = this.#small;
    this.#small = [];
    this.#size -= before.reduce((sum, it) => sum + it.length, 0);
    for (const it of before) this.push(it);
  }

  #handOn(): void {
    const piece = this.#piece;
    if (piece === undefined) return;
    const bytes = piece.subarray(0, this.#filled);
    const position = this.#handedOn;
    this.#handedOn += this.#filled;
    this.#piece = undefined;
    this.#filled = 0;
    this.#running++;
    void Promise.allSettled([this.#hasher?.feed(bytes), this.#write(bytes, position)]).then((results) => {
      this.#running--;
      this.#store.giveBack(piece);
      const failed = results.find((it) => it.status === "rejected");
      if (failed !== undefined) this.#fail(failed.reason);
      this.#ahead.set(position, bytes.length);
      for (let next = this.#ahead.get(this.#written); next !== undefined; next = this.#ahead.get(this.#written)) {
        this.#ahead.delete(this.#written);
        this.#written += next;
      }
      if (this.#running === 0) this.#idle();
      this.#tell();
    });
  }

  /** Of a body that cannot be whole, nothing stays on a full disk. */
  #fail(error: unknown): void {
    this.#failure ??= { error };
    void this.#opening?.then((handle) => handle.truncate(0)).catch(() => {});
  }

  #tell(): void {
    this.onProgress();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const it of waiting) it();
  }

  async #write(bytes: Piece, position: number): Promise<void> {
    const handle = await this.#opening;
    for (let done = 0; handle !== undefined && done < bytes.length; ) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  }

  /**
   * Waits until all of it is stored under its digest.
   * @throws {AirferryError} ERR_SPACE, ERR_IO; it is discarded then
   */
  async finish(): Promise<StoredBody> {
    try {
      const body = this.#hasher === undefined ? await this.#finishSmall() : await this.#finishLarge(this.#hasher);
      this.#isOver = true;
      this.#tell();
      return body;
    } catch (error) {
      this.#failure ??= { error };
      await this.discard();
      throw ioError("record into", this.#store.folder, error);
    }
  }

  async #finishSmall(): Promise<StoredBody> {
    const bytes = this.inMemory ?? Buffer.alloc(0);
    const digest = digestOf(bytes);
    const path = this.#store.pathOf(digest);
    const isNew = !(await hasBytes(path, bytes));
    if (isNew) {
      await writeFile(this.file, bytes, { flag: "wx", mode: 0o644 });
      await rename(this.file, path);
    }
    return { digest, size: bytes.length, bytes, isNew };
  }

  async #finishLarge(hasher: RangeHasher): Promise<StoredBody> {
    this.#handOn();
    await this.#settled();
    if (this.#failure !== undefined) throw this.#failure.error;
    await (await this.#opening)?.close();
    this.#opening = undefined;
    const digest = await hasher.digest();
    this.#hasher = undefined;
    this.#store.released();
    // One that is there may be damaged, and this one is written already.
    await rename(this.file, this.#store.pathOf(digest));
    return { digest, size: this.#size, isNew: true };
  }

  #settled(): Promise<void> {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle = resolve;
    });
  }

  /** Forgets it, and its file. */
  async discard(): Promise<void> {
    await this.#settled();
    if (this.#hasher !== undefined) {
      this.#hasher.discard();
      this.#hasher = undefined;
      this.#store.released();
    }
    this.#small = [];
    if (this.#piece !== undefined) this.#store.giveBack(this.#piece);
    this.#piece = undefined;
    const handle = await this.#opening?.catch(() => undefined);
    this.#opening = undefined;
    // Readers may still have it open: its space is free at once.
    await handle?.truncate(0).catch(() => {});
    await handle?.close();
    await rm(this.file, { force: true });
    this.#isOver = true;
    this.#tell();
  }
}

/** Whether a file is whole: one of an earlier recording may be damaged. */
async function hasBytes(path: string, bytes: Buffer): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isFile() !== true || found.size !== bytes.length) return false;
  return readFile(path).then(
    (it) => bytes.equals(it),
    () => false,
  );
}
