/**
 * Short text responses: plain text, and a 404 that says what to try instead.
 */
import { AirferryError } from "../../errors.ts";
import { printable, printableJson } from "../../io/printable.ts";
import type { ServerRequest } from "./context.ts";

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
  request.sent = request.head ? 0 : body.length;
  request.res.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": CONTENT_POLICY,
    ...headers,
  });
  request.res.end(request.head ? undefined : body);
  if (!request.head) request.resources.waiting.hold(request.res, body.length);
}

/** The status for a fault of what is served: 503 where it may pass, since a medium can be put back. */
export function faultStatus(error: unknown): 500 | 503 {
  return error instanceof AirferryError && error.code === "ERR_BUNDLE_INVALID" ? 503 : 500;
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
