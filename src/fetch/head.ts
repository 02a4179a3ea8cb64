/**
 * Metadata of a resource without its body: HEAD; if that is refused, a GET of one byte; if that is refused too, a GET
 * of the whole whose body is not read.
 */

import { type Opened, openUrl } from "../http/send-request.ts";
import { discard } from "../http/transport.ts";
import { redactUrl } from "../io/redact.ts";
import { headResult, lengthOf, REFUSES_RANGES, statusFailure } from "./answer.ts";
import type { Engine } from "./download.ts";
import { tryMirrors } from "./mirrors.ts";
import { parseContentRange } from "./resume.ts";
import type { FetchTarget, HeadResult } from "./types.ts";

/**
 * Statuses of HEAD that apply to GET as well: authentication and rate limits. Others may concern only the method, as
 * for presigned URLs that are signed for GET.
 */
const HOLDS_FOR_GET = new Set([401, 407, 408, 425, 429, 503]);

/**
 * Asks the mirrors in order. The size is absent when upstream does not send it. @throws {AirferryError} ERR_UPSTREAM*
 */
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
        if (HOLDS_FOR_GET.has(status)) throw await statusFailure(engine, url, answer);
        await discard(answer.exchange);
      } finally {
        answer.release();
      }
      return (
        (await askPart(engine, url, () => ask("GET", { range: "bytes=0-0" }))) ??
        askWhole(engine, url, () => ask("GET", {}))
      );
    },
  );
}

/** A GET of one byte; undefined when a GET of the whole is needed. */
async function askPart(engine: Engine, url: string, ask: () => Promise<Opened>): Promise<HeadResult | undefined> {
  const part = await ask();
  try {
    const { status, headers } = part.exchange;
    const encoded = headers["content-encoding"] !== undefined;
    const size = parseContentRange(headers["content-range"])?.size;
    if (status === 206 || (status === 416 && size === 0)) {
      await discard(part.exchange);
      return headResult(url, part, encoded ? undefined : size);
    }
    if (status >= 200 && status <= 299) {
      part.exchange.destroy();
      return headResult(url, part, encoded ? undefined : lengthOf(part));
    }
    if (status !== 416 && !REFUSES_RANGES.has(status)) throw await statusFailure(engine, url, part);
    await discard(part.exchange);
    return undefined;
  } finally {
    part.release();
  }
}

/** A GET whose body is not read. */
async function askWhole(engine: Engine, url: string, ask: () => Promise<Opened>): Promise<HeadResult> {
  const whole = await ask();
  try {
    const { status, headers } = whole.exchange;
    if (status !== 200 && status !== 203) throw await statusFailure(engine, url, whole);
    whole.exchange.destroy();
    return headResult(url, whole, headers["content-encoding"] === undefined ? lengthOf(whole) : undefined);
  } finally {
    whole.release();
  }
}
