/**
 * Whole responses from memory by request URL: the fast path for packages and metadata that many machines request
 * repeatedly. Valid only for one view of the tree, and only while the blob is in memory.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { CachedBlob } from "./memory.ts";

/** A 200 that depends only on the URL and the view. */
export interface CachedResponse {
  /** Names and values in turn, as `writeHead` expects them. */
  readonly head: string[];
  readonly blob: CachedBlob;
}

const MAX_RESPONSES = 20_000;
/** Longer URLs, and those with a query, have endless variants. */
const MAX_URL_LENGTH = 400;
/** Headers that make a response depend on more than the URL, or announce a body: preconditions, ranges, framing. */
const SELECTING = /^(?:if-|range$|content-length$|transfer-encoding$)/i;

/** The responses of one listener's context. */
export class ResponseCache {
  #answers = new Map<string, CachedResponse>();

  /** Clears everything, for a new view. */
  clear(): void {
    this.#answers.clear();
  }

  /** Stores a response, unless its URL is unsuitable. */
  put(url: string, answer: CachedResponse): void {
    if (url.length > MAX_URL_LENGTH || url.includes("?")) return;
    if (this.#answers.size >= MAX_RESPONSES) this.#answers.clear();
    this.#answers.set(url, answer);
  }

  /** Answers a known plain GET. Returns the bytes sent, or -1 when the request needs normal handling. */
  send(req: IncomingMessage, res: ServerResponse): number {
    const { url = "" } = req;
    const answer = this.#answers.get(url);
    if (answer === undefined || req.method !== "GET") return -1;
    const { blob, head } = answer;
    if (!blob.live) {
      this.#answers.delete(url);
      return -1;
    }
    const { rawHeaders } = req;
    for (let i = 0; i < rawHeaders.length; i += 2) {
      const name = rawHeaders[i];
      if (name !== undefined && SELECTING.test(name)) return -1;
    }
    blob.used = true;
    res.writeHead(200, head);
    res.end(blob.bytes);
    return blob.bytes.length;
  }
}
