/**
 * What a response says before its body is read: length, identity of the resource, and the meaning of an error status.
 */

import { AttemptFailure, HttpStatus, statusHint, upstreamError } from "../http/failure.ts";
import type { HostLimits } from "../http/hosts.ts";
import { type Backoff, isTransientStatus, parseRetryAfter } from "../http/retry.ts";
import type { Opened } from "../http/send-request.ts";
import { discard } from "../http/transport.ts";
import { printable } from "../io/printable.ts";
import { redactUrl } from "../io/redact.ts";
import type { HeadResult } from "./types.ts";

/** Content-Length as a number. */
export function lengthOf(opened: Opened): number | undefined {
  const text = opened.exchange.headers["content-length"];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** Responses to a Range, seen in practice, from servers that send the whole file without one. */
export const REFUSES_RANGES: ReadonlySet<number> = new Set([304, 400, 403, 405, 406, 409, 412, 417, 422, 501]);

/** What a response says about the resource. */
export function headResult(url: string, opened: Opened, size: number | undefined): HeadResult {
  const { headers } = opened.exchange;
  const lastModified = headers["last-modified"];
  const contentType = headers["content-type"];
  return {
    url,
    finalUrl: redactUrl(opened.url),
    ...(size !== undefined && { size }),
    ...(headers.etag !== undefined && { etag: headers.etag }),
    ...(lastModified !== undefined && { lastModified }),
    acceptRanges: opened.exchange.status === 206 || /\bbytes\b/i.test(headers["accept-ranges"] ?? ""),
    ...(contentType !== undefined && { contentType }),
  };
}

/** Responses of a redirect target whose signed URL has expired. */
const REFUSED_ADDRESS = new Set([400, 401, 403]);
/** Restarting at the original URL gives a new address; if the third is refused too, expiry is not the reason. */
const REFUSED_ADDRESS_RETRIES = 2;

/** Does not read the body of an error; reports a 429 to the host limits. */
export async function statusFailure(
  engine: { limits: HostLimits; backoff: Backoff },
  url: string,
  opened: Opened,
): Promise<AttemptFailure> {
  const { status, headers, response } = opened.exchange;
  const retryAfterMs = parseRetryAfter(headers["retry-after"]);
  if (status === 429) {
    engine.limits.slowDown(opened.origin, Math.min(retryAfterMs ?? 0, engine.backoff.maxRetryAfterMs));
  }
  await discard(opened.exchange);
  const via = redactUrl(opened.url) === redactUrl(url) ? "" : ` (requested at "${redactUrl(opened.url)}")`;
  const said = `${status} ${printable(response.statusMessage ?? "", 60)}`.trim();
  const own = status === 401 || status === 403 ? opened.auth?.hint?.(opened.url) : undefined;
  const refused = opened.origin !== opened.asked.origin && opened.url.search !== "" && REFUSED_ADDRESS.has(status);
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM", url, `upstream answered ${said}${via}`, {
      actual: said,
      cause: new HttpStatus(status, refused),
      hint: refused ? redirectHint(opened) : (own ?? statusHint(status, opened.url)),
    }),
    refused
      ? { transient: true, retries: REFUSED_ADDRESS_RETRIES }
      : { transient: isTransientStatus(status), retryAfterMs },
  );
}

function redirectHint({ asked, url }: Opened): string {
  return `${asked.host} redirects to ${url.host}, which refuses: check this host's clock, and whether a proxy blocks ${url.host}; if it requires a login: hosts: { "${url.host}": … } in the manifest`;
}
