/**
 * Generated answers that clients have not taken yet. Each is in memory until then, so all of them together have a limit;
 * beyond it the connection that has kept one longest is cut. Files go another way, with a buffer for each download, and
 * may take as long as they like. See docs/serve.md, "Limits".
 */
import type { ServerResponse } from "node:http";

/** For all connections of one site together. */
export const MAX_PENDING_BYTES = 64 * 1024 * 1024;

/** The answers of one site that wait for their clients. */
export class PendingResponses {
  /** In the order in which they began. */
  readonly #waiting = new Map<ServerResponse, number>();
  #total = 0;

  /** Counts an answer of `bytes` that has just been ended, if the socket could not take all of it at once. */
  hold(res: ServerResponse, bytes: number): void {
    if (res.socket === null || res.socket.writableLength === 0) return;
    this.#waiting.set(res, bytes);
    this.#total += bytes;
    res.once("close", () => this.#release(res));
    for (const oldest of this.#waiting.keys()) {
      if (this.#total <= MAX_PENDING_BYTES) break;
      this.#release(oldest);
      oldest.destroy();
    }
  }

  #release(res: ServerResponse): void {
    this.#total -= this.#waiting.get(res) ?? 0;
    this.#waiting.delete(res);
  }
}
