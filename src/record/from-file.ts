/** Answers clients from the file of a body, while that still arrives. */
import type { FileHandle } from "node:fs/promises";
import { buffersUsed } from "../io/flat-memory.ts";
import type { IncomingBody } from "./body-store.ts";
import { isGone, type ProxyResponse } from "./relay.ts";

const READ_BYTES = 64 * 1024;

/**
 * Sends the bytes from `start` up to `end`, or to the end of the body, as soon as they are in the file. Returns the
 * position after the last byte that was sent: less than expected if the client left or the body failed. Does not end
 * the response.
 */
export async function sendFromFile(
  response: ProxyResponse,
  body: IncomingBody,
  reader: FileHandle,
  start: number,
  end = Number.POSITIVE_INFINITY,
): Promise<number> {
  let hasLeft = isGone(response);
  const left = new Promise<void>((resolve) => {
    response.once("close", () => {
      hasLeft = true;
      resolve();
    });
  });
  let at = start;
  while (at < end && !hasLeft) {
    const available = Math.min(body.written, end) - at;
    if (available <= 0) {
      if (body.isOver || body.failure !== undefined) break;
      await Promise.race([body.changed(), left]);
      continue;
    }
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, available));
    const { bytesRead } = await reader.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) break;
    at += bytesRead;
    buffersUsed(buffer.length, true);
    if (!response.write(buffer.subarray(0, bytesRead)))
      await Promise.race([new Promise((resolve) => response.once("drain", resolve)), left]);
  }
  return at;
}
