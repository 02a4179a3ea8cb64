/**
 * What a resource is, without its body: HEAD, and where that is refused, a GET of one byte.
 */

import { redactUrl } from "../io/redact.ts";
import { headResult, lengthOf, statusFailure } from "./answer.ts";
import { tryMirrors } from "./mirrors.ts";
import { openUrl } from "./open.ts";
import { parseContentRange } from "./resume.ts";
import type { Engine } from "./transfer.ts";
import { discard } from "./transport.ts";
import type { FetchTarget, HeadResult } from "./types.ts";

/** Answers that say "not by HEAD" rather than "not at all". */
const HEAD_REFUSED = new Set([403, 405, 501]);
/** Answers to the one-byte GET that say "not by Range": the resource may be there all the same. */
const RANGE_REFUSED = new Set([400, 405, 501]);

/** Asks the mirrors in order. The size is absent when upstream does not tell. @throws {AirferryError} ERR_UPSTREAM* */
export function headOf(engine: Engine, target: FetchTarget, signal?: AbortSignal): Promise<HeadResult> {
  return tryMirrors(
    target.urls,
    {
      retries: Math.min(engine.retries, target.retries ?? engine.retries),
      backoff: engine.backoff,
      signal,
      onEvent: engine.onEvent,
      position: () => 0,
      distrust: () => Promise.resolve(),
    },
    async ({ url }, attempt) => {
      const { onEvent } = engine;
      const ask = (method: "HEAD" | "GET", extra: Record<string, string>) => {
        const headers: Record<string, string> = {};
        for (const [name, value] of Object.entries(target.headers ?? {})) headers[name.toLowerCase()] = value;
        return openUrl(engine, {
          method,
          url,
          named: target.named,
          headers: { ...headers, ...extra },
          auth: target.auth,
          signal,
          onRequest: onEvent && ((to) => onEvent({ type: "request", url: redactUrl(to), attempt })),
        });
      };
      const answer = await ask("HEAD", {});
      try {
        const { status, headers } = answer.exchange;
        if (status >= 200 && status <= 299) {
          // The length of an encoded body is not the artifact's.
          const size = headers["content-encoding"] === undefined ? lengthOf(answer) : undefined;
          await discard(answer.exchange);
          return headResult(url, answer, size);
        }
        if (!HEAD_REFUSED.has(status)) throw await statusFailure(engine, url, answer);
        await discard(answer.exchange);
      } finally {
        answer.release();
      }
      const part = await ask("GET", { range: "bytes=0-0" });
      try {
        const { status, headers } = part.exchange;
        const encoded = headers["content-encoding"] !== undefined;
        if (status === 206 || status === 416) {
          const size = parseContentRange(headers["content-range"])?.size;
          await discard(part.exchange);
          if (status === 206 || size === 0) return headResult(url, part, encoded ? undefined : size);
          throw await statusFailure(engine, url, part);
        }
        if (status >= 200 && status <= 299) {
          part.exchange.destroy();
          return headResult(url, part, encoded ? undefined : lengthOf(part));
        }
        if (RANGE_REFUSED.has(status)) {
          await discard(part.exchange);
          return { url, finalUrl: redactUrl(part.url), acceptRanges: false };
        }
        throw await statusFailure(engine, url, part);
      } finally {
        part.release();
      }
    },
  );
}
