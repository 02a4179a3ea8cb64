/**
 * The chunks of a cache on disk: at most 1 MiB each, named by their digest, which they have before they have the name.
 * What was used longest ago is removed when they are more than the cache may hold. Files are not synced: what a power
 * loss spoils is found by whoever reads it, and fetched again.
 */
import { randomBytes } from "node:crypto";
import { close, open, rename, stat, write } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { eachLimited } from "../io/limit.ts";
import { PIECE_DIGEST_BYTES, pieceDigest } from "../io/piece-digests.ts";

// A FileHandle of node:fs/promises costs as much of the processor as a small write.
const openFile = promisify(open);
const writeFile = promisify(write);
const closeFile = promisify(close);
const renameFile = promisify(rename);
const statFile = promisify(stat);

/** Longer than any write takes: such files were left by processes that ended. */
const OLD_TEMPORARY_MS = 60_000;
/** Chunks have this much however large the documents are: what is fetched ahead for a client stays until it is read. */
const LEAST_BYTES = 48 * 1024 * 1024;
/** Chunks are removed from this part of their room on, while others are still written, */
const START = 0.95;
/** and down to this one. */
const KEEP = 0.85;
const BLOCK_BYTES = 4096;
const SCANS = 4;
const SHARDS = Array.from({ length: 256 }, (_, at) => at.toString(16).padStart(2, "0"));
const TEMPORARY = ".tmp-";

/** The path of a chunk in a cache. */
export function chunkPath(dir: string, digest: Digest): string {
  const hex = hexOf(digest);
  return join(dir, "blobs", "sha256", hex.slice(0, 2), hex);
}

/** The digest of a piece, by its place in a list. */
export function chunkOf(list: Uint8Array, index: number): Digest {
  const { buffer, byteOffset } = pieceDigest(list, index);
  return `sha256:${Buffer.from(buffer, byteOffset, PIECE_DIGEST_BYTES).toString("hex")}`;
}

interface Found {
  file: string;
  bytes: number;
  usedMs: number;
}

/**
 * The chunks in one folder. Several processes may use one: each file is whole, or not there. They share the limit with
 * the documents of the cache, which are never removed here.
 */
export class ChunkFolder {
  readonly dir: string;
  readonly limitBytes: number;
  /** Of chunks. */
  #usedBytes = 0;
  #documentBytes = 0;
  #evicted = 0;
  #evicting: Promise<void> | undefined;
  readonly #writing = new Set<string>();
  /** What changed since each count began: bytes of chunks, by their files. */
  readonly #counting = new Set<Map<string, number>>();
  readonly #shards = new Map<string, Promise<unknown>>();

  constructor(dir: string, limitBytes: number) {
    this.dir = dir;
    this.limitBytes = limitBytes;
  }

  /** Of chunks and documents. */
  get usedBytes(): number {
    return this.#usedBytes + this.#documentBytes;
  }

  get documentBytes(): number {
    return this.#documentBytes;
  }

  /** How much chunks may have: what documents leave of the limit, and enough to serve from in any case. */
  get roomBytes(): number {
    return Math.max(this.limitBytes - this.#documentBytes, LEAST_BYTES);
  }

  /** Hears how much the documents have now, and makes room for them. */
  documentsHave(bytes: number): void {
    this.#documentBytes = bytes;
    this.#evictIfFull();
  }

  get evictedChunks(): number {
    return this.#evicted;
  }

  /** Counts what is there, and removes what ended processes left. */
  async scan(): Promise<void> {
    await this.#count();
    this.#evictIfFull();
  }

  /** The size of a chunk that is here. */
  async sizeOf(digest: Digest): Promise<number | undefined> {
    const found = await statFile(chunkPath(this.dir, digest)).catch(() => undefined);
    return found?.isFile() === true ? found.size : undefined;
  }

  /**
   * Keeps a chunk, whose digest the caller has checked.
   * @throws {AirferryError} ERR_SPACE when the disk is full even after chunks were removed; ERR_IO
   */
  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    const file = chunkPath(this.dir, digest);
    this.#writing.add(file);
    try {
      await this.#keep(file, bytes);
      this.#changed(file, blockBytes(bytes.length));
    } finally {
      this.#writing.delete(file);
    }
    this.#evictIfFull();
    if (this.#usedBytes > this.roomBytes) await this.#evicting?.catch(() => {});
  }

  async #keep(file: string, bytes: Uint8Array): Promise<void> {
    try {
      await this.#write(file, bytes);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code !== "ENOSPC" && code !== "EDQUOT" && code !== "ENOENT") throw ioError("write", file, cause);
      // Somebody else's files filled the disk, or somebody removed the folder.
      if (code === "ENOENT") this.#shards.clear();
      else await this.#evict(this.#usedBytes * KEEP);
      await this.#write(file, bytes).catch((again: unknown) => {
        throw ioError("write", file, again);
      });
    }
  }

  /** Removes a chunk. */
  async discard(digest: Digest): Promise<void> {
    const file = chunkPath(this.dir, digest);
    const found = await statFile(file).catch(() => undefined);
    if (found === undefined) return;
    await rm(file, { force: true, recursive: true });
    this.#changed(file, -blockBytes(found.size));
  }

  async #write(file: string, bytes: Uint8Array): Promise<void> {
    const folder = dirname(file);
    let made = this.#shards.get(folder);
    if (made === undefined) {
      made = mkdir(folder, { recursive: true });
      this.#shards.set(folder, made);
      made.catch(() => this.#shards.delete(folder));
    }
    await made;
    const temporary = join(folder, `${TEMPORARY}${randomBytes(8).toString("hex")}`);
    try {
      const fd = await openFile(temporary, "wx", 0o644);
      try {
        for (let done = 0; done < bytes.length; )
          done += (await writeFile(fd, bytes, done, bytes.length - done)).bytesWritten;
      } finally {
        await closeFile(fd);
      }
      await renameFile(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {});
      throw error;
    }
  }

  #evictIfFull(): void {
    if (this.#usedBytes <= this.roomBytes * START || this.#evicting !== undefined) return;
    // What cannot be removed is tried again with the next chunk.
    this.#evict(this.roomBytes * KEEP).then(
      () => this.#evictIfFull(),
      () => {},
    );
  }

  #evict(keepBytes: number): Promise<void> {
    this.#evicting ??= this.#removeOldest(keepBytes).finally(() => {
      this.#evicting = undefined;
    });
    return this.#evicting;
  }

  async #removeOldest(keepBytes: number): Promise<void> {
    const found = await this.#count();
    found.sort((a, b) => a.usedMs - b.usedMs);
    for (const { file, bytes } of found) {
      // Others are written meanwhile.
      if (this.#usedBytes <= keepBytes) break;
      await rm(file, { force: true });
      this.#changed(file, -bytes);
      this.#evicted++;
    }
  }

  /** Notes a chunk that came, with its bytes, or went. */
  #changed(file: string, bytes: number): void {
    this.#usedBytes += bytes;
    for (const it of this.#counting) it.set(file, Math.max(0, bytes));
  }

  /** Counts what is there; other processes may have removed or written some. What changes meanwhile counts once. */
  async #count(): Promise<Found[]> {
    const changed = new Map<string, number>();
    this.#counting.add(changed);
    try {
      const found = await this.#found();
      let used = 0;
      // What is being written is added when it is.
      for (const { file, bytes } of found) if (!changed.has(file) && !this.#writing.has(file)) used += bytes;
      for (const bytes of changed.values()) used += bytes;
      this.#usedBytes = used;
      return found;
    } finally {
      this.#counting.delete(changed);
    }
  }

  async #found(): Promise<Found[]> {
    const found: Found[] = [];
    const now = Date.now();
    await eachLimited(SHARDS, SCANS, async (shard) => {
      const folder = join(this.dir, "blobs", "sha256", shard);
      const names = await readdir(folder).catch(() => []);
      for (const name of names) {
        const file = join(folder, name);
        const stats = await statFile(file).catch(() => undefined);
        if (stats?.isFile() !== true) continue;
        if (name.startsWith(TEMPORARY)) {
          if (now - stats.mtimeMs > OLD_TEMPORARY_MS) await rm(file, { force: true }).catch(() => {});
          continue;
        }
        found.push({ file, bytes: blockBytes(stats.size), usedMs: Math.max(stats.atimeMs, stats.mtimeMs) });
      }
    });
    return found;
  }
}

/** What a file of a size has of a disk. */
export function blockBytes(bytes: number): number {
  return Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
}

/** The error for bytes of the bucket that are not what was signed. */
export function alteredBlob(key: string, fault: string): AirferryError {
  return new AirferryError("ERR_STORE_INVALID", `an object of the bucket is not what was signed: ${key}: ${fault}`, {
    path: key,
    hint: "find out who changed it, then unpack the bundle again into the same store: airferry unpack BUNDLE --trust KEY --store s3://BUCKET/PREFIX",
  });
}
