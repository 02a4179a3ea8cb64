/**
 * The contents of a written tree, each once, by its SHA-256: `pool/ab/<64 hex>`. Every generation links to them. What
 * is in the pool was hashed on its way in, so nothing damaged gets a name. It stays when a run is killed, and the next
 * one finds it.
 */
import { createHash, type Hash } from "node:crypto";
import { constants, lstatSync, type Stats } from "node:fs";
import { copyFile, type FileHandle, link, mkdir, open, readdir, rename, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { AirferryError } from "../errors.ts";
import { ioError } from "../io/atomic.ts";
import { type Digest, digestOf, hexOf } from "../io/digest.ts";
import { digestsOfFile } from "../io/hash-file.ts";
import { throwIfAborted } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import type { RandomAccess } from "../io/types.ts";
import type { OpenBlob } from "../store/types.ts";
import type { StoredFile, TreeContents } from "./types.ts";

/** Smaller contents are never links to the store: a copy costs a block. */
const MIN_LINKED_BYTES = 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
/** Of files that are being written. */
const NEW_FOLDER = "new";
/** 2000-01-01, in seconds. */
const FIRST_TIME = 946_684_800;
/** Why a file cannot be cloned or linked: another file system, or one without that. */
const NO_CLONE = new Set(["ENOTSUP", "EOPNOTSUPP", "EXDEV", "EINVAL", "ENOSYS", "ENOTTY", "EPERM", "EMLINK"]);

/**
 * The time of a file, in seconds: made of its digest. Web servers make ETags of time and size, which are then the same
 * for the same bytes, on every server that has the tree, and others for others.
 */
export function timeOf(digest: Digest): number {
  return FIRST_TIME + Number.parseInt(hexOf(digest).slice(0, 7), 16) * 2;
}

/** Path of a content in a pool. */
export function poolPath(dir: string, digest: Digest): string {
  const hex = hexOf(digest);
  return join(dir, hex.slice(0, 2), hex);
}

interface ContentPoolOptions {
  /** Large files become hard links to the store's where that is possible. */
  link: boolean;
  /** Hash what is there already. */
  recheck: boolean;
  /** Hears of bytes that were read. */
  onBytes?: ((bytes: number) => void) | undefined;
}

/** The pool of one tree. Its user holds the tree's lock. */
export class ContentPool implements TreeContents {
  readonly dir: string;
  /** Bytes that were written, and that are the store's own by links or shared blocks. */
  readonly written = { files: 0, bytes: 0, sharedBytes: 0 };
  /** What is in use: everything that was asked for. */
  readonly used = new Set<Digest>();
  readonly #options: ContentPoolOptions;
  readonly #folders = new Set<string>();
  #canClone = true;
  #names = 0;

  private constructor(dir: string, options: ContentPoolOptions) {
    this.dir = dir;
    this.#options = options;
  }

  /** Opens or makes the pool, without what a killed run was writing. @throws {AirferryError} ERR_IO */
  static async open(dir: string, options: ContentPoolOptions): Promise<ContentPool> {
    const pool = new ContentPool(dir, options);
    try {
      await rm(join(dir, NEW_FOLDER), { recursive: true, force: true });
      await pool.#folder(NEW_FOLDER);
    } catch (error) {
      throw ioError("make", dir, error);
    }
    return pool;
  }

  /** Path of a content. */
  path(digest: Digest): string {
    return poolPath(this.dir, digest);
  }

  /**
   * Takes over a file of the store, unless it is here.
   * @throws {AirferryError} ERR_STORE_INVALID when it is damaged; ERR_IO, ERR_SPACE
   */
  async addFile(stored: StoredFile): Promise<void> {
    const { digest, size } = stored;
    const isLinked = this.#options.link && size >= MIN_LINKED_BYTES && stored.open === undefined;
    if (await this.#isHere(digest, size, isLinked ? stored.file : undefined)) {
      this.#options.onBytes?.(size);
      return;
    }
    if (isLinked && (await this.#link(stored))) return;
    const isCloned = size >= MIN_LINKED_BYTES && stored.open === undefined && this.#canClone;
    if (isCloned && (await this.#clone(stored))) return;
    await this.#copy(stored);
  }

  /** Takes over bytes, unless they are here; returns their digest. @throws {AirferryError} ERR_IO, ERR_SPACE */
  async addBytes(bytes: Uint8Array): Promise<Digest> {
    const digest = digestOf(bytes);
    if (await this.#isHere(digest, bytes.length)) return digest;
    await this.#write(async (out) => {
      await out.writeFile(bytes);
      return { digest, size: bytes.length };
    });
    return digest;
  }

  /** Takes over bytes that are read from somewhere; returns their digest. @throws {AirferryError} ERR_IO, ERR_SPACE */
  async addAll(source: RandomAccess): Promise<Digest> {
    if (source.size <= CHUNK_BYTES) {
      const bytes = await source.read(0, source.size);
      this.#options.onBytes?.(bytes.length);
      if (bytes.length === source.size) return this.addBytes(bytes);
    }
    return this.#write(async (out, hash) => {
      let at = 0;
      while (at < source.size) {
        throwIfAborted();
        const chunk = await source.read(at, Math.min(CHUNK_BYTES, source.size - at));
        if (chunk.length === 0)
          throw new AirferryError("ERR_IO", `cannot read a file in an ISO: it ends at byte ${at}`);
        hash.update(chunk);
        await out.write(chunk);
        at += chunk.length;
        this.#options.onBytes?.(chunk.length);
      }
      return { digest: `sha256:${hash.digest("hex")}`, size: at };
    });
  }

  /** Opens an image that was taken over. The caller closes it. */
  openImage(digest: Digest): Promise<OpenBlob> {
    return openBytes(this.path(digest));
  }

  /** Whether a content that was no file of the store is here, with its size; it counts as used then. */
  has(digest: Digest, size: number): Promise<boolean> {
    return this.#isHere(digest, size);
  }

  /** Whether a file of the store would have to be taken over. */
  lacks({ digest, size }: StoredFile): boolean {
    return lstatSync(this.path(digest), { throwIfNoEntry: false })?.size !== size;
  }

  /**
   * How many bytes taking over files would need: none for what shares the blocks of the store's.
   * @throws {AirferryError} as {@link ContentPool.addFile}
   */
  async bytesFor(files: readonly StoredFile[]): Promise<number> {
    const large = files.filter((it) => it.size >= MIN_LINKED_BYTES && it.open === undefined);
    const [first] = large;
    const isShared = this.#options.link || (first !== undefined && (await this.#canShare(first)));
    return (isShared ? files.filter((it) => it.size < MIN_LINKED_BYTES) : files).reduce((sum, it) => sum + it.size, 0);
  }

  async #canShare(stored: StoredFile): Promise<boolean> {
    const temporary = await this.#temporary();
    this.#canClone = await this.#cloneTo(stored, temporary);
    await rm(temporary, { force: true });
    return this.#canClone;
  }

  /** Removes what is not in `kept`, and what a killed run left. Returns what was removed. */
  async prune(kept: ReadonlySet<string>): Promise<{ files: number; bytes: number }> {
    const removed = { files: 0, bytes: 0 };
    for (const folder of await readdir(this.dir)) {
      for (const name of await readdir(join(this.dir, folder)).catch(() => [])) {
        if (kept.has(name)) continue;
        const file = join(this.dir, folder, name);
        removed.bytes += lstatSync(file, { throwIfNoEntry: false })?.size ?? 0;
        removed.files++;
        await rm(file, { force: true, recursive: true });
      }
    }
    return removed;
  }

  /** @param of the file of the store that it may be a link to */
  async #isHere(digest: Digest, size: number, of?: string): Promise<boolean> {
    throwIfAborted();
    const known = this.used.has(digest);
    this.used.add(digest);
    if (known) return true;
    const file = this.path(digest);
    const found = lstatSync(file, { throwIfNoEntry: false });
    if (found === undefined) return false;
    // Somebody may have written to it. A link has the time of the store's file, which is not ours to change.
    const isOurs = found.mtimeMs === timeOf(digest) * 1000 || (of !== undefined && isSameFile(of, found));
    const isSame = found.isFile() && found.size === size && isOurs;
    if (isSame && (!this.#options.recheck || (await isRight(file, digest, size)))) return true;
    await rm(file, { force: true, recursive: true });
    return false;
  }

  async #link(stored: StoredFile): Promise<boolean> {
    const { digest, file, size } = stored;
    await this.#verify(stored, file);
    try {
      await link(file, await this.#place(digest));
    } catch (error) {
      if (NO_CLONE.has((error as NodeJS.ErrnoException).code ?? "")) return false;
      throw this.#fault(stored, error);
    }
    this.written.files++;
    this.written.sharedBytes += size;
    return true;
  }

  async #clone(stored: StoredFile): Promise<boolean> {
    const temporary = await this.#temporary();
    this.#canClone = await this.#cloneTo(stored, temporary);
    if (!this.#canClone) return false;
    try {
      await this.#verify(stored, temporary);
      const out = await open(temporary, "r+");
      try {
        await out.chmod(0o444);
      } finally {
        await out.close();
      }
      await this.#give(temporary, stored.digest);
      this.written.sharedBytes += stored.size;
    } catch (error) {
      await rm(temporary, { force: true });
      throw this.#fault(stored, error);
    }
    return true;
  }

  async #cloneTo(stored: StoredFile, temporary: string): Promise<boolean> {
    try {
      await copyFile(stored.file, temporary, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
      return true;
    } catch (error) {
      await rm(temporary, { force: true });
      if (!NO_CLONE.has((error as NodeJS.ErrnoException).code ?? "")) throw this.#fault(stored, error);
      return false;
    }
  }

  /** Copies what it hashes: what was right when it was read is what is written. */
  async #copy(stored: StoredFile): Promise<void> {
    const { digest, size } = stored;
    const fail = (error: unknown): never => {
      throw this.#fault(stored, error);
    };
    await this.#write(async (out, hash) => {
      const source = await openSequence(stored).catch(fail);
      try {
        let total = 0;
        for (;;) {
          throwIfAborted();
          const chunk = await source.readAt(total).catch(fail);
          if (chunk.length === 0) break;
          total += chunk.length;
          hash.update(chunk);
          await out.write(chunk);
          this.#options.onBytes?.(chunk.length);
          if (total > size) break;
        }
        const actual: Digest = `sha256:${hash.digest("hex")}`;
        if (total !== size || actual !== digest) throw damagedBlob(stored, `${total} bytes, ${actual}`);
        return { digest, size };
      } finally {
        await source.close();
      }
    });
  }

  async #verify(stored: StoredFile, file: string): Promise<void> {
    const { digests, read } = await digestsOfFile(file, stored.size, [], this.#options.onBytes).catch(
      (error: unknown) => {
        throw this.#fault(stored, error);
      },
    );
    if (read !== stored.size || digests.sha256 !== stored.digest)
      throw damagedBlob(stored, `${read} bytes, ${digests.sha256}`);
  }

  async #write(fill: (out: FileHandle, hash: Hash) => Promise<{ digest: Digest; size: number }>): Promise<Digest> {
    const temporary = await this.#temporary();
    try {
      const out = await open(temporary, "wx", 0o444);
      let made: { digest: Digest; size: number };
      try {
        made = await fill(out, createHash("sha256"));
      } finally {
        await out.close();
      }
      this.used.add(made.digest);
      await this.#give(temporary, made.digest);
      this.written.bytes += made.size;
      return made.digest;
    } catch (error) {
      await rm(temporary, { force: true });
      throw ioError("write", this.dir, error);
    }
  }

  async #give(temporary: string, digest: Digest): Promise<void> {
    const time = timeOf(digest);
    await utimes(temporary, time, time);
    await rename(temporary, await this.#place(digest));
    this.written.files++;
  }

  async #place(digest: Digest): Promise<string> {
    await this.#folder(hexOf(digest).slice(0, 2));
    return this.path(digest);
  }

  async #temporary(): Promise<string> {
    return join(await this.#folder(NEW_FOLDER), `${process.pid}-${this.#names++}`);
  }

  async #folder(name: string): Promise<string> {
    const folder = join(this.dir, name);
    if (!this.#folders.has(name)) await mkdir(folder, { recursive: true });
    this.#folders.add(name);
    return folder;
  }

  #fault(stored: StoredFile, error: unknown): AirferryError {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return damagedBlob(stored, "no such file");
    return ioError("copy", stored.file, error);
  }
}

interface Sequence {
  /** Bytes from a position on; none at the end. They are good until the next call. */
  readAt(position: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

async function openSequence({ file, size, open: openBlob }: StoredFile): Promise<Sequence> {
  if (openBlob !== undefined) {
    const { bytes, close } = await openBlob();
    const none = new Uint8Array();
    return { readAt: async (at) => (at < bytes.size ? await bytes.read(at, CHUNK_BYTES) : none), close };
  }
  const handle = await open(file, "r");
  const buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(CHUNK_BYTES, size + 1)));
  return {
    readAt: async (at) => buffer.subarray(0, (await handle.read(buffer, 0, buffer.length, at)).bytesRead),
    close: () => handle.close(),
  };
}

function isSameFile(file: string, { dev, ino }: Stats): boolean {
  const other = lstatSync(file, { throwIfNoEntry: false });
  return other?.dev === dev && other.ino === ino;
}

async function isRight(file: string, digest: Digest, size: number): Promise<boolean> {
  const { digests, read } = await digestsOfFile(file, size, []);
  return read === size && digests.sha256 === digest;
}

/** The error for a file of the store that is not what its digest says. */
export function damagedBlob({ digest, file }: Pick<StoredFile, "digest" | "file">, actual: string): AirferryError {
  return new AirferryError("ERR_STORE_INVALID", `cannot export blob ${digest} of the store: it is damaged`, {
    path: file,
    expected: digest,
    actual,
    hint: "what was published before stays; repair the store: airferry fsck --store DIR --repair-from BUNDLE --trust KEY",
  });
}
