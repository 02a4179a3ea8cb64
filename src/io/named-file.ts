/**
 * Files that somebody names on the command line or in a manifest, which may be pipes (`--key <(pass …)`). For what
 * comes from a medium or the network: src/io/safe-open.ts.
 */
import { constants, createReadStream, openSync } from "node:fs";
import { stat } from "node:fs/promises";
import { Socket } from "node:net";
import { addAbortSignal, type Readable } from "node:stream";
import { currentSignal } from "./limit.ts";

/**
 * Opens a file, or a pipe, to be read to its end. Signals interrupt the wait for a pipe's writer: Node's threads for
 * files would wait for it, and no process ends before its threads, so that a socket waits in the event loop.
 * @throws errors of the system, like `stat`
 */
export async function streamNamed(file: string): Promise<Readable> {
  if (!(await stat(file)).isFIFO()) return createReadStream(file);
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false });
  const signal = currentSignal();
  return signal === undefined ? socket : addAbortSignal(signal, socket);
}

/** Reads a file, or a pipe, whole. @throws errors of the system, like `readFile` */
export async function readNamed(file: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of await streamNamed(file)) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
