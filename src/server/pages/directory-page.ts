/**
 * The page of one directory of the tree: names, sizes and digests, a thousand at a time. Links are absolute paths, so
 * that the page is right with and without a trailing slash and installers need no redirect.
 */

import { formatBytes, plural } from "../../io/format.ts";
import type { Request, TreeView } from "../http/context.ts";
import { escapeHtml, htmlPage } from "./html.ts";
import { compareUtf8, encodePath } from "./tree.ts";

const NAMES_PER_PAGE = 1000;

/** Renders a directory. `names` as {@link TreeView.list} gives them; `?after=NAME` continues behind a name. */
export function directoryPage(request: Request, names: readonly string[], view: TreeView): string {
  const directory = request.path.replace(/^\/+|\/+$/g, "");
  const base = request.stream === undefined ? "" : `s/${request.stream}`;
  const here = [base, directory].filter((part) => part !== "").join("/");
  const all = directory === "isos" ? withIsoTrees(names) : names;
  const after = request.query.get("after") ?? "";
  const rest = after === "" ? all : all.filter((name) => compareUtf8(name, after) > 0);
  const shown = rest.slice(0, NAMES_PER_PAGE);

  const rows = shown.map((name) => row(name, directory, here, view, request.stream)).join("\n");
  const last = shown.at(-1);
  const more =
    rest.length > shown.length && last !== undefined
      ? `<p><a href="?after=${encodeURIComponent(last)}">next ${Math.min(NAMES_PER_PAGE, rest.length - shown.length)} of ${rest.length - shown.length} more</a></p>`
      : "";
  const body = `<h1>${crumbs(here)}</h1>
<p class="soft">${plural(all.length, "name")}</p>
<div class="scroll"><table><thead><tr><th>name</th><th class="number">size</th><th>sha256</th></tr></thead><tbody>
${rows}
</tbody></table></div>${more}`;
  return htmlPage(`/${here}/`, body);
}

/** Each `NAME.iso` also stands for the tree inside it, `NAME/`. */
function withIsoTrees(names: readonly string[]): string[] {
  const trees = names.filter((name) => name.endsWith(".iso")).map((name) => `${name.slice(0, -".iso".length)}/`);
  return [...new Set([...names, ...trees])].sort(compareUtf8);
}

function row(name: string, directory: string, here: string, view: TreeView, stream: string | undefined): string {
  const href = `/${encodePath(here === "" ? name : `${here}/${name}`)}`;
  const link = `<a href="${escapeHtml(href)}">${escapeHtml(name)}</a>`;
  if (name.endsWith("/")) return `<tr><td>${link}</td><td></td><td></td></tr>`;
  const found = view.find(directory === "" ? name : `${directory}/${name}`, stream);
  if (found === undefined) return `<tr><td>${link}</td><td></td><td></td></tr>`;
  if ("conflict" in found) return `<tr><td>${link}</td><td colspan="2" class="soft">differs between streams</td></tr>`;
  const { size, sha256 } = found.entry;
  return `<tr><td>${link}</td><td class="number" title="${size} bytes">${formatBytes(size)}</td><td class="mono soft nowrap" title="${sha256}">${sha256.slice(0, 16)}…</td></tr>`;
}

function crumbs(here: string): string {
  let path = "";
  const links = here
    .split("/")
    .filter((part) => part !== "")
    .map((part) => {
      path += `/${encodePath(part)}`;
      return `<a href="${escapeHtml(path)}/">${escapeHtml(part)}</a>`;
    });
  return ['<a href="/">airferry</a>', ...links].join(" / ");
}
