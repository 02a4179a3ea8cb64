/**
 * Short answers in words: plain text, and the honest 404 that says what to try instead.
 */
import { printable, printableJson } from "../../io/printable.ts";
import type { ServerRequest } from "./context.ts";

/**
 * The Content-Security-Policy of everything but our own pages: a browser that shows it gives it an origin of its own and
 * runs nothing in it, whatever a bundle brought.
 * @see Content Security Policy Level 3, section 6.3.2 (sandbox)
 */
export const CONTENT_POLICY = "default-src 'none'; sandbox";

/** Answers with a small text made for this request. Adds a newline at its end where there is none. */
export function sendText(
  request: ServerRequest,
  status: number,
  text: string,
  headers: Record<string, string> = {},
): void {
  sendGenerated(request, status, "text/plain; charset=utf-8", text.endsWith("\n") ? text : `${text}\n`, headers);
}

/** Answers with any generated text of a given type: JSON, metrics, configuration. */
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

/** Answers 404: what is not here, and where to look instead. */
export function sendNotFound(request: ServerRequest, hints: readonly string[] = []): void {
  const where = request.stream === undefined ? "" : ` in stream "${printable(request.stream)}"`;
  const lines = [`404: there is no ${printableJson(request.path)}${where}`, ...hints.map((it) => printable(it))];
  if (hints.length === 0) lines.push("see / for what is here");
  sendText(request, 404, lines.join("\n"));
}
