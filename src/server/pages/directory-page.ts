/**
 * The page of one directory of the tree: names, sizes and digests, a thousand at a time. Links are absolute paths, so
 * that the page works with and without a trailing slash and installers need no redirect.
 */

import { link, table } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { hexOf } from "../../io/digest.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { compareUtf8 } from "../../io/text.ts";
import type { ServerRequest, TreeView } from "../http/context.ts";
import { encodePath } from "./entry-tree.ts";
import { sitePage } from "./page-frame.ts";

const NAMES_PER_PAGE = 1000;
/** Of a page that no other one can follow. */
const NAMES_PER_WRITTEN_PAGE = 10_000;

/** Renders a directory; `?after=NAME` continues after a name. */
export function directoryPage(request: ServerRequest, view: TreeView): Html {
  const directory = request.path.replace(/^\/+|\/+$/g, "");
  const base = request.stream === undefined ? "" : `s/${request.stream}`;
  const here = [base, directory].filter((part) => part !== "").join("/");
  const names = view.names(directory, request.stream);
  const after = request.query.get("after") ?? "";
  const most = view.written === undefined ? NAMES_PER_PAGE : NAMES_PER_WRITTEN_PAGE;
  const { shown, left, count } = partOf(directory === "isos" ? withIsoTrees([...names]) : names, after, most);

  const rows = shown.map((name) => row(name, directory, here, view, request.stream));
  const last = shown.at(-1);
  const more =
    left > 0 && view.written !== undefined
      ? html`<p>And ${plural(left, "more name")} that this page does not list.</p>`
      : left > 0 && last !== undefined
        ? html`<p><a href="?after=${encodeURIComponent(last)}">next ${Math.min(NAMES_PER_PAGE, left)} of ${left} more</a></p>`
        : "";
  const body = html`<h1>${crumbs(here)}</h1>
${table(plural(count, "name"), ["name", "size", "sha256"], rows, [1])}${more}`;
  return sitePage(`/${here}/`, body, { view, stream: request.stream, at: `/${directory}/` });
}

/** At most `most` names after one, how many are behind them, and how many there are of all. */
function partOf(names: Iterable<string>, after: string, most: number) {
  const shown: string[] = [];
  let [left, count] = [0, 0];
  for (const it of names) {
    count++;
    if (shown.length === 0 && after !== "" && compareUtf8(it, after) <= 0) continue;
    if (shown.length < most) shown.push(it);
    else left++;
  }
  return { shown, left, count };
}

/** Each `NAME.iso` also adds the tree inside it, `NAME/`. */
function withIsoTrees(names: readonly string[]): string[] {
  const trees = names.filter((name) => name.endsWith(".iso")).map((name) => `${name.slice(0, -".iso".length)}/`);
  return [...new Set([...names, ...trees])].sort(compareUtf8);
}

function row(name: string, directory: string, here: string, view: TreeView, stream: string | undefined): Html {
  const named = link(`/${encodePath(here === "" ? name : `${here}/${name}`)}`, name);
  const found = name.endsWith("/") ? undefined : view.find(directory === "" ? name : `${directory}/${name}`, stream);
  if (found === undefined) return html`<tr><td>${named}</td><td></td><td></td></tr>`;
  if ("conflict" in found) {
    return html`<tr><td>${named}</td><td colspan="2" class="soft">differs between streams</td></tr>`;
  }
  const { size, digest } = found.entry;
  return html`<tr><td>${named}</td><td class="number" title="${size} bytes">${formatBytes(size)}</td><td class="mono soft nowrap" title="${hexOf(digest)}">${hexOf(digest).slice(0, 16)}…</td></tr>`;
}

function crumbs(here: string): Html {
  let path = "";
  const parts = here.split("/").filter((part) => part !== "");
  const links = parts.map((part) => {
    path += `/${encodePath(part)}`;
    return link(`${path}/`, part);
  });
  return joined([link("/", "airferry"), ...links], " / ");
}
