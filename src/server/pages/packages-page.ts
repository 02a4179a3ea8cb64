/** The page of packages: a search over all repositories, and the list of each. */
import { commandBlock, LINE, link, table } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { printable } from "../../io/printable.ts";
import type { RenderInput } from "../../render/types.ts";
import type { FoundPackage, PackagesFound } from "./packages-found.ts";
import { type PageScope, rootOf, sitePage } from "./page-frame.ts";
import { commandsFor } from "./usage.ts";

const MAX_SHOWN = 300;

/** Renders what was found. */
export function packagesPage(found: PackagesFound, input: RenderInput, scope: PageScope): Html {
  const { query, repository, repositories } = found;
  const root = rootOf(scope.stream);
  const title =
    query !== ""
      ? `Packages: ${printable(query, 80)}`
      : repository !== undefined
        ? `Packages of ${repository}`
        : "Packages";
  const parts = [html`<h1>${title}</h1>`, form(found, root), ...results(found, scope)];
  if (query === "" && repository === undefined) parts.push(repositoryList(found, scope));
  if (repositories.length > 0 && found.packages.length > 0) {
    parts.push(html`<h2>Use them</h2>`, ...commandsFor("rpms", input));
  }
  return sitePage(title, joined(parts, LINE), { ...scope, at: "/packages", ownSearch: true });
}

/** Says that the packages cannot be listed yet. */
export function preparingPage(scope: PageScope): Html {
  const text = html`<h1>Packages</h1><p role="status">The list of packages is being prepared. This page looks again in a few seconds.</p>`;
  return sitePage("Packages", text, { ...scope, at: "/packages" });
}

function form({ query, repository, repositories }: PackagesFound, root: string): Html {
  const options = [...new Set(repositories.map((it) => it.path))].map((path) =>
    path === repository
      ? html`<option value="${path}" selected>${path}</option>`
      : html`<option value="${path}">${path}</option>`,
  );
  return html`<form class="find wide" role="search" action="${root}/packages" method="get">
<label class="hide" for="q">Name, version, summary or capability</label><input id="q" type="search" name="q" value="${query}" maxlength="200" placeholder="Name, version, summary or capability">
<label class="hide" for="repo">Repository</label><select id="repo" name="repo"><option value="">all repositories</option>${joined(options)}</select>
<button>Search</button></form>
<p class="soft">All words must match, in upper or lower case. What packages provide is searched too: <code>libssl.so.3</code>.</p>`;
}

function* results(found: PackagesFound, scope: PageScope): Generator<Html> {
  const { query, repository, packages, total, more, page, pages } = found;
  if (query === "" && repository === undefined) return;
  if (packages.length === 0) {
    yield html`<p role="status">No package fits. Fewer letters find more.</p>`;
    return;
  }
  const count = more ? `more than ${total} packages` : plural(total, "package");
  const caption = pages > 1 ? `${count}, page ${page} of ${pages}` : count;
  const isManyStreams = new Set(found.repositories.map((it) => it.stream)).size > 1;
  const heads = ["package", "version", "architecture", "repository", "size"];
  yield table(
    caption,
    heads,
    packages.map((it) => row(it, isManyStreams, scope)),
    [4],
  );
  yield pageLinks(found);
}

function row(it: FoundPackage, isManyStreams: boolean, scope: PageScope): Html {
  const name = printable(it.name, MAX_SHOWN);
  const named = it.url === undefined ? name : link(it.url, name);
  const of = isManyStreams ? html` <span class="soft">${it.stream}</span>` : "";
  const repository = link(packagesUrl(it.repository, rootOf(scope.stream)), it.repository.replace(/^rpms\/|\/$/g, ""));
  const size = it.size > 0 ? formatBytes(it.size) : "";
  const summary = it.summary === "" ? "" : html`<br><span class="soft">${printable(it.summary, MAX_SHOWN)}</span>`;
  return html`<tr><td class="text">${named}${summary}</td><td class="nowrap">${printable(it.evr, MAX_SHOWN)}</td><td>${it.arch}</td><td class="nowrap">${repository}${of}</td><td class="number">${size}</td></tr>`;
}

/** URL of the list of one repository. */
export function packagesUrl(path: string, root: string): string {
  return `${root}/packages?repo=${encodeURIComponent(path)}`;
}

function pageLinks({ query, repository, page, pages }: PackagesFound): Html {
  const to = (number: number, text: string): Html => {
    const parameters = new URLSearchParams();
    if (query !== "") parameters.set("q", query);
    if (repository !== undefined) parameters.set("repo", repository);
    parameters.set("page", String(number));
    return link(`?${parameters}`, text);
  };
  const links = [
    ...(page > 1 ? [to(page - 1, "previous page")] : []),
    ...(page < pages ? [to(page + 1, "next page")] : []),
  ];
  return links.length === 0 ? html`` : html`<nav aria-label="Pages"><p>${joined(links, " · ")}</p></nav>`;
}

function repositoryList({ repositories }: PackagesFound, scope: PageScope): Html {
  if (repositories.length === 0) {
    return html`<p role="status">No packages can be listed here.</p>${commandBlock("dnf repolist")}`;
  }
  const root = rootOf(scope.stream);
  const rows = repositories.map(
    ({ stream, path, packages }) =>
      html`<tr><td>${link(packagesUrl(path, root), path)}</td><td>${stream}</td><td class="number">${packages}</td></tr>`,
  );
  return table(
    plural(repositories.length, "repository", "repositories"),
    ["repository", "stream", "packages"],
    rows,
    [2],
  );
}
