/**
 * The frame of the server's own pages: a header with the way to everything and the search, the page, a footer; and the
 * script that adds to them, without which they work as well.
 */
import { createHash } from "node:crypto";
import { htmlPage, LINE, link, STYLE_SOURCE } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import type { TreeView } from "../http/context.ts";

/** What a page is about. */
export interface PageScope {
  view: Pick<TreeView, "releases" | "written">;
  /** Set for pages below `/s/STREAM/`. */
  stream?: string | undefined;
  /** The entry of the header that the page belongs to: its path there. */
  at?: string;
  /** The page has a search of its own. */
  ownSearch?: boolean;
}

/** A page with header and footer. */
export function sitePage(title: string, body: Html, scope: PageScope): Html {
  return htmlPage(`${title} · airferry`, body, { before: header(scope), after: footer(scope) });
}

/** Prefix of the paths of a stream, or of all; without a slash at its end. */
export function rootOf(stream: string | undefined): string {
  return stream === undefined ? "" : `/s/${encodeURIComponent(stream)}`;
}

/** The releases that a page is about. */
export function releasesIn({ view, stream }: PageScope) {
  return stream === undefined ? view.releases : view.releases.filter((it) => it.stream === stream);
}

function header(scope: PageScope): Html {
  const root = rootOf(scope.stream);
  const { written } = scope.view;
  const has = (kind: "rpms" | "isos" | "files" | "images" | "web") =>
    releasesIn(scope).some((it) => (it.inventory.catalog[kind]?.length ?? 0) > 0);
  const places: [path: string, name: string, isThere: boolean][] = [
    ["/packages", "Packages", (has("rpms") || has("isos")) && written === undefined],
    ["/isos/", "ISOs", has("isos")],
    ["/files/", "Files", has("files")],
    ["/registry", "Images", has("images")],
    ["/web/", "Web", has("web")],
    ["/releases/", "Releases", scope.view.releases.length > 0],
    ["/config/", "Configuration", scope.view.releases.length > 0 && written?.hasConfig !== false],
  ];
  const items = places.flatMap(([path, name, isThere]) => {
    if (!isThere) return [];
    if (scope.at === path) return [html`<li><a href="${root}${path}" aria-current="page">${name}</a></li>`];
    return [html`<li>${link(`${root}${path}`, name)}</li>`];
  });
  const home = link("/", "airferry");
  const stream = scope.stream === undefined ? "" : html` / ${link(`${root}/`, scope.stream)}`;
  const hasSearch = written === undefined && scope.ownSearch !== true && (has("rpms") || has("isos"));
  const search = hasSearch ? searchForm(root) : "";
  return html`<a class="skip" href="#main">Skip to content</a>
<header class="top"><div><span class="home">${home}${stream}</span>
<nav aria-label="Content"><ul>${joined(items)}</ul></nav>${search}</div></header>`;
}

function searchForm(root: string): Html {
  return html`<form class="find" role="search" action="${root}/packages" method="get"><label class="hide" for="q">Search packages</label><input id="q" type="search" name="q" maxlength="200" placeholder="Search packages"><button>Search</button></form>`;
}

function footer({ view }: PageScope): Html {
  const links = [
    link("/index.json", "index for programs"),
    link("/openapi.json", "OpenAPI"),
    ...(view.releases.some((it) => it.inventory.catalog.keys.length > 0) ? [link("/keys/", "keys")] : []),
    link("/healthz", "health"),
    ...(view.written === undefined ? [link("/metrics", "metrics")] : []),
  ];
  return html`<footer class="foot"><div>${joined(links, LINE)}</div></footer>${SCRIPT}`;
}

/** Copies commands; `/` goes to the search. Over plain HTTP browsers have no clipboard but the old command. */
const CODE = html`
for (const pre of document.querySelectorAll(".lines > pre")) {
  const button = document.createElement("button");
  button.type = "button"; button.className = "copy"; button.textContent = "Copy";
  const say = (text) => { button.textContent = text; setTimeout(() => { button.textContent = "Copy"; }, 2000); };
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(pre.textContent);
      else {
        getSelection().selectAllChildren(pre);
        if (!document.execCommand("copy")) throw new Error("refused");
      }
      say("Copied");
    } catch { say("Select and copy"); }
  });
  pre.parentElement.append(button);
}
document.addEventListener("keydown", (event) => {
  const search = document.getElementById("q");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || !search) return;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  event.preventDefault(); search.focus();
});
`;
const SCRIPT = html`<script>${CODE}</script>`;

/**
 * The Content-Security-Policy of our own pages: the one style sheet, the script above and an empty icon, nothing else;
 * never in a frame.
 * @see Content Security Policy Level 3, section 6.1
 */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src ${STYLE_SOURCE}`,
  `script-src 'sha256-${createHash("sha256").update(String(CODE)).digest("base64")}'`,
  "img-src data:",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join("; ");
