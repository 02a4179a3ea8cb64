/**
 * Opens untrusted files: regular files only, links never followed, sizes limited before reading.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { AirferryError } from "../errors.ts";

/** O_NONBLOCK prevents a named pipe from blocking the open forever; it has no effect on regular files. */
const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

/** An open regular file; the caller closes `handle`. */
interface OpenFile {
  handle: FileHandle;
  /** Bytes, as of opening. */
  size: number;
}

/**
 * Opens a regular file for reading.
 * @throws {AirferryError} ERR_NOT_FOUND, ERR_PATH_UNSAFE for a link, directory, pipe or device, ERR_IO
 */
export async function openRegular(file: string): Promise<OpenFile> {
  let handle: FileHandle;
  try {
    handle = await open(file, READ_FLAGS);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "ENOENT") {
      throw new AirferryError("ERR_NOT_FOUND", `cannot open "${file}": no such file`, {
        path: file,
        hint: "check the path, and that the medium is mounted",
        cause,
      });
    }
    if (code === "ELOOP" || code === "EMLINK" || code === "ENXIO" || code === "EISDIR") throw notRegular(file, cause);
    throw new AirferryError("ERR_IO", `cannot open "${file}": ${(cause as Error).message}`, { path: file, cause });
  }
  const stats = await handle.stat();
  if (!stats.isFile()) {
    await handle.close();
    throw notRegular(file, undefined);
  }
  return { handle, size: stats.size };
}

function notRegular(file: string, cause: unknown): AirferryError {
  return new AirferryError("ERR_PATH_UNSAFE", `cannot open "${file}": not a regular file`, { path: file, cause });
}

/**
 * Reads a small regular file whole.
 * @throws {AirferryError} ERR_SIZE_LIMIT before anything is read when it is over `maxBytes`; as {@link openRegular}
 */
export async function readSmall(file: string, maxBytes: number): Promise<Buffer> {
  const { handle, size } = await openRegular(file);
  try {
    if (size > maxBytes) throw tooLarge(file, maxBytes, size);
    // One byte more detects a file that grows meanwhile.
    const buffer = Buffer.allocUnsafe(size + 1);
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    if (filled > size) throw tooLarge(file, size, filled);
    return buffer.subarray(0, filled);
  } catch (cause) {
    if (cause instanceof AirferryError) throw cause;
    throw new AirferryError("ERR_IO", `cannot read "${file}": ${(cause as Error).message}`, { path: file, cause });
  } finally {
    await handle.close();
  }
}

/** Bytes that {@link readPieces} reads at once. */
const PIECE_BYTES = 1024 * 1024;

/**
 * Reads a regular file in pieces, whose memory is used again.
 * @throws {AirferryError} as {@link readSmall}
 */
export async function* readPieces(file: string, maxBytes: number): AsyncGenerator<Buffer, void> {
  const { handle, size } = await openRegular(file);
  try {
    if (size > maxBytes) throw tooLarge(file, maxBytes, size);
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    for (let position = 0; ; ) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      if (position > size) throw tooLarge(file, size, position);
      yield buffer.subarray(0, bytesRead);
    }
  } catch (cause) {
    if (cause instanceof AirferryError) throw cause;
    throw new AirferryError("ERR_IO", `cannot read "${file}": ${(cause as Error).message}`, { path: file, cause });
  } finally {
    await handle.close();
  }
}

function tooLarge(file: string, maxBytes: number, size: number): AirferryError {
  return new AirferryError(
    "ERR_SIZE_LIMIT",
    `cannot read "${file}": too large: at most ${maxBytes} bytes, got ${size}`,
    {
      path: file,
      expected: `at most ${maxBytes} bytes`,
      actual: `${size} bytes`,
      hint: "do not use it: valid files are never this large; copy it again",
    },
  );
}
