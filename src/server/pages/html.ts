/**
 * The frame of the pages for people: one small style sheet, light and dark, no script, nothing loaded from elsewhere.
 */
import { createHash } from "node:crypto";
import { printable } from "../../io/printable.ts";
import { sendGenerated } from "../http/answers.ts";
import type { Request } from "../http/context.ts";

/** Escapes text of one line, whoever wrote it, for HTML content and double-quoted attributes. */
export function escapeHtml(text: string): string {
  return printable(text)
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** A block of commands to copy: one click selects all of it. The text is escaped here. */
export function commandBlock(text: string): string {
  return `<pre tabindex="0"><code>${text.split("\n").map(escapeHtml).join("\n")}</code></pre>`;
}

/** A whole page. `title` is escaped here; `body` is HTML. */
export function htmlPage(title: string, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>${escapeHtml(title)}</title>
<style>${STYLE}</style></head><body><main>
${body}
</main></body></html>
`;
}

const STYLE = `
:root{--ink:#1c2430;--soft:#5a6675;--line:#dde2e8;--paper:#fff;--block:#f4f6f8;--link:#0b57a4;--warn:#8a4b00;--warnbg:#fff4e0}
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ee;--soft:#9aa7b5;--line:#2f3843;--paper:#14191f;--block:#1d242c;--link:#7fb8f5;--warn:#f3c27a;--warnbg:#33270f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.5rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2.25rem 0 .5rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
p{margin:.5rem 0}
a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}
.soft{color:var(--soft)}
.warn{background:var(--warnbg);color:var(--warn);padding:.6rem .8rem;border-radius:6px}
code,pre,.mono{font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{margin:.4rem 0 .8rem;padding:.7rem .9rem;background:var(--block);border:1px solid var(--line);border-radius:6px;overflow-x:auto;user-select:all}
.digest{font-size:.75rem;user-select:all}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600;color:var(--soft);font-size:.875rem}
th,td{padding:.3rem 1.25rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child{overflow-wrap:anywhere;min-width:11rem}
th:last-child,td:last-child{padding-right:0}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.nowrap{white-space:nowrap}
`;

/**
 * The Content-Security-Policy of our own pages: the one style sheet above and an empty icon, nothing else; never in a frame.
 * @see Content Security Policy Level 3, section 6.1
 */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(STYLE).digest("base64")}'`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** Answers with an HTML page that needs nothing from elsewhere and may run no script. */
export function sendPage(request: Request, html: string | Buffer): void {
  sendGenerated(request, 200, "text/html; charset=utf-8", html, {
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-cache",
  });
}
