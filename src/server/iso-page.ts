/**
 * The page that shows one directory inside an ISO. Names come from the image: every one is escaped and percent-encoded.
 */
import type { IsoEntry } from "../iso/types.ts";

/**
 * Makes the HTML of a directory. `base` is the URL path of the directory, encoded, with a slash at its end; directories
 * come first, then files, both by name.
 */
export function isoPage(
  title: string,
  base: string,
  hasParent: boolean,
  entries: readonly IsoEntry[],
  volumeId: string,
): string {
  const sorted = [...entries].sort(
    (a, b) => Number(b.kind === "directory") - Number(a.kind === "directory") || (a.name < b.name ? -1 : 1),
  );
  const rows = sorted.map((entry) => row(entry, base));
  if (hasParent) rows.unshift(`<tr><td><a href="${base.replace(/[^/]+\/$/, "")}">../</a></td><td></td><td></td></tr>`);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>body{font:14px/1.5 system-ui,sans-serif;margin:2rem}td{padding:0 1.5rem 0 0}td+td{text-align:right;color:#555}</style>
</head><body><h1>${escapeHtml(title)}</h1><p>volume ${escapeHtml(JSON.stringify(volumeId))}, ${entries.length} entries, read in place</p>
<table>
${rows.join("\n")}
</table></body></html>
`;
}

function row(entry: IsoEntry, base: string): string {
  const slash = entry.kind === "directory" ? "/" : "";
  const name = escapeHtml(entry.name);
  const time = entry.mtime === undefined ? "" : isoTime(entry.mtime);
  if (entry.kind === "special" || entry.unreadable !== undefined) {
    return `<tr><td>${name}</td><td>${escapeHtml(entry.unreadable ?? "device")}</td><td>${time}</td></tr>`;
  }
  const target = entry.link === undefined ? "" : ` &rarr; ${escapeHtml(entry.link)}`;
  const size = entry.kind === "file" ? String(entry.size) : "";
  const href = `${base}${encodeURIComponent(entry.name).replaceAll("'", "%27")}${slash}`;
  return `<tr><td><a href="${href}">${name}${slash}</a>${target}</td><td>${size}</td><td>${time}</td></tr>`;
}

function isoTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 16).replace("T", " ");
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (it) => `&#${it.charCodeAt(0)};`);
}
