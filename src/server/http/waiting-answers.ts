/**
 * Generated answers that clients have not taken yet. Each is in memory until then, so all of them together have a limit;
 * beyond it the connection that has kept one longest is cut. Files go another way, with a buffer for each download, and
 * may take as long as they like. See docs/serve.md, "Limits".
 */
import type { ServerResponse } from "node:http";

/** For all connections of one process together. */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** In the order in which they began. */
const waiting = new Map<ServerResponse, number>();
let total = 0;

/** Counts an answer of `bytes` that has just been ended, if the socket could not take all of it at once. */
export function holdAnswer(res: ServerResponse, bytes: number): void {
  if (res.socket === null || res.socket.writableLength === 0) return;
  waiting.set(res, bytes);
  total += bytes;
  res.once("close", () => release(res));
  for (const oldest of waiting.keys()) {
    if (total <= MAX_WAITING_BYTES) break;
    release(oldest);
    oldest.destroy();
  }
}

function release(res: ServerResponse): void {
  total -= waiting.get(res) ?? 0;
  waiting.delete(res);
}
