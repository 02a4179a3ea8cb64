/**
 * Files that stay open from before they are verified for as long as they are used: whatever is at their paths later,
 * these bytes were verified. A file that was written to since is detected by its times and refused.
 */
import { fstatSync, read, readSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { AirferryError } from "../errors.ts";
import { openRegular } from "./safe-open.ts";
import type { Extent } from "./types.ts";

/** An open file as plain data: every thread of the process can read its descriptor. */
export interface HeldFile {
  readonly file: string;
  readonly fd: number;
  readonly size: number;
  /** Nanoseconds, as of opening; whoever writes to the file changes the second, and cannot set it. */
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/** A part of an open file. */
export interface HeldExtent extends Extent {
  readonly held: HeldFile;
}

/** Where bytes are: in a file by its path, in parts of open files, one after the other, or in memory. Plain data. */
export type BytesPlace = string | readonly HeldExtent[] | Uint8Array;

const AGAIN = "put the medium back as it was, then start airferry serve again: it verifies it first";

/** Opens files and holds them; the creator closes it. */
export class HeldFiles {
  readonly #handles: FileHandle[] = [];

  /**
   * Opens a regular file.
   * @throws {AirferryError} ERR_NOT_FOUND, ERR_PATH_UNSAFE for a link, directory, pipe or device, ERR_IO
   */
  async open(file: string): Promise<HeldFile> {
    const { handle } = await openRegular(file);
    this.#handles.push(handle);
    const { size, mtimeNs, ctimeNs } = await handle.stat({ bigint: true });
    return { file, fd: handle.fd, size: Number(size), mtimeNs, ctimeNs };
  }

  /** Ends all reads of these files. */
  async close(): Promise<void> {
    await Promise.all(this.#handles.splice(0).map((it) => it.close()));
  }
}

/** Throws when a file was written to since it was opened. @throws {AirferryError} ERR_BUNDLE_INVALID */
export function checkUnchanged(held: HeldFile): void {
  let now: { size: bigint; mtimeNs: bigint; ctimeNs: bigint };
  try {
    now = fstatSync(held.fd, { bigint: true });
  } catch (cause) {
    throw unreadable(held, cause);
  }
  if (now.ctimeNs === held.ctimeNs && now.mtimeNs === held.mtimeNs && Number(now.size) === held.size) return;
  throw new AirferryError("ERR_BUNDLE_INVALID", `cannot read "${held.file}": it changed after it was verified`, {
    path: held.file,
    hint: AGAIN,
  });
}

function unreadable({ file }: HeldFile, cause: unknown): AirferryError {
  const { code, message } = cause as NodeJS.ErrnoException;
  return new AirferryError(
    "ERR_BUNDLE_INVALID",
    `cannot read "${file}": ${code ?? message}: the medium is damaged, or no longer there`,
    { path: file, hint: AGAIN, cause },
  );
}

function endsEarly({ file }: HeldFile): AirferryError {
  return new AirferryError("ERR_BUNDLE_INVALID", `cannot read "${file}": it ends early since it was verified`, {
    path: file,
    hint: AGAIN,
  });
}

/** Parts of open files as one range of bytes. Reads fail when one of the files changed. Nothing to close. */
export class HeldBytes {
  readonly size: number;
  readonly #extents: readonly HeldExtent[];

  constructor(extents: readonly HeldExtent[]) {
    this.#extents = extents;
    this.size = extents.reduce((sum, it) => sum + it.size, 0);
  }

  /**
   * Fills `target` from `position`; returns the number of bytes read, fewer than requested only at the end.
   * @throws {AirferryError} ERR_BUNDLE_INVALID when a file changed or is unreadable
   */
  async fill(target: Uint8Array, length: number, position: number): Promise<number> {
    let done = 0;
    for (const { held, offset, size } of this.#within(position, length)) {
      for (let end = done + size, at = offset; done < end; ) {
        const count = await readAt(held, target, done, end - done, at);
        if (count === 0) throw endsEarly(held);
        done += count;
        at += count;
      }
      checkUnchanged(held);
    }
    return done;
  }

  /** The same on this thread, into `target` from `offset`. */
  fillNow(target: Uint8Array, start: number, length: number, position: number): number {
    let done = 0;
    for (const { held, offset, size } of this.#within(position, length)) {
      for (let end = done + size, at = offset; done < end; ) {
        const count = readNow(held, target, start + done, end - done, at);
        if (count === 0) throw endsEarly(held);
        done += count;
        at += count;
      }
      checkUnchanged(held);
    }
    return done;
  }

  /** The parts of files that a range covers. */
  *#within(position: number, length: number): Generator<HeldExtent> {
    let begin = 0;
    for (const { held, offset, size } of this.#extents) {
      const from = Math.max(position, begin);
      const to = Math.min(position + length, begin + size);
      if (to > from) yield { held, offset: offset + from - begin, size: to - from };
      begin += size;
      if (begin >= position + length) return;
    }
  }
}

function readAt(held: HeldFile, target: Uint8Array, at: number, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(held.fd, target, at, length, position, (error, count) =>
      error ? reject(unreadable(held, error)) : resolve(count),
    );
  });
}

function readNow(held: HeldFile, target: Uint8Array, at: number, length: number, position: number): number {
  try {
    return readSync(held.fd, target, at, length, position);
  } catch (error) {
    throw unreadable(held, error);
  }
}
