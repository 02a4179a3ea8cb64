/**
 * Open files shared by all responses. Blobs never change, so one descriptor serves any number of clients; it is read
 * with positional reads only, because closing a shared descriptor would disconnect every other client.
 */
import { close, fstat, fstatSync, lstatSync, open, openSync, read, readSync, type Stats, stat } from "node:fs";
import { promisify } from "node:util";
import { AirferryError } from "../../errors.ts";
import { type BytesPlace, checkUnchanged, HeldBytes, type HeldExtent } from "../../io/held-files.ts";
import { readBytes } from "../../io/open-bytes.ts";
import { ReadCheck, stampOf } from "./read-check.ts";

const MAX_IDLE_HANDLES = 128;
const openFile = promisify(open);
const statHandle = promisify(fstat);
const statPath = promisify(stat);

/**
 * A file opened for positional reads. {@link SharedFile.release} must be called once for each {@link SharedFiles.open}.
 */
export interface SharedFile {
  readonly path: string;
  readonly size: number;
  /** Changes when the file is written to, or replaced. */
  readonly stamp: string;
  /**
   * Fills `target` from `position` with bytes that were checked (read-check.ts); returns the number of bytes read,
   * fewer than requested only at the end of the file. @throws {AirferryError} for damage; the system's error
   */
  fill(target: Uint8Array, length: number, position: number): Promise<number>;
  /**
   * Throws before an answer begins what {@link SharedFile.fill} would throw at a position.
   * @param end up to where, exclusive, it will be read
   */
  prepare(position: number, end: number): Promise<void>;
  /** The same as `fill`, for those who check the bytes. */
  fillUnchecked(target: Uint8Array, length: number, position: number): Promise<number>;
  /** The same on this thread, into `target` from `offset`. @throws the system's error */
  fillNow(target: Uint8Array, offset: number, length: number, position: number): number;
  release(): void;
  /** On a medium that somebody may take out at any time. */
  readonly isRemovable?: boolean;
}

class Handle implements SharedFile {
  users = 0;
  readonly path: string;
  readonly fd: number;
  readonly size: number;
  readonly ino: number;
  stamp: string;
  readonly #files: HandleOwner;

  constructor(files: HandleOwner, path: string, fd: number, stats: Stats) {
    this.#files = files;
    this.path = path;
    this.fd = fd;
    this.size = stats.size;
    this.ino = stats.ino;
    this.stamp = stampOf(stats);
  }

  async fill(target: Uint8Array, length: number, position: number): Promise<number> {
    try {
      return await this.#files.check.fill(this, target, length, position);
    } catch (error) {
      // What is at its path now may be another file, which was put there to repair it.
      this.#files.forget(this.path);
      return await this.#files.fillAgain(error, this.path, target, length, position);
    }
  }

  async prepare(position: number): Promise<void> {
    try {
      await this.#files.check.prepare(this, position);
    } catch (error) {
      this.#files.forget(this.path);
      await this.#files.fillAgain(error, this.path, new Uint8Array(1), 1, position);
    }
  }

  async fillUnchecked(target: Uint8Array, length: number, position: number): Promise<number> {
    let done = 0;
    while (done < length) {
      const count = await this.#read(target, done, length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  fillNow(target: Uint8Array, offset: number, length: number, position: number): number {
    let done = 0;
    while (done < length) {
      const count = readSync(this.fd, target, offset + done, length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  #read(target: Uint8Array, offset: number, length: number, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      read(this.fd, target, offset, length, position, (error, count) => (error ? reject(error) : resolve(count)));
    });
  }

  release(): void {
    this.users--;
    if (this.users === 0) this.#files.retire(this);
  }
}

/** Parts of files that somebody else holds open. */
class Borrowed implements SharedFile {
  readonly path: string;
  readonly size: number;
  /** Whoever writes to one of the files ends all reads. */
  readonly stamp = "held";
  readonly isRemovable = true;
  readonly #bytes: HeldBytes;
  readonly #check: ReadCheck;

  /** @throws {AirferryError} ERR_BUNDLE_INVALID when one of the files changed: before an answer begins */
  constructor(path: string, extents: readonly HeldExtent[], check: ReadCheck) {
    for (const { held } of extents) checkUnchanged(held);
    this.path = path;
    this.#check = check;
    this.#bytes = new HeldBytes(extents);
    this.size = this.#bytes.size;
  }

  fill(target: Uint8Array, length: number, position: number): Promise<number> {
    return this.#check.fill(this, target, length, position);
  }

  /** It is worth a read to find out that the medium is gone. */
  async prepare(position: number): Promise<void> {
    await this.#check.prepare(this, position);
    await this.#bytes.fill(new Uint8Array(1), 1, position);
  }

  fillUnchecked(target: Uint8Array, length: number, position: number): Promise<number> {
    return this.#bytes.fill(target, length, position);
  }

  fillNow(target: Uint8Array, offset: number, length: number, position: number): number {
    return this.#bytes.fillNow(target, offset, length, position);
  }

  release(): void {}
}

/** A file whose parts come here when they are read, and are checked then. */
export interface PartedFile {
  readonly size: number;
  /** As {@link SharedFile.fill}. */
  fill(target: Uint8Array, length: number, position: number): Promise<number>;
  /** As {@link SharedFile.prepare}. */
  prepare(position: number, end: number): Promise<void>;
}

/** Brings files to their paths when they are asked for. */
export interface FileSource {
  /** A file that is never at its path, and was brought before. */
  opened(path: string): PartedFile | undefined;
  /**
   * Brings a file that is not at its path. Undefined: now it is there, or was for a moment.
   * @throws {AirferryError} when it cannot be brought; an error like the system's, with the code ENOENT, for what it
   *   knows nothing of
   */
  bring(path: string): Promise<PartedFile | undefined>;
  /** Removes a damaged file, so that it is brought again. Returns whether it is one that can be. */
  discard(path: string): Promise<boolean>;
  /** Hears that a file is used that was there. */
  used(path: string, stats: Pick<Stats, "atimeMs" | "mtimeMs">): void;
}

/** How often a file is brought that is removed again before it is opened. */
const BRINGS = 3;

/** A file in parts. */
class Brought implements SharedFile {
  readonly path: string;
  readonly size: number;
  /** It looks after its parts itself. */
  readonly stamp = "parts";
  readonly #file: PartedFile;

  constructor(path: string, file: PartedFile) {
    this.path = path;
    this.size = file.size;
    this.#file = file;
  }

  fill(target: Uint8Array, length: number, position: number): Promise<number> {
    return this.#file.fill(target, length, position);
  }

  prepare(position: number, end: number): Promise<void> {
    return this.#file.prepare(position, end);
  }

  fillUnchecked(target: Uint8Array, length: number, position: number): Promise<number> {
    return this.#file.fill(target, length, position);
  }

  fillNow(): number {
    throw new TypeError("a file in parts is large");
  }

  release(): void {}
}

interface HandleOwner {
  readonly check: ReadCheck;
  forget(path: string): void;
  /** Brings a damaged file again, and reads that; throws the error where it cannot be brought. */
  fillAgain(error: unknown, path: string, target: Uint8Array, length: number, position: number): Promise<number>;
  /** The handle is idle now. */
  retire(handle: Handle): void;
}

/** Finds the parts of open files that stand for a path; undefined: it is a file of its own. */
export type FindHeld = (path: string) => readonly HeldExtent[] | undefined;

/** The files that one site has open. */
export class SharedFiles implements HandleOwner {
  readonly #findHeld: FindHeld;
  readonly #source: FileSource | undefined;
  /** A promise while a file is being opened. */
  readonly #handles = new Map<string, Handle | Promise<Handle>>();
  /** Handles that nobody uses now, oldest first. */
  readonly #idle = new Map<string, Handle>();

  /** How reads are checked. */
  readonly check: ReadCheck;

  /** @param source brings what is not at its path; absent: that is missing */
  constructor(findHeld: FindHeld = () => undefined, check = new ReadCheck(), source?: FileSource) {
    this.#findHeld = findHeld;
    this.#source = source;
    this.check = check;
  }

  /** Whether files are brought when they are asked for: then nothing else may look at their paths. */
  get areBrought(): boolean {
    return this.#source !== undefined;
  }

  /** Where the bytes of a path are, for other threads. */
  place(path: string): BytesPlace {
    return this.#findHeld(path) ?? path;
  }

  /** Reads a small file whole, and checks it. @throws {AirferryError} for damage; the system's error */
  async readWhole(path: string): Promise<Buffer> {
    if (this.#source !== undefined) return this.#readBrought(path);
    const place = this.place(path);
    const bytes = await readBytes(place);
    const isRemovable = typeof place !== "string";
    const stamp = isRemovable ? "held" : stampOf(lstatSync(place));
    await this.check.checkWhole({ path, stamp, isRemovable }, bytes);
    return bytes;
  }

  /**
   * Opens a file for shared positional reads, or reuses an open one. The caller calls `release` when the last read has
   * returned; the descriptor stays open a while for the next one.
   * @param size what it must have; one of another size that was brought is brought again
   * @throws the system's error when the file cannot be opened
   */
  open(path: string, size?: number): Promise<SharedFile> {
    return this.#source === undefined ? this.#open(path) : this.#openBrought(this.#source, path, size);
  }

  async #open(path: string): Promise<SharedFile> {
    const held = this.#findHeld(path);
    if (held !== undefined) return new Borrowed(path, held, this.check);
    const known = this.#handles.get(path);
    if (known instanceof Handle) return (await this.#still(this.#use(known))) ? known : this.#open(path);
    if (known === undefined) this.#handles.set(path, this.#openHandle(path));
    const opening = known ?? this.#handles.get(path);
    const handle = await opening;
    // What was opened meanwhile, or forgotten, is another file.
    return this.#handles.get(path) === handle ? this.#use(handle as Handle) : this.#open(path);
  }

  async #openBrought(source: FileSource, path: string, size: number | undefined): Promise<SharedFile> {
    for (let attempt = 0; ; attempt++) {
      const parted = source.opened(path);
      if (parted !== undefined) return new Brought(path, parted);
      try {
        const file = await this.#open(path);
        if (size === undefined || file.size === size || attempt >= BRINGS) return file;
        file.release();
        this.forget(path);
        await source.discard(path);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if ((code !== "ENOENT" && code !== "ENOTDIR") || attempt >= BRINGS) throw error;
      }
      const brought = await source.bring(path);
      if (brought !== undefined) return new Brought(path, brought);
    }
  }

  async #readBrought(path: string): Promise<Buffer> {
    const file = await this.open(path);
    try {
      const bytes = Buffer.allocUnsafe(file.size);
      return bytes.subarray(0, await file.fill(bytes, file.size, 0));
    } finally {
      file.release();
    }
  }

  async fillAgain(error: unknown, path: string, target: Uint8Array, length: number, position: number): Promise<number> {
    if (!(await this.bringAgain(error, path))) throw error;
    const file = await this.open(path);
    try {
      const count = file instanceof Handle ? this.check.fill(file, target, length, position) : undefined;
      return await (count ?? file.fill(target, length, position));
    } finally {
      file.release();
    }
  }

  /** Removes a file in which damage was found, where it can be brought again; returns whether it can. */
  async bringAgain(error: unknown, path: string): Promise<boolean> {
    if (this.#source === undefined || !(error instanceof AirferryError) || error.code !== "ERR_STORE_INVALID")
      return false;
    this.forget(path);
    if (!(await this.#source.discard(path))) return false;
    this.check.noteMended(path);
    return true;
  }

  /**
   * The same on this thread; undefined while another caller waits for the file to be opened. @throws as {@link
   * SharedFiles.open}
   */
  openNow(path: string): SharedFile | undefined {
    const held = this.#findHeld(path);
    if (held !== undefined) return new Borrowed(path, held, this.check);
    const known = this.#handles.get(path);
    if (known instanceof Handle) return this.#use(known);
    if (known !== undefined) return undefined;
    const fd = openSync(path, "r");
    try {
      const handle = new Handle(this, path, fd, fstatSync(fd));
      this.#handles.set(path, handle);
      return this.#use(handle);
    } catch (error) {
      close(fd, () => {});
      throw error;
    }
  }

  /** Opens the file again for the next request, since another file may be at its path by now. */
  forget(path: string): void {
    const known = this.#handles.get(path);
    if (!(known instanceof Handle)) return;
    if (known.users === 0) this.#close(known);
    else this.#handles.delete(path);
  }

  /** Closes every idle file. */
  closeIdle(): void {
    for (const handle of this.#idle.values()) this.#close(handle);
  }

  retire(handle: Handle): void {
    if (this.#handles.get(handle.path) !== handle) {
      close(handle.fd, () => {});
      return;
    }
    this.#idle.set(handle.path, handle);
    if (this.#idle.size <= MAX_IDLE_HANDLES) return;
    const oldest = this.#idle.values().next().value;
    if (oldest !== undefined) this.#close(oldest);
  }

  #use(handle: Handle): Handle {
    handle.users++;
    this.#idle.delete(handle.path);
    return handle;
  }

  /** Whether an open file is the one at its path, or that is gone. If not, it is released. */
  async #still(handle: Handle): Promise<boolean> {
    const now = await statPath(handle.path).catch(() => undefined);
    if (now === undefined) return true;
    if (now.ino === handle.ino && now.size === handle.size) {
      handle.stamp = stampOf(now);
      this.#source?.used(handle.path, now);
      return true;
    }
    if (this.#handles.get(handle.path) === handle) this.#handles.delete(handle.path);
    handle.release();
    return false;
  }

  async #openHandle(path: string): Promise<Handle> {
    let fd: number | undefined;
    try {
      fd = await openFile(path, "r");
      const stats = await statHandle(fd);
      const handle = new Handle(this, path, fd, stats);
      this.#handles.set(path, handle);
      this.#source?.used(path, stats);
      return handle;
    } catch (error) {
      this.#handles.delete(path);
      if (fd !== undefined) close(fd, () => {});
      throw error;
    }
  }

  #close(handle: Handle): void {
    this.#idle.delete(handle.path);
    this.#handles.delete(handle.path);
    close(handle.fd, () => {});
  }
}
