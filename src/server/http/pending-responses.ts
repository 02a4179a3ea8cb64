/**
 * Generated responses that clients have not read yet. Each is in memory until then, so their total is limited; beyond
 * the limit the connection with the oldest one is cut. Files are sent separately, with a buffer per download, and may
 * take any time. See docs/serve.md, "Limits".
 */
import type { ServerResponse } from "node:http";

/** For all connections of one site together. */
export const MAX_PENDING_BYTES = 16 * 1024 * 1024;

/** The responses of one site that wait for their clients. */
export class PendingResponses {
  /** In order of their start. */
  readonly #waiting = new Map<ServerResponse, number>();
  #total = 0;

  /** Counts a just ended response of `bytes`, if the socket could not accept all of it at once. */
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
