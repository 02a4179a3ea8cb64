/**
 * Short text responses: plain text, and a 404 that says what to try instead.
 */
import { AirferryError, type ErrorCode } from "../../errors.ts";
import { digestOf } from "../../io/digest.ts";
import { printable, printableJson } from "../../io/printable.ts";
import type { ServerRequest } from "./context.ts";
import { asGuarded, REVALIDATED } from "./freshness.ts";
import { checkPreconditions } from "./ranges.ts";

/**
 * The Content-Security-Policy of everything except the server's own pages: browsers give it a separate origin and run
 * nothing in it, whatever the bundle contains.
 * @see Content Security Policy Level 3, section 6.3.2 (sandbox)
 */
export const CONTENT_POLICY = "default-src 'none'; sandbox";

/** Sends a small text for this request. Adds a missing final newline. */
export function sendText(
  request: ServerRequest,
  status: number,
  text: string,
  headers: Record<string, string> = {},
): void {
  sendGenerated(request, status, "text/plain; charset=utf-8", text.endsWith("\n") ? text : `${text}\n`, headers);
}

/** Sends a generated text of a given type: JSON, metrics, configuration. */
export function sendGenerated(
  request: ServerRequest,
  status: number,
  contentType: string,
  text: string | Buffer,
  headers: Record<string, string> = {},
): void {
  const body = typeof text === "string" ? Buffer.from(text) : text;
  const caching = cachingOf(request, headers);
  const etag = caching["Cache-Control"] === undefined || status !== 200 ? undefined : etagFor(request, body);
  if (etag !== undefined) {
    const allowed = checkPreconditions(request.req.headers, etag);
    if (allowed !== 200) {
      const { Vary } = headers;
      const repeated = { ETag: etag, ...caching, ...(Vary !== undefined && { Vary }) };
      request.res.writeHead(allowed, allowed === 304 ? repeated : { ...repeated, "Content-Length": 0 }).end();
      return;
    }
    caching.ETag = etag;
  }
  request.sent = request.head ? 0 : body.length;
  request.res.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": CONTENT_POLICY,
    ...headers,
    ...caching,
  });
  request.res.end(request.head ? undefined : body);
  if (!request.head) request.resources.waiting.hold(request.res, body.length);
}

/** A recorded answer is sent as it was; what must not be stored has nothing to be asked for again by. */
function cachingOf(request: ServerRequest, headers: Record<string, string>): Record<string, string> {
  const own = headers["Cache-Control"] ?? REVALIDATED;
  return request.isRecorded === true || own !== REVALIDATED ? {} : { "Cache-Control": asGuarded(own, request) };
}

/** The ETag of a generated text that a GET is answered with. */
function etagFor({ req, head, resources: { etags } }: ServerRequest, body: Buffer): string | undefined {
  if (req.method !== "GET" && !head) return undefined;
  let etag = etags.get(body);
  if (etag === undefined) {
    etag = `"${digestOf(body)}"`;
    etags.set(body, etag);
  }
  return etag;
}

/** After how many seconds to ask again, by the fault: a medium can be put back, and a bucket answer again. */
const PASSING: Partial<Record<ErrorCode, number>> = { ERR_BUNDLE_INVALID: 30, ERR_OBJECT_STORAGE: 5, ERR_SPACE: 30 };

/** The status for a fault of what is served, and headers: 503 where it may pass. */
export function faultStatus(error: unknown): { status: 500 | 503; headers: Record<string, string> } {
  const seconds = error instanceof AirferryError ? PASSING[error.code] : undefined;
  if (seconds === undefined) return { status: 500, headers: {} };
  return { status: 503, headers: { "Retry-After": String(seconds) } };
}

/** Sends a 404 with what is missing, and where to look instead. */
export function sendNotFound(request: ServerRequest, hints: readonly string[] = []): void {
  const where = request.stream === undefined ? "" : ` in stream "${printable(request.stream)}"`;
  const lines = [`404: there is no ${printableJson(request.path)}${where}`, ...hints.map((it) => printable(it))];
  if (hints.length === 0) lines.push("/ lists what is here");
  // Which of the two depends on who asks.
  const headers = { Vary: "Accept" };
  if (wantsHtml(request) && request.notFoundPage?.(request, hints, headers)) return;
  sendText(request, 404, lines.join("\n"), headers);
}

/** Browsers name the type; programs that take anything do not. */
function wantsHtml({ req }: ServerRequest): boolean {
  return /\btext\/html\b/i.test(req.headers.accept ?? "");
}
