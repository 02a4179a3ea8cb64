/** The differences between two releases as one page that needs nothing beside itself: to be filed, sent or printed. */

import { htmlPage, LINE, table } from "../html/frame.ts";
import { type Html, html, joined } from "../html/html.ts";
import { formatBytes } from "../io/format.ts";
import type { Changes, Comparison } from "./compare.ts";
import { type Item, PARTS, type Part } from "./parts.ts";

/** What is said of each side. */
interface PageSide {
  title: string;
  created: string;
  signers: readonly string[];
  verified: boolean;
}

const TITLES: Record<Part, string> = {
  packages: "Packages",
  images: "Images",
  isos: "ISOs",
  files: "Files",
  web: "Web answers",
};

/** The page. Ends with a line feed. */
export function diffPage(before: PageSide, after: PageSide, comparison: Comparison): string {
  const title = `${before.title} → ${after.title}`;
  const body = html`<h1>${title}</h1>
${differences(before, after, comparison)}`;
  return String(htmlPage(title, body));
}

/** What the page says below its title. Lists at most `limit` changes of each part. */
export function differences(
  before: PageSide,
  after: PageSide,
  comparison: Comparison,
  limit = Number.POSITIVE_INFINITY,
): Html {
  const { added, removed } = comparison.signers;
  const signers = [
    ...added.map((it) => `${it} signed only the second`),
    ...removed.map((it) => `${it} signed only the first`),
  ];
  const sides = [before, after].map(
    ({ title, created, signers, verified }) =>
      html`<tr><td>${title}</td><td class="nowrap">${created}</td><td class="mono">${signers.join(" ") || "nobody"}</td><td>${verified ? "checked at import" : "not checked"}</td></tr>`,
  );
  return joined(
    [
      html`<p class="soft">What airferry diff found${comparison.same ? ": the content is the same" : ""}.</p>`,
      table("What was compared", ["Release", "Packed", "Signed by", "Signatures"], sides),
      ...signers.map((it) => html`<p class="warn">${it}</p>`),
      ...PARTS.filter((it) => isInReport(it, comparison)).map((it) => section(TITLES[it], comparison[it], it, limit)),
    ],
    LINE,
  );
}

/** Web answers are left out where neither side has any. */
export function isInReport(part: Part, comparison: Comparison): boolean {
  const { unchanged, ...lists } = comparison[part];
  return part !== "web" || unchanged > 0 || Object.values(lists).some((it) => it.length > 0);
}

function section(title: string, changes: Changes, part: Part, limit: number): Html {
  const all = changeRows(changes, part);
  const rows = all
    .slice(0, limit)
    .map(
      ({ how, what, before, after, size }) =>
        html`<tr><td>${what}</td><td>${how}</td><td>${before}</td><td>${after}</td><td class="number">${size}</td></tr>`,
    );
  if (rows.length === 0) return html`<h2>${title}</h2><p class="soft">${summaryOf(changes)}</p>`;
  const rest = all.length > rows.length ? html`<p class="soft">and ${all.length - rows.length} more</p>` : "";
  return html`<h2>${title}</h2>
${table(summaryOf(changes), ["What", "Change", "Before", "After", "Size"], rows, [4])}${rest}`;
}

/** One line of a table: texts, empty where a side has nothing. */
interface ChangeRow {
  how: "added" | "removed" | "up" | "down" | "changed";
  what: string;
  before: string;
  after: string;
  /** Of what is there afterwards; of what was removed, before. */
  size: string;
}

/** The changes as lines, for tables of any kind: what changed first, then what was added and removed. */
export function changeRows(changes: Changes, part: Part): ChangeRow[] {
  const text = (it: Item) => versionText(it, part);
  const size = (it: Item) => (it.size === null ? "" : formatBytes(it.size));
  const rows = (how: ChangeRow["how"], list: readonly { before?: Item; after?: Item }[]) =>
    list.flatMap(({ before, after }): ChangeRow[] => {
      const item = after ?? before;
      if (item === undefined) return [];
      const [old, fresh] = [before && text(before), after && text(after)];
      // Other bytes under the same version: the digests tell them apart.
      const same = how === "changed" && old === fresh;
      return [
        {
          how,
          what: nameOf(item, part),
          before: same && before ? `${old} (${detailOf(before)})` : (old ?? ""),
          after: same && after ? `${fresh} (${detailOf(after)})` : (fresh ?? ""),
          size: size(item),
        },
      ];
    });
  return [
    ...rows("up", changes.upgraded),
    ...rows("down", changes.downgraded),
    ...rows("changed", changes.changed),
    ...rows(
      "added",
      changes.added.map((after) => ({ after })),
    ),
    ...rows(
      "removed",
      changes.removed.map((before) => ({ before })),
    ),
  ];
}

/** `3 up, 1 added, 510 unchanged`. */
export function summaryOf(changes: Changes): string {
  const counts: [string, number][] = [
    ["up", changes.upgraded.length],
    ["down", changes.downgraded.length],
    ["changed", changes.changed.length],
    ["added", changes.added.length],
    ["removed", changes.removed.length],
    ["unchanged", changes.unchanged],
  ];
  const text = counts.flatMap(([word, count]) => (count > 0 ? [`${count} ${word}`] : [])).join(", ");
  return text === "" ? "none on either side" : text;
}

function nameOf(item: Item, part: Part): string {
  if (part === "packages") return `${item.repository}: ${item.name}`;
  return part === "images" ? item.name : item.path;
}

function versionText(item: Item, part: Part): string {
  if (part === "packages") return item.epoch ? `${item.epoch}:${item.version}` : item.version;
  if (part === "images") return item.version;
  return item.path.slice(item.path.lastIndexOf("/") + 1);
}

function detailOf({ digests, platforms }: Item): string {
  const digest = digests[0]?.replace(/^(\w+:.{12}).*$/, "$1…") ?? "digest unknown";
  if (platforms === undefined) return digest;
  return `${digest}, ${platforms.length === 0 ? "all platforms" : platforms.join(" ")}`;
}
