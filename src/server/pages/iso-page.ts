/**
 * The page that shows one directory inside an ISO. Names come from the image: every one is escaped and percent-encoded.
 */

import { formatBytes, plural } from "../../io/format.ts";
import type { IsoEntry } from "../../iso/types.ts";
import { escapeHtml, htmlPage } from "./html.ts";

/** More than any installation medium has in one directory. */
const ENTRIES_PER_PAGE = 8000;
const PLAIN = /^[A-Za-z0-9._~-]+$/;

/** Entries of a directory as its page has them. Sorted once: large directories have many pages. */
const sortedEntries = new WeakMap<readonly IsoEntry[], IsoEntry[]>();

/** The index of the first entry on the page that `?from=N` asks for: any N belongs to one of few pages. */
export function firstOfPage(from: string | null, entries: number): number {
  const asked = /^\d{1,9}$/.test(from ?? "") ? Number(from) : 0;
  return asked < entries ? asked - (asked % ENTRIES_PER_PAGE) : 0;
}

/**
 * Makes the HTML of a directory, or of 8,000 of its entries from index `from`. `base` is the URL path of the directory,
 * encoded, with a slash at its end; directories come first, then files, both by name.
 */
export function isoPage(
  title: string,
  base: string,
  entries: readonly IsoEntry[],
  from: number,
  volumeId: string,
): string {
  const rows = sort(entries)
    .slice(from, from + ENTRIES_PER_PAGE)
    .map((entry) => row(entry, base));
  // Above the root of the image is the list of all images.
  rows.unshift(`<tr><td><a href="${base.replace(/[^/]+\/$/, "")}">../</a></td><td></td><td></td></tr>`);
  const about = `inside volume ${JSON.stringify(volumeId)}, ${plural(entries.length, "entry", "entries")}, read in place`;
  return htmlPage(
    title,
    `<h1>${escapeHtml(title)}</h1><p class="soft">${escapeHtml(about)}</p>
<div class="scroll"><table><tr><th>name</th><th class="number">size</th><th>date</th></tr>
${rows.join("\n")}
</table></div>${pageLinks(from, entries.length)}`,
  );
}

function sort(entries: readonly IsoEntry[]): IsoEntry[] {
  const known = sortedEntries.get(entries);
  if (known !== undefined) return known;
  const sorted = [...entries].sort(
    (a, b) => Number(b.kind === "directory") - Number(a.kind === "directory") || (a.name < b.name ? -1 : 1),
  );
  sortedEntries.set(entries, sorted);
  return sorted;
}

function pageLinks(from: number, entries: number): string {
  const links: string[] = [];
  if (from > 0) links.push(`<a href="?from=${from - ENTRIES_PER_PAGE}">previous</a>`);
  const rest = entries - from - ENTRIES_PER_PAGE;
  if (rest > 0) links.push(`<a href="?from=${from + ENTRIES_PER_PAGE}">next</a> of ${rest} more`);
  return links.length === 0 ? "" : `<p>${links.join(" · ")}</p>`;
}

function row(entry: IsoEntry, base: string): string {
  const slash = entry.kind === "directory" ? "/" : "";
  // Package names need neither escapes nor percents, and a page has thousands of them.
  const plain = PLAIN.test(entry.name);
  const name = plain ? entry.name : escapeHtml(entry.name);
  const time = `<td class="nowrap">${entry.mtime === undefined ? "" : isoTime(entry.mtime)}</td>`;
  if (entry.kind === "special" || entry.unreadable !== undefined) {
    return `<tr><td>${name}</td><td>${escapeHtml(entry.unreadable ?? "device")}</td>${time}</tr>`;
  }
  const target = entry.link === undefined ? "" : ` &rarr; ${escapeHtml(entry.link)}`;
  const size = entry.kind === "file" ? formatBytes(entry.size) : "";
  const segment = plain ? entry.name : encodeURIComponent(entry.name).replaceAll("'", "%27");
  const href = `${base}${segment}${slash}`;
  return `<tr><td><a href="${href}">${name}${slash}</a>${target}</td><td class="number">${size}</td>${time}</tr>`;
}

let lastTime = { seconds: -1, text: "" };

/** Files of one image often have one time. */
function isoTime(seconds: number): string {
  if (lastTime.seconds !== seconds) lastTime = { seconds, text: formatTime(seconds) };
  return lastTime.text;
}

function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 16).replace("T", " ");
}
