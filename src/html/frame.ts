/**
 * The frame of pages and reports for people, and their parts: one small style sheet, light and dark, nothing loaded
 * from elsewhere.
 */
import { createHash } from "node:crypto";
import { type Html, type HtmlValue, html, joined } from "./html.ts";

/** Between parts that stand on lines of their own in the source. */
export const LINE = html`
`;

/** A block of commands to copy, each on its line: one click selects all of it. */
export function commandBlock(...lines: readonly string[]): Html {
  return html`<div class="lines"><pre tabindex="0" role="group" aria-label="commands"><code>${joined(lines, LINE)}</code></pre></div>`;
}

/** A link. `href` is a URL, percent-encoded. */
export function link(href: string, text: HtmlValue): Html {
  return html`<a href="${href}">${text}</a>`;
}

/**
 * A table that scrolls by itself when it is too wide. `numbers` are the columns that hold numbers; each row is a
 * `<tr>`. The caption says what is listed.
 */
export function table(
  caption: HtmlValue,
  heads: readonly string[],
  rows: readonly Html[],
  numbers: readonly number[] = [],
): Html {
  const head = heads.map((it, i) =>
    numbers.includes(i) ? html`<th scope="col" class="number">${it}</th>` : html`<th scope="col">${it}</th>`,
  );
  return html`<div class="scroll" tabindex="0" role="group" aria-label="${textOfCaption(caption)}"><table><caption>${caption}</caption><thead><tr>${joined(head)}</tr></thead><tbody>
${joined(rows, LINE)}
</tbody></table></div>`;
}

function textOfCaption(caption: HtmlValue): HtmlValue {
  return typeof caption === "object" ? "table" : caption;
}

/** What a page has beside its main part. */
interface PageExtras {
  /** Added to the frame's own style sheet, for pages that are files. */
  style?: Html;
  before?: Html;
  after?: Html;
}

/** A whole page. */
export function htmlPage(title: string, body: Html, extras?: PageExtras): Html {
  const { head, tail } = pageFrame(title, extras);
  return html`${head}${body}${tail}`;
}

/** What is before and after the main part of a page, for one that is written piece by piece. */
export function pageFrame(title: string, { style, before, after }: PageExtras = {}): { head: Html; tail: Html } {
  const head = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>${title}</title>
<style>${STYLE}</style>${style === undefined ? "" : html`<style>${style}</style>`}</head><body>${before ?? ""}<main id="main">
`;
  const tail = html`
</main>${after ?? ""}</body></html>
`;
  return { head, tail };
}

const STYLE = html`
:root{--ink:#1c2430;--soft:#545f6d;--line:#d9dfe6;--paper:#fff;--block:#f4f6f8;--link:#0b57a4;--warn:#8a4b00;--warnbg:#fff4e0;--good:#1b6b3a;--goodbg:#e6f4ea}
@media(prefers-color-scheme:dark){:root{--ink:#e3e8ee;--soft:#a3afbc;--line:#2f3843;--paper:#14191f;--block:#1d242c;--link:#8abff7;--warn:#f3c27a;--warnbg:#33270f;--good:#8fd6a8;--goodbg:#14301f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:1.25rem 1.25rem 4rem;overflow-wrap:break-word}
h1{font-size:1.5rem;line-height:1.25;margin:.25rem 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2.25rem 0 .5rem;padding-bottom:.25rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
h3{font-size:1rem;margin:1.5rem 0 .25rem;overflow-wrap:anywhere}
p{margin:.5rem 0}
a{color:var(--link);text-decoration-thickness:1px;text-underline-offset:.15em}a:hover{text-decoration-thickness:2px}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.soft{color:var(--soft)}
.warn{background:var(--warnbg);color:var(--warn);padding:.6rem .8rem;border-radius:6px}.warn a{color:inherit}
.tag{display:inline-block;padding:0 .45rem;border-radius:999px;background:var(--block);border:1px solid var(--line);font-size:.8rem;white-space:nowrap}
.tag.good{background:var(--goodbg);color:var(--good);border-color:transparent}.tag.bad{background:var(--warnbg);color:var(--warn);border-color:transparent}
code,pre,.mono{font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
code{overflow-wrap:anywhere}
pre{margin:.4rem 0 .8rem;padding:.7rem .9rem;background:var(--block);border:1px solid var(--line);border-radius:6px;overflow-x:auto;user-select:all}
pre code{overflow-wrap:normal}
.digest{font-size:.75rem;user-select:all;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
caption{text-align:left;color:var(--soft);padding:.25rem 0;font-size:.875rem}
th{text-align:left;font-weight:600;color:var(--soft);font-size:.875rem;white-space:nowrap}
th,td{padding:.3rem 1.25rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td:first-child{overflow-wrap:anywhere;min-width:11rem}
.text{overflow-wrap:anywhere;min-width:14rem}
th:last-child,td:last-child{padding-right:0}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.nowrap{white-space:nowrap}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--paper);padding:.4rem .6rem;z-index:1}
.hide{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.top{border-bottom:1px solid var(--line);background:var(--block)}
.top>div,.foot>div{max-width:70rem;margin:0 auto;padding:.6rem 1.25rem;display:flex;flex-wrap:wrap;gap:.4rem 1.25rem;align-items:center}
.home{font-weight:700;overflow-wrap:anywhere}.home a{text-decoration:none}
.top ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;margin:0;padding:0;flex:1}
.top li a{text-decoration:none;display:inline-block;padding:.15rem 0}.top a[aria-current]{color:var(--ink);border-bottom:2px solid var(--link)}
.foot{border-top:1px solid var(--line);font-size:.875rem;color:var(--soft)}
form.find{display:flex;flex-wrap:wrap;gap:.4rem;margin:0}
input,select,button{font:inherit;font-size:.9375rem;color:var(--ink);background:var(--paper);border:1px solid var(--soft);border-radius:6px;padding:.25rem .6rem;max-width:100%}
input[type=search]{min-width:0;width:14rem}.wide input[type=search]{flex:1 1 16rem}
button{cursor:pointer;background:var(--block)}
.lines{position:relative}.lines .copy{position:absolute;top:.4rem;right:.4rem;font-size:.8rem;padding:.1rem .5rem}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.25rem;margin:.75rem 0}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}
details{margin:.3rem 0}summary{cursor:pointer;color:var(--link)}
@media(max-width:34rem){.lines:has(.copy) pre{padding-top:2.2rem}dl.facts{grid-template-columns:1fr}dl.facts dd{margin-bottom:.4rem}.top form.find{width:100%}.top form.find input{flex:1}}
@media print{.top,.foot,.copy{display:none}}
`;

/** The frame's style sheet as a source of a Content-Security-Policy. */
export const STYLE_SOURCE = `'sha256-${createHash("sha256").update(String(STYLE)).digest("base64")}'`;
