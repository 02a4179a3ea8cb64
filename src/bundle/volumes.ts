/**
 * The volumes of a bundle as one range of bytes: reads and writes at offsets of the tar stream, across files. Handles
 * are shared, so all I/O is positional.
 */
import { constants, write } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import { ioError, makeFolder } from "../io/atomic.ts";
import { openRegular } from "../io/safe-open.ts";
import { DISK_BLOCK_BYTES } from "../io/shared-pieces.ts";
import type { RandomAccess } from "../io/types.ts";
import { piecesOf, volumeName, volumeSizes } from "./volume-layout.ts";

/** Steadier and on average faster than FileHandle.write for large buffers (measured with Node 24.21). */
const writeAt = promisify(write);

/** Bytes after which write-back starts. */
const WRITE_BACK_BYTES = 64 * 1024 * 1024;

/** A range of one file. */
interface FilePiece {
  /** Index of the volume. */
  volume: number;
  file: string;
  offset: number;
  length: number;
}

/** The volume files of one bundle; some may be missing when reading. The caller who opens it closes it. */
export class VolumeSet {
  readonly streamSize: number;
  readonly volumeSize: number;
  readonly #files: readonly (string | undefined)[];
  readonly #writable: boolean;
  readonly #handles = new Map<number, Promise<FileHandle>>();
  readonly #directHandles = new Map<number, Promise<FileHandle | undefined>>();
  /** Bytes written since the last start of a write-back, and the running one. */
  #dirty = 0;
  #writeBack: Promise<void> | undefined;
  /** Why bytes that were written never reached the disk. */
  #lost: unknown;

  private constructor(files: readonly (string | undefined)[], sizes: VolumeSizes, writable: boolean) {
    this.#files = files;
    this.streamSize = sizes.streamSize;
    this.volumeSize = sizes.volumeSize;
    this.#writable = writable;
  }

  /** Reads existing volumes: one path per index, undefined where the volume is unavailable. Opens nothing yet. */
  static over(files: readonly (string | undefined)[], sizes: VolumeSizes): VolumeSet {
    return new VolumeSet(files, sizes, false);
  }

  /**
   * Opens volumes for writing in one folder, or in the folder that `folderOf` names for each index. Missing ones are
   * created (sparse, at their final size); existing ones must have their final size and keep their content.
   * @throws {AirferryError} ERR_SIZE_MISMATCH, ERR_SPACE, ERR_FILE_TOO_LARGE, ERR_IO
   */
  static async create(folder: string | ((index: number) => string), sizes: VolumeSizes): Promise<VolumeSet> {
    const folderOf = typeof folder === "string" ? () => folder : folder;
    const lengths = volumeSizes(sizes.streamSize, sizes.volumeSize);
    const files = lengths.map((_, index) => join(folderOf(index), volumeName(index)));
    for (const it of new Set(lengths.map((_, index) => folderOf(index)))) await makeFolder(it);
    for (const [index, file] of files.entries()) await makeVolume(file, lengths[index] ?? 0);
    return new VolumeSet(files, sizes, true);
  }

  /** Path of a volume, undefined when it is unavailable. */
  file(index: number): string | undefined {
    return this.#files[index];
  }

  /** Returns the pieces of files that a range of the stream covers, for threads that open files by themselves. */
  pieces(position: number, length: number): FilePiece[] {
    return piecesOf(position, length, this.volumeSize).map((piece) => {
      const file = this.#files[piece.volume];
      if (file === undefined) throw missing(piece.volume);
      return { volume: piece.volume, file, offset: piece.offset, length: piece.length };
    });
  }

  /**
   * Reads exactly `length` bytes at `position` of the stream.
   * @throws {AirferryError} ERR_BUNDLE_INCOMPLETE for a missing volume, ERR_SIZE_MISMATCH for a short one, ERR_IO
   */
  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    await this.fill(position, buffer);
    return buffer;
  }

  /** As {@link read}, into a buffer, all of it. */
  async fill(position: number, buffer: Buffer): Promise<void> {
    const { length } = buffer;
    let filled = 0;
    for (const piece of piecesOf(position, length, this.volumeSize)) {
      const handle = await this.#handle(piece.volume);
      let done = 0;
      while (done < piece.length) {
        const at = piece.offset + done;
        const { bytesRead } = await handle
          .read(buffer, filled + done, piece.length - done, at)
          .catch((error: unknown) => Promise.reject(ioError("read", this.#files[piece.volume] ?? "", error)));
        if (bytesRead === 0) {
          const name = volumeName(piece.volume);
          throw new AirferryError("ERR_SIZE_MISMATCH", `cannot read "${name}": it ends early, at ${at} bytes`, {
            path: name,
          });
        }
        done += bytesRead;
      }
      filled += piece.length;
    }
  }

  /**
   * Writes bytes at `position` of the stream. The buffer may be reused once the promise is settled.
   * @throws {AirferryError} ERR_SPACE, ERR_FILE_TOO_LARGE, ERR_IO
   */
  async write(position: number, bytes: Uint8Array): Promise<void> {
    let taken = 0;
    for (const piece of piecesOf(position, bytes.length, this.volumeSize)) {
      await this.#writePiece(piece, bytes.subarray(taken, taken + piece.length));
      taken += piece.length;
    }
  }

  /**
   * Like `write`, but whole blocks bypass the page cache where the file system allows it: that takes a fraction of the
   * time and leaves nothing for `sync`. For bytes that are not read back soon.
   * @param bytes of whole pages of memory (shared-pieces.ts), at an address that is `position` modulo {@link
   *   DISK_BLOCK_BYTES}; what is beside that, as behind the start of an odd volume, goes the ordinary way
   */
  async writeDirect(position: number, bytes: Uint8Array): Promise<void> {
    let taken = 0;
    for (const piece of piecesOf(position, bytes.length, this.volumeSize)) {
      const here = bytes.subarray(taken, taken + piece.length);
      taken += piece.length;
      const fits = (here.byteOffset - piece.offset) % DISK_BLOCK_BYTES === 0;
      const handle = fits ? await this.#directHandle(piece.volume) : undefined;
      const start = Math.min(here.length, -piece.offset & (DISK_BLOCK_BYTES - 1));
      const end = here.length - ((piece.offset + here.length) % DISK_BLOCK_BYTES);
      if (handle === undefined || end <= start) {
        await this.#writePiece(piece, here);
        continue;
      }
      if (start > 0) await this.#writePiece(piece, here.subarray(0, start));
      const middle = { ...piece, offset: piece.offset + start };
      if (!(await this.#writeBlocks(handle, middle, here.subarray(start, end)))) {
        await this.#writePiece(middle, here.subarray(start, end));
      }
      if (end < here.length) await this.#writePiece({ ...piece, offset: piece.offset + end }, here.subarray(end));
    }
  }

  async #writePiece({ volume, offset }: { volume: number; offset: number }, bytes: Uint8Array): Promise<void> {
    const handle = await this.#handle(volume);
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await writeAt(handle.fd, bytes, done, bytes.length - done, offset + done).catch(
        (error: unknown) => Promise.reject(ioError("write", this.#files[volume] ?? "", error)),
      );
      done += bytesWritten;
    }
    this.#startWriteBack(handle, bytes.length);
  }

  /** Returns false if they have to be written normally. */
  async #writeBlocks(
    handle: FileHandle,
    { volume, offset }: { volume: number; offset: number },
    bytes: Uint8Array,
  ): Promise<boolean> {
    try {
      const { bytesWritten } = await writeAt(handle.fd, bytes, 0, bytes.length, offset);
      return bytesWritten === bytes.length;
    } catch (error) {
      // Some file systems accept the flag and refuse the writes.
      if ((error as NodeJS.ErrnoException).code === "EINVAL") return false;
      throw ioError("write", this.#files[volume] ?? "", error);
    }
  }

  /**
   * Lets the disk work while more is fetched, so that little is left for `sync`. A failure surfaces there: the system
   * reports it only once, so it is stored.
   */
  #startWriteBack(handle: FileHandle, written: number): void {
    this.#dirty += written;
    if (this.#dirty < WRITE_BACK_BYTES || this.#writeBack !== undefined) return;
    this.#dirty = 0;
    this.#writeBack = handle
      .datasync()
      .catch((error: unknown) => {
        this.#lost ??= error;
      })
      .then(() => {
        this.#writeBack = undefined;
      });
  }

  /** Random access to one range of the stream: an entry by its offset and size. Closed with the set. */
  range(offset: number, size: number): RandomAccess {
    return {
      size,
      read: (position, length) => this.read(offset + position, Math.max(0, Math.min(length, size - position))),
    };
  }

  /** Forces all volumes to disk, including what an earlier, killed run wrote to them. */
  async sync(): Promise<void> {
    await this.#writeBack;
    if (this.#lost !== undefined) throw ioError("write", this.#files[0] ?? "", this.#lost);
    for (const [index, file] of this.#files.entries()) {
      const handle = await this.#handle(index);
      await handle.sync().catch((error: unknown) => Promise.reject(ioError("write", file ?? "", error)));
    }
  }

  /**
   * Closes all files, even if closing one fails.
   * @throws {AirferryError} ERR_IO, ERR_SPACE: for written volumes only; some file systems report a lost write here
   */
  async close(): Promise<void> {
    await this.#writeBack;
    const handles = [...this.#handles, ...this.#directHandles];
    this.#handles.clear();
    this.#directHandles.clear();
    let failure: AirferryError | undefined;
    for (const [index, opened] of handles) {
      const handle = await opened.catch(() => undefined);
      await handle?.close().catch((error: unknown) => {
        failure ??= ioError("close", this.#files[index] ?? "", error);
      });
    }
    if (failure !== undefined && this.#writable) throw failure;
  }

  /** Undefined if the file system has no direct writes. */
  #directHandle(index: number): Promise<FileHandle | undefined> {
    const known = this.#directHandles.get(index);
    if (known !== undefined) return known;
    const file = this.#files[index];
    const flags = constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0) | constants.O_DIRECT;
    const handle =
      file === undefined || !constants.O_DIRECT ? Promise.resolve(undefined) : open(file, flags).catch(() => undefined);
    this.#directHandles.set(index, handle);
    return handle;
  }

  #handle(index: number): Promise<FileHandle> {
    const known = this.#handles.get(index);
    if (known !== undefined) return known;
    const file = this.#files[index];
    if (file === undefined) return Promise.reject(missing(index));
    const handle = this.#writable
      ? open(file, constants.O_RDWR | (constants.O_NOFOLLOW ?? 0))
      : openRegular(file).then((it) => it.handle);
    this.#handles.set(index, handle);
    return handle;
  }
}

/** How a stream is cut. */
interface VolumeSizes {
  streamSize: number;
  volumeSize: number;
}

async function makeVolume(file: string, size: number): Promise<void> {
  try {
    const handle = await open(file, constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0), 0o644);
    try {
      const stats = await handle.stat();
      if (stats.size === 0) await handle.truncate(size);
      else if (stats.size !== size) {
        throw new AirferryError(
          "ERR_SIZE_MISMATCH",
          `cannot write "${file}": it exists already with another size: expected ${size} bytes, got ${stats.size}`,
          { path: file },
        );
      }
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw ioError("make", file, error);
  }
}

function missing(index: number): AirferryError {
  const name = volumeName(index);
  return new AirferryError("ERR_BUNDLE_INCOMPLETE", `cannot read "${name}": the volume is unavailable`, { path: name });
}
