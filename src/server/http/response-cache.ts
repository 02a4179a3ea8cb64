/**
 * Whole answers from memory by the request's own URL: the short way for the packages and metadata that a rack of machines
 * asks for again and again. It holds only for one view of the tree, and only while the blob is in memory.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { CachedBlob } from "./memory.ts";

/** A 200 that depends on nothing but the URL and the view. */
export interface CachedResponse {
  /** Names and values in turn, as `writeHead` takes them. */
  readonly head: string[];
  readonly blob: CachedBlob;
}

const MAX_RESPONSES = 20_000;
/** Longer URLs, and those with a query, come in endless variants. */
const MAX_URL_LENGTH = 400;
/** Headers that make an answer depend on more than the URL, or announce a body: preconditions, ranges, framing. */
const SELECTING = /^(?:if-|range$|content-length$|transfer-encoding$)/i;

/** The answers of one listener's context. */
export class ResponseCache {
  #answers = new Map<string, CachedResponse>();

  /** Forgets everything; for a new view. */
  clear(): void {
    this.#answers.clear();
  }

  /** Remembers an answer, unless its URL is not worth it. */
  put(url: string, answer: CachedResponse): void {
    if (url.length > MAX_URL_LENGTH || url.includes("?")) return;
    if (this.#answers.size >= MAX_RESPONSES) this.#answers.clear();
    this.#answers.set(url, answer);
  }

  /** Answers a plain GET that is known. Returns the bytes sent, or -1 when the request must go the long way. */
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
