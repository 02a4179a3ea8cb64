/**
 * Open files shared by all responses. Blobs never change, so one descriptor serves any number of clients; it is read
 * with positional reads only, because closing a shared descriptor would disconnect every other client.
 */
import { close, fstat, open, read } from "node:fs";
import { promisify } from "node:util";

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
  release(): void;
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

interface HandleOwner {
  /** The handle is idle now. */
  retire(handle: Handle): void;
}

/** The files that one site has open. */
export class SharedFiles implements HandleOwner {
  readonly #handles = new Map<string, Promise<Handle>>();
  /** Idle handles, oldest first. */
  readonly #idle = new Map<string, Handle>();

  /**
   * Opens a file for shared positional reads, or reuses an open one. The caller calls `release` when the last read has
   * returned; the descriptor stays open a while for the next one.
   * @throws the system's error when the file cannot be opened
   */
  async open(path: string): Promise<SharedFile> {
    let pending = this.#handles.get(path);
    if (pending === undefined) {
      pending = this.#openHandle(path);
      this.#handles.set(path, pending);
      pending.catch(() => this.#handles.delete(path));
    }
    const handle = await pending;
    // It may have been closed between the promise's resolution and this line.
    if (this.#handles.get(path) !== pending) return this.open(path);
    handle.users++;
    this.#idle.delete(path);
    return handle;
  }

  /** Closes every idle file. */
  closeIdle(): void {
    for (const handle of this.#idle.values()) this.#close(handle);
  }

  retire(handle: Handle): void {
    this.#idle.set(handle.path, handle);
    if (this.#idle.size <= MAX_IDLE_HANDLES) return;
    const oldest = this.#idle.values().next().value;
    if (oldest !== undefined) this.#close(oldest);
  }

  async #openHandle(path: string): Promise<Handle> {
    const fd = await openFile(path, "r");
    try {
      return new Handle(this, path, fd, (await statHandle(fd)).size);
    } catch (error) {
      close(fd, () => {});
      throw error;
    }
  }

  #close(handle: Handle): void {
    this.#idle.delete(handle.path);
    this.#handles.delete(handle.path);
    close(handle.fd, () => {});
  }
}
