/**
 * Generated responses that clients have not read yet. Each is in memory until then, so their total is limited; beyond
 * the limit the connection with the oldest one is cut. Files are sent separately, with a buffer per download, and may
 * take any time. See docs/serve.md, "Limits".
 */
import type { ServerResponse } from "node:http";

/** For all connections of the process together. */
export const MAX_PENDING_BYTES = 16 * 1024 * 1024;

/** The responses of one site that wait for their clients. */
export class PendingResponses {
  readonly #limit: number;
  /** In order of their start. */
  readonly #waiting = new Map<ServerResponse, number>();
  #total = 0;

  /** @param sites how many of them are in this process, each with its part of all */
  constructor(sites = 1) {
    this.#limit = MAX_PENDING_BYTES / sites;
  }

  /** Counts a just ended response of `bytes`, if the socket could not accept all of it at once. */
  hold(res: ServerResponse, bytes: number): void {
    if (res.socket === null || res.socket.writableLength === 0) return;
    this.#waiting.set(res, bytes);
    this.#total += bytes;
    res.once("close", () => this.#release(res));
    for (const oldest of this.#waiting.keys()) {
      if (this.#total <= this.#limit) break;
      this.#release(oldest);
      oldest.destroy();
    }
  }

  #release(res: ServerResponse): void {
    this.#total -= this.#waiting.get(res) ?? 0;
    this.#waiting.delete(res);
  }
}
