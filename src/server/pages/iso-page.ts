/**
 * The page that shows one directory inside an ISO. Names come from the image: every one is escaped and percent-encoded.
 */

import { link, table } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { formatBytes, plural } from "../../io/format.ts";
import type { IsoDirectoryEntry } from "../../iso/types.ts";
import { type PageScope, sitePage } from "./page-frame.ts";

/** More entries than any directory of an installation medium. */
const ENTRIES_PER_PAGE = 8000;
const PLAIN = /^[A-Za-z0-9._~-]+$/;

/** The index of the first entry on the page for `?from=N`: any N maps to one of few pages. */
export function firstOfPage(from: string | null, entries: number): number {
  const asked = /^\d{1,9}$/.test(from ?? "") ? Number(from) : 0;
  return asked < entries ? asked - (asked % ENTRIES_PER_PAGE) : 0;
}

/**
 * Generates the HTML of a directory, or of 8,000 of its entries from index `from`. `base` is the URL path of the
 * directory, encoded, with a trailing slash; `entries` are in the order of the page.
 */
export function isoPage(
  title: string,
  base: string,
  entries: readonly IsoDirectoryEntry[],
  from: number,
  volumeId: string,
  scope: PageScope,
): Html {
  const time = timeFormatter();
  const shown = entries.slice(from, from + ENTRIES_PER_PAGE);
  // The parent of the image's root is the list of all images.
  const up = html`<tr><td>${link(base.replace(/[^/]+\/$/, ""), "../")}</td><td></td><td></td></tr>`;
  // A page has thousands of names: their common part is escaped once, and plain ones need no percent-encoding.
  const here = html`${base}`;
  const about = `inside volume ${JSON.stringify(volumeId)}, ${plural(entries.length, "entry", "entries")}, read in place`;
  const rows = [up, ...shown.map((entry) => row(entry, here, time(entry.mtime)))];
  return sitePage(
    title,
    html`<h1>${title}</h1>${table(about, ["name", "size", "date"], rows, [1])}${pageLinks(from, entries.length, scope)}`,
    { ...scope, at: "/isos/" },
  );
}

function pageLinks(from: number, entries: number, { view }: PageScope): Html | "" {
  const links: Html[] = [];
  if (from > 0) links.push(link(`?from=${from - ENTRIES_PER_PAGE}`, "previous"));
  const rest = entries - from - ENTRIES_PER_PAGE;
  if (rest > 0 && view.written !== undefined)
    return html`<p>And ${plural(rest, "more entry", "more entries")} that this page does not list.</p>`;
  if (rest > 0) links.push(html`${link(`?from=${from + ENTRIES_PER_PAGE}`, "next")} of ${rest} more`);
  return links.length === 0 ? "" : html`<p>${joined(links, " · ")}</p>`;
}

function row(entry: IsoDirectoryEntry, here: Html, time: Html): Html {
  const { name } = entry;
  if (entry.kind === "special" || entry.unreadable !== undefined) {
    const why = entry.unreadable ?? "device";
    return html`<tr><td>${name}</td><td>${why}</td><td class="nowrap">${time}</td></tr>`;
  }
  const slash = entry.kind === "directory" ? "/" : "";
  const target = entry.link === undefined ? "" : html` &rarr; ${entry.link}`;
  const size = entry.kind === "file" ? formatBytes(entry.size) : "";
  const segment = PLAIN.test(name) ? name : encodeURIComponent(name).replaceAll("'", "%27");
  return html`<tr><td><a href="${here}${segment}${slash}">${name}${slash}</a>${target}</td><td class="number">${size}</td><td class="nowrap">${time}</td></tr>`;
}

/** Files of one image often have the same time. */
function timeFormatter(): (seconds: number | undefined) => Html {
  const none = html``;
  let last: number | undefined;
  let text = none;
  return (seconds) => {
    if (seconds === undefined) return none;
    if (seconds !== last) text = html`${formatTime(seconds)}`;
    last = seconds;
    return text;
  };
}

function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 16).replace("T", " ");
}
