/**
 * Small files of the store: packages, metadata, manifests. The hottest are in memory and the next have a descriptor
 * open, both by how often they were asked for, so that a scan over all of them pushes nothing out. What is read is
 * never believed: the first time it is compared with its digest, later against a checksum of those bytes. See
 * docs/serve.md, "Large and small files".
 */
import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { AirferryError } from "../../errors.ts";
import { buffersUsed } from "../../io/flat-memory.ts";
import { type Counted, Favourites, Frequency } from "./favourites.ts";
import type { SharedFile, SharedFiles } from "./handles.ts";
import { damagedFile } from "./read-check.ts";
import { ReadGuard } from "./read-guard.ts";

/** Files up to this size are small. */
export const MAX_SMALL_BYTES = 128 * 1024;
/** Files up to this size may be read on the main thread. */
const MAX_READ_NOW_BYTES = 64 * 1024;
/** What was read this lately is likely to be in the page cache still. */
const RECENT_MS = 60_000;
const MAX_FILES = 16_384;
/** Ten uses of each file are a period: enough to know their frequencies. */
const PERIOD_USES = 10 * MAX_FILES;

/** What is in memory has room for the header fields of an answer before it, so that both go out in one write. */
export const HEADROOM_BYTES = 512;

/** One small file. Its bytes never change: it is named by their digest. */
export class SmallFile implements Counted {
  readonly path: string;
  readonly size: number;
  readonly digest: string;
  uses = 0;
  period = 0;
  /** In memory, with {@link HEADROOM_BYTES} before it in the same buffer. */
  bytes: Buffer | undefined;
  /**
   * An answer in one piece: what is in the room before `bytes`, and those; whoever wrote it there knows until when
   * it holds.
   */
  ready: { answer: Buffer; by: unknown; second: number } | undefined;
  /** How many sockets still need `ready`. */
  sending = 0;
  handle: SharedFile | undefined;
  /** CRC-32 of the bytes that had the right digest. */
  checksum: number | undefined;
  readMs = Number.NEGATIVE_INFINITY;
  loading: Promise<Buffer> | undefined;

  constructor(path: string, size: number, digest: string) {
    this.path = path;
    this.size = size;
    this.digest = digest;
  }
}

/** How much is kept. */
interface SmallFileLimits {
  bytes: number;
  handles: number;
}

/** The small files of one site. {@link SmallFiles.closeIdle} ends what it holds open. */
export class SmallFiles {
  readonly #files: SharedFiles;
  readonly #guard: ReadGuard;
  readonly #known = new Map<string, SmallFile>();
  readonly #frequency = new Frequency(PERIOD_USES);
  readonly #inMemory: Favourites<SmallFile>;
  readonly #open: Favourites<SmallFile>;

  constructor(files: SharedFiles, limits: SmallFileLimits, guard = new ReadGuard(false)) {
    this.#files = files;
    this.#guard = guard;
    this.#inMemory = new Favourites(limits.bytes, this.#frequency, (file) => {
      file.bytes = undefined;
      file.ready = undefined;
    });
    this.#open = new Favourites(limits.handles, this.#frequency, closeHandle);
  }

  /**
   * Returns what is known of a file of at most {@link MAX_SMALL_BYTES}; the same object for the same path, while it is
   * in use.
   */
  at(path: string, size: number, digest: string): SmallFile {
    const known = this.#known.get(path);
    if (known !== undefined && known.size === size && known.digest === digest) return known;
    const file = new SmallFile(path, size, digest);
    if (this.#known.size >= MAX_FILES) this.#forgetOldest();
    this.#known.set(path, file);
    return file;
  }

  /** Returns a file's bytes if they are in memory, as {@link SmallFile.bytes} has them. Counts as a use. */
  inMemory(file: SmallFile): Buffer | undefined {
    this.#frequency.count(file);
    return file.bytes;
  }

  /**
   * Reads all bytes of a file into `target` from `offset`, if that takes no disk and no other thread. Returns false
   * when it would, and when the bytes are not what they should be: {@link SmallFiles.load} then tells.
   */
  readNow(file: SmallFile, target: Buffer, offset: number): boolean {
    const { size, checksum } = file;
    if (checksum === undefined || size > MAX_READ_NOW_BYTES) return false;
    const started = performance.now();
    if (started - file.readMs > RECENT_MS || !this.#guard.mayRead(started)) return false;
    const bytes = target.subarray(offset, offset + size);
    const isRight = this.#readNow(file, target, offset) && crc32(bytes) === checksum;
    file.readMs = performance.now();
    this.#guard.took(started, file.readMs);
    if (isRight) this.#keep(file, bytes);
    else this.#doubt(file);
    return isRight;
  }

  /**
   * Reads a file. @throws {AirferryError} ERR_STORE_INVALID when its bytes are not what they should be; the system's
   * errors
   */
  async load(file: SmallFile): Promise<Buffer> {
    this.#frequency.count(file);
    if (file.bytes !== undefined) return file.bytes;
    file.loading ??= this.#load(file).finally(() => {
      file.loading = undefined;
    });
    return await file.loading;
  }

  /** Closes every descriptor that is only kept for the next time. */
  closeIdle(): void {
    this.#open.clear();
  }

  async #load(file: SmallFile, isSecond = false): Promise<Buffer> {
    const { path, size } = file;
    const bytes = Buffer.allocUnsafeSlow(size);
    const handle = await this.#files.open(path);
    try {
      if (handle.size !== size) throw damagedFile(file, `expected ${size} bytes, got ${handle.size}`);
      const count = await handle.fillUnchecked(bytes, size, 0);
      if (count !== size) throw damagedFile(file, `expected ${size} bytes, got ${count}`);
      this.#verify(file, bytes, handle);
    } catch (error) {
      if (error instanceof AirferryError) this.#files.check.noteDamaged(handle);
      this.#doubt(file);
      if (!isSecond && (await this.#files.bringAgain(error, path))) return await this.#load(file, true);
      throw error;
    } finally {
      handle.release();
    }
    file.readMs = performance.now();
    this.#keep(file, bytes);
    buffersUsed(size);
    return bytes;
  }

  #keep(file: SmallFile, bytes: Uint8Array): void {
    const cost = HEADROOM_BYTES + file.size;
    if (file.bytes !== undefined || !this.#inMemory.wants(file, cost)) return;
    file.bytes = Buffer.allocUnsafeSlow(cost).subarray(HEADROOM_BYTES);
    file.bytes.set(bytes);
    this.#inMemory.add(file, cost);
  }

  #verify(file: SmallFile, bytes: Uint8Array, { isRemovable }: SharedFile): void {
    const [algorithm, expected] = file.digest.split(":");
    if (algorithm !== "sha256" && algorithm !== "sha512") return;
    if (file.checksum !== undefined && crc32(bytes) === file.checksum) return;
    const actual = hash(algorithm, bytes, "hex");
    if (actual !== expected)
      throw damagedFile({ path: file.path, isRemovable }, `expected ${file.digest}, got ${algorithm}:${actual}`);
    file.checksum = crc32(bytes);
  }

  /** Opens the file if it is not open, keeps it open if it is worth that, and reads it. */
  #readNow(file: SmallFile, target: Buffer, offset: number): boolean {
    try {
      const handle = file.handle ?? this.#files.openNow(file.path);
      if (handle === undefined) return false;
      try {
        return handle.size === file.size && handle.fillNow(target, offset, file.size, 0) === file.size;
      } finally {
        if (file.handle === undefined) this.#keepOpen(file, handle);
      }
    } catch {
      return false;
    }
  }

  #keepOpen(file: SmallFile, handle: SharedFile): void {
    if (this.#open.wants(file, 1)) {
      file.handle = handle;
      this.#open.add(file, 1);
    } else {
      handle.release();
    }
  }

  /**
   * Believes nothing any more that was known of a file: what is at its path now may be another, which was put there to
   * mend it.
   */
  #doubt(file: SmallFile): void {
    file.checksum = undefined;
    this.#open.delete(file);
    this.#files.forget(file.path);
  }

  #forgetOldest(): void {
    const [oldest] = this.#known;
    if (oldest === undefined) return;
    const [path, file] = oldest;
    this.#known.delete(path);
    this.#inMemory.delete(file);
    this.#open.delete(file);
  }
}

function closeHandle(file: SmallFile): void {
  file.handle?.release();
  file.handle = undefined;
}
