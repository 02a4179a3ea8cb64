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

/** Renders a directory. `names` as {@link TreeView.list} gives them; `?after=NAME` continues after a name. */
export function directoryPage(request: ServerRequest, names: readonly string[], view: TreeView): Html {
  const directory = request.path.replace(/^\/+|\/+$/g, "");
  const base = request.stream === undefined ? "" : `s/${request.stream}`;
  const here = [base, directory].filter((part) => part !== "").join("/");
  const all = directory === "isos" ? withIsoTrees(names) : names;
  const after = request.query.get("after") ?? "";
  const rest = after === "" ? all : all.filter((name) => compareUtf8(name, after) > 0);
  const shown = rest.slice(0, view.written === undefined ? NAMES_PER_PAGE : NAMES_PER_WRITTEN_PAGE);

  const rows = shown.map((name) => row(name, directory, here, view, request.stream));
  const last = shown.at(-1);
  const left = rest.length - shown.length;
  const more =
    left > 0 && view.written !== undefined
      ? html`<p>And ${plural(left, "more name")} that this page does not list.</p>`
      : left > 0 && last !== undefined
        ? html`<p><a href="?after=${encodeURIComponent(last)}">next ${Math.min(NAMES_PER_PAGE, left)} of ${left} more</a></p>`
        : "";
  const body = html`<h1>${crumbs(here)}</h1>
${table(plural(all.length, "name"), ["name", "size", "sha256"], rows, [1])}${more}`;
  return sitePage(`/${here}/`, body, { view, stream: request.stream, at: `/${directory}/` });
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
