/**
 * Open files shared by all responses. Blobs never change, so one descriptor serves any number of clients; it is read
 * with positional reads only, because closing a shared descriptor would disconnect every other client.
 */
import { close, fstat, fstatSync, open, openSync, read, readSync } from "node:fs";
import { promisify } from "node:util";
import { type BytesPlace, checkUnchanged, HeldBytes, type HeldExtent } from "../../io/held-files.ts";
import { readBytes } from "../../io/open-bytes.ts";

const MAX_IDLE_HANDLES = 128;
const openFile = promisify(open);
const statHandle = promisify(fstat);

/**
 * A file opened for positional reads. {@link SharedFile.release} must be called once for each {@link SharedFiles.open}.
 */
export interface SharedFile {
  readonly size: number;
  /**
   * Fills `target` from `position`; returns the number of bytes read, fewer than requested only at the end of the file.
   */
  fill(target: Uint8Array, length: number, position: number): Promise<number>;
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
  readonly #files: HandleOwner;

  constructor(files: HandleOwner, path: string, fd: number, size: number) {
    this.#files = files;
    this.path = path;
    this.fd = fd;
    this.size = size;
  }

  async fill(target: Uint8Array, length: number, position: number): Promise<number> {
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
class Borrowed extends HeldBytes implements SharedFile {
  readonly isRemovable = true;
  release(): void {}
}

/** @throws {AirferryError} ERR_BUNDLE_INVALID when one of the files changed: before an answer begins */
function borrow(extents: readonly HeldExtent[]): SharedFile {
  for (const { held } of extents) checkUnchanged(held);
  return new Borrowed(extents);
}

interface HandleOwner {
  /** The handle is idle now. */
  retire(handle: Handle): void;
}

/** Finds the parts of open files that stand for a path; undefined: it is a file of its own. */
export type FindHeld = (path: string) => readonly HeldExtent[] | undefined;

/** The files that one site has open. */
export class SharedFiles implements HandleOwner {
  readonly #findHeld: FindHeld;
  /** A promise while a file is being opened. */
  readonly #handles = new Map<string, Handle | Promise<Handle>>();
  /** Handles that nobody uses now, oldest first. */
  readonly #idle = new Map<string, Handle>();

  constructor(findHeld: FindHeld = () => undefined) {
    this.#findHeld = findHeld;
  }

  /** Where the bytes of a path are, for other threads. */
  place(path: string): BytesPlace {
    return this.#findHeld(path) ?? path;
  }

  /** Reads a small file whole. @throws the system's error, or that of what stands for the path */
  readWhole(path: string): Promise<Buffer> {
    return readBytes(this.place(path));
  }

  /**
   * Opens a file for shared positional reads, or reuses an open one. The caller calls `release` when the last read has
   * returned; the descriptor stays open a while for the next one.
   * @throws the system's error when the file cannot be opened
   */
  async open(path: string): Promise<SharedFile> {
    const held = this.#findHeld(path);
    if (held !== undefined) return borrow(held);
    const known = this.#handles.get(path);
    if (known instanceof Handle) return this.#use(known);
    if (known === undefined) this.#handles.set(path, this.#openHandle(path));
    const opening = known ?? this.#handles.get(path);
    const handle = await opening;
    // What was opened meanwhile, or forgotten, is another file.
    return this.#handles.get(path) === handle ? this.#use(handle as Handle) : this.open(path);
  }

  /**
   * The same on this thread; undefined while another caller waits for the file to be opened. @throws as {@link
   * SharedFiles.open}
   */
  openNow(path: string): SharedFile | undefined {
    const held = this.#findHeld(path);
    if (held !== undefined) return borrow(held);
    const known = this.#handles.get(path);
    if (known instanceof Handle) return this.#use(known);
    if (known !== undefined) return undefined;
    const fd = openSync(path, "r");
    try {
      const handle = new Handle(this, path, fd, fstatSync(fd).size);
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

  async #openHandle(path: string): Promise<Handle> {
    let fd: number | undefined;
    try {
      fd = await openFile(path, "r");
      const handle = new Handle(this, path, fd, (await statHandle(fd)).size);
      this.#handles.set(path, handle);
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
