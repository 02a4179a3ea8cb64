/**
 * The frame of pages and reports for people, and their parts: one small style sheet, light and dark, no script, nothing
 * loaded from elsewhere.
 */
import { createHash } from "node:crypto";
import { type Html, type HtmlValue, html, joined } from "./html.ts";

/** Between parts that stand on lines of their own in the source. */
export const LINE = html`
`;

/** A block of commands to copy, each on its line: one click selects all of it. */
export function commandBlock(...lines: readonly string[]): Html {
  return html`<pre tabindex="0"><code>${joined(lines, LINE)}</code></pre>`;
}

/** A link. `href` is a URL, percent-encoded. */
export function link(href: string, text: HtmlValue): Html {
  return html`<a href="${href}">${text}</a>`;
}

/** A table. `numbers` are the columns that hold numbers; each row is a `<tr>`. */
export function table(heads: readonly string[], rows: readonly Html[], numbers: readonly number[] = []): Html {
  const head = heads.map((it, i) => (numbers.includes(i) ? html`<th class="number">${it}</th>` : html`<th>${it}</th>`));
  return html`<div class="scroll"><table><thead><tr>${joined(head)}</tr></thead><tbody>
${joined(rows, LINE)}
</tbody></table></div>`;
}

/** A whole page. `style` is added to the frame's own, for pages that are files. */
export function htmlPage(title: string, body: Html, style?: Html): Html {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>${title}</title>
<style>${STYLE}</style>${style === undefined ? "" : html`<style>${style}</style>`}</head><body><main>
${body}
</main></body></html>
`;
}

const STYLE = html`
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
 * The Content-Security-Policy of our own pages: the one style sheet above and an empty icon, nothing else; never in a
 * frame.
 * @see Content Security Policy Level 3, section 6.1
 */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(String(STYLE)).digest("base64")}'`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");
