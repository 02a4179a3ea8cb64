/** Writes bytes in order to a pipe, a device or a file, which is never opened twice and never read. */
import { once } from "node:events";
import { constants, fstat, write as writeCallback } from "node:fs";
import { open, stat } from "node:fs/promises";
import { Socket } from "node:net";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import { replaceFile } from "./atomic.ts";
import { currentSignal } from "./limit.ts";

const writeSome = promisify(writeCallback);
const statOpen = promisify(fstat);

/** Takes the next bytes; they may be used again when the promise is settled. */
type WriteBytes = (bytes: Uint8Array) => Promise<void>;

/**
 * Writes to a descriptor.
 * @throws {AirferryError} ERR_IO, ERR_SPACE; the reason of the surrounding work's signal
 */
export async function writeToOpen(fd: number, name: string, work: (write: WriteBytes) => Promise<void>): Promise<void> {
  const stats = await statOpen(fd);
  if (!stats.isFIFO() && !stats.isSocket()) return work(toFile(fd, name));
  // A write that nobody takes would keep a thread, and with it the process, for as long.
  const socket = new Socket({ fd, readable: false, writable: true });
  let fault: unknown;
  socket.on("error", (error) => {
    fault = error;
  });
  const signal = currentSignal();
  const stop = () => socket.destroy(new Error("stopped"));
  signal?.addEventListener("abort", stop, { once: true });
  try {
    await work(async (bytes) => {
      signal?.throwIfAborted();
      if (fault !== undefined) throw writeFault(name, fault);
      await new Promise<void>((resolve, reject) =>
        socket.write(bytes, (error) =>
          error ? reject(signal?.aborted ? signal.reason : writeFault(name, error)) : resolve(),
        ),
      );
    });
    socket.end();
    if (!socket.destroyed)
      await once(socket, "close").catch((error: unknown) => Promise.reject(writeFault(name, error)));
  } finally {
    signal?.removeEventListener("abort", stop);
    socket.destroy();
  }
}

/**
 * Writes to a path: a FIFO or a device as it is, when somebody reads it; a file is replaced when it is complete.
 * @throws {AirferryError} ERR_IO, ERR_SPACE
 */
export async function writeToPath(file: string, work: (write: WriteBytes) => Promise<void>): Promise<void> {
  const there = await stat(file).catch(() => undefined);
  if (there === undefined || there.isFile()) return replaceFile(file, 0o644, (handle) => work(toFile(handle.fd, file)));
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, constants.O_WRONLY);
  } catch (cause) {
    throw writeFault(file, cause);
  }
  try {
    await (there.isFIFO() ? writeToOpen(handle.fd, file, work) : work(toFile(handle.fd, file)));
  } finally {
    // A pipe was closed with its socket.
    await handle.close().catch(() => undefined);
  }
}

function toFile(fd: number, name: string): WriteBytes {
  const signal = currentSignal();
  return async (bytes) => {
    signal?.throwIfAborted();
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await writeSome(fd, bytes, done, bytes.length - done, null);
        done += bytesWritten;
      }
    } catch (cause) {
      throw writeFault(name, cause);
    }
  };
}

function writeFault(name: string, cause: unknown): AirferryError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const fault = code === "EPIPE" || code === "ECONNRESET" ? "who reads it has gone" : message;
  return new AirferryError(
    code === "ENOSPC" ? "ERR_SPACE" : "ERR_IO",
    `cannot write the stream to "${name}": ${fault}`,
    {
      path: name,
      hint: "the bundle is complete: run the same command to send it again",
      cause,
    },
  );
}
