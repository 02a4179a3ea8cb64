/** The page for what is not here: what was asked for, and what is near it. For browsers only; programs get a text. */
import { LINE, link } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { nearestWords } from "../../io/closest-word.ts";
import { firstOf } from "../../io/first-of.ts";
import { printable } from "../../io/printable.ts";
import type { ServerRequest, TreeView } from "../http/context.ts";
import { encodePath, isDirectory } from "./entry-tree.ts";
import { rootOf, sitePage } from "./page-frame.ts";

const MAX_NEAR = 8;
/** Names that are compared with the one asked for. */
const MAX_COMPARED = 5000;
const MAX_SHOWN = 300;
const MAX_HINT = 1000;

/** Renders the page; `hints` are the lines that programs get. */
export function notFoundPage(
  request: Pick<ServerRequest, "path" | "stream">,
  hints: readonly string[],
  view: TreeView,
): Html {
  const { path, stream } = request;
  const known = stream === undefined || view.releases.some((it) => it.stream === stream);
  const root = rootOf(known ? stream : undefined);
  const { folder, names } = nearest(path, view, known ? stream : undefined);
  const wanted = path.slice(1 + (folder === "" ? 0 : folder.length + 1)).split("/", 1)[0] ?? "";
  const near = nearestWords(wanted, names, MAX_NEAR);
  const items = near.map((name) => {
    const at = `${folder === "" ? "" : `${folder}/`}${name}`;
    return html`<li>${link(`${root}/${encodePath(at)}`, printable(at, MAX_SHOWN))}</li>`;
  });
  const parts = [
    html`<h1>Not here</h1><p>There is no <code>${printable(path, MAX_SHOWN)}</code>${stream === undefined ? "" : html` in stream <code>${printable(stream, MAX_SHOWN)}</code>`}.</p>`,
    ...hints.map((it) => html`<p>${linked(it)}</p>`),
    ...(items.length === 0 ? [] : [html`<h2>Near it</h2><ul>${joined(items)}</ul>`]),
    html`<p>${link(`${root}/${folder === "" ? "" : `${encodePath(folder)}/`}`, `All of ${root}/${folder}`)} · ${link("/", "Everything here")}</p>`,
  ];
  return sitePage("Not here", joined(parts, LINE), { view, stream: known ? stream : undefined });
}

/** A hint, with the folder that it names as a link. */
function linked(hint: string): Html {
  if (/^\/\S*$/.test(hint)) return link(hint, hint);
  const [, folder] = /^see (\/.+) for what is there$/.exec(hint) ?? [];
  if (folder === undefined) return html`${printable(hint, MAX_HINT)}`;
  return html`See ${link(encodePath(folder), printable(folder, MAX_HINT))} for what is there.`;
}

/** The nearest folder that exists, and its names. From above: a path may be long, but few folders of it exist. */
function nearest(
  path: string,
  view: TreeView,
  stream: string | undefined,
): { folder: string; names: readonly string[] } {
  const bare = path.replace(/^\/|\/+$/g, "");
  let folder = "";
  for (let end = bare.indexOf("/"); end >= 0; end = bare.indexOf("/", end + 1)) {
    const below = bare.slice(0, end);
    if (!isDirectory(view, below, stream)) break;
    folder = below;
  }
  return { folder, names: firstOf(view.names(folder, stream), MAX_COMPARED) };
}
