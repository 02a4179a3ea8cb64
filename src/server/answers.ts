/**
 * Short answers in words: plain text, pages, and the honest 404 that says what to try instead.
 */
import type { Request } from "./context.ts";

/** Answers with a small text made for this request. Adds a newline at its end where there is none. */
export function sendText(request: Request, status: number, text: string, headers: Record<string, string> = {}): void {
  sendGenerated(request, status, "text/plain; charset=utf-8", text.endsWith("\n") ? text : `${text}\n`, headers);
}

/** Answers with an HTML page that needs nothing from elsewhere and may run no script. */
export function sendPage(request: Request, html: string): void {
  sendGenerated(request, 200, "text/html; charset=utf-8", html, {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "Cache-Control": "no-cache",
  });
}

/** Answers with any generated text of a given type: JSON, metrics, configuration. */
export function sendGenerated(
  request: Request,
  status: number,
  contentType: string,
  text: string,
  headers: Record<string, string> = {},
): void {
  const body = Buffer.from(text);
  request.sent = request.head ? 0 : body.length;
  request.res.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
    ...headers,
  });
  request.res.end(request.head ? undefined : body);
}

/** Answers 404: what is not here, and where to look instead. */
export function sendNotFound(request: Request, hints: readonly string[] = []): void {
  const where = request.stream === undefined ? "" : ` in stream "${request.stream}"`;
  const lines = [`404: there is no ${JSON.stringify(request.path)}${where}`, ...hints];
  if (hints.length === 0) lines.push("see / for what is here");
  sendText(request, 404, lines.join("\n"));
}
