/**
 * The page at `/`, and at `/s/STREAM/` for one stream: what is here, from whom, and how to use it, with commands to
 * copy. Generated only from the inventories; commands appear only for existing content.
 */

import { commandBlock, LINE, link, table } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { EMPTY_DIGEST } from "../../io/digest.ts";
import { firstOf } from "../../io/first-of.ts";
import { formatBytes, plural } from "../../io/format.ts";
import { printable } from "../../io/printable.ts";
import { webHosts } from "../../io/web-hosts.ts";
import type { RenderInput } from "../../render/types.ts";
import type { Release } from "../../store/types.ts";
import type { ServeContext, TreeView } from "../http/context.ts";
import { createTreeView, encodePath } from "./entry-tree.ts";
import { imageTable } from "./image-table.ts";
import { packagesUrl } from "./packages-page.ts";
import { releasesIn, rootOf, sitePage } from "./page-frame.ts";
import { expiryWarning, releaseFacts, releaseTable, type SignerNames } from "./release-facts.ts";
import { commandsFor } from "./usage.ts";

/** More of a kind are on a page of their own. */
const MAX_ROWS = 50;
const MAX_NAME = 300;

/** A section, or nothing if it is empty. */
type Section = Html | undefined;

/** What the page is made from. */
interface FrontPageInput {
  view: Pick<TreeView, "releases" | "written">;
  /** With `stream`, only that one is shown. */
  render: RenderInput;
  caCertificate: string | undefined;
  names: (release: Release) => SignerNames;
}

/** Collects what the page says beside the inventories: names of signers. */
export async function frontPageInput(
  view: Pick<TreeView, "releases" | "written">,
  render: RenderInput,
  { store, caCertificate, tellFault }: Pick<ServeContext, "store" | "caCertificate" | "tellFault">,
): Promise<FrontPageInput> {
  const releases = releasesIn({ view, stream: render.stream });
  const names = new Map<Release, SignerNames>();
  for (const it of releases) {
    try {
      names.set(it, (await store.records?.signerNames(it)) ?? {});
    } catch (error) {
      tellFault(error);
    }
  }
  return { view, render, caCertificate, names: (it) => names.get(it) ?? {} };
}

/** Renders the page. */
export function frontPage({ view, render, caCertificate, names }: FrontPageInput): Html {
  const { stream, baseUrl } = render;
  const scope = { view, stream };
  const releases = releasesIn(scope);
  if (releases.length === 0) {
    return sitePage(
      "Nothing here yet",
      html`<h1>Nothing here yet</h1><p>The store has no release. On this machine run:</p>${commandBlock(
        "airferry unpack BUNDLE --trust KEY.pub --store DIR",
      )}<p class="soft">This page updates automatically; the server need not be restarted.</p>`,
      scope,
    );
  }
  const [only, more] = releases;
  const title = more === undefined && only !== undefined ? only.stream : `${releases.length} streams`;
  const sections: Section[] = [
    html`<h1>${title}</h1><p class="soft">What this server carries across the gap, from whom, and how to use it.</p>`,
    ...releases.map(expiryWarning),
    more === undefined && only !== undefined ? releaseFacts(only, names(only)) : releaseTable(releases, names),
    caCertificate === undefined ? undefined : trustSection(baseUrl),
    rpmSection(releases, render, view.written === undefined),
    isoSection(releases, render),
    fileSection(releases, render),
    imageSection(releases, render),
    webSection(releases, render),
    stream === undefined ? undefined : treeSection(stream, releases),
  ];
  const present = sections.filter((it) => it !== undefined);
  return sitePage(title, joined(present, LINE), scope);
}

function trustSection(baseUrl: string): Html {
  const [host = ""] = /[^/]+$/.exec(baseUrl) ?? [];
  return html`<h2>Trust this server</h2><p>Its certificate is signed by its own CA. Compare the fingerprint with the one that <code>airferry serve</code> prints.</p>${commandBlock(
    `curl -fsko airferry-ca.crt ${baseUrl}/ca.crt`,
    "openssl x509 -noout -fingerprint -sha256 -in airferry-ca.crt",
    "cp airferry-ca.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust",
    `mkdir -p /etc/containers/certs.d/${host}`,
    `cp airferry-ca.crt /etc/containers/certs.d/${host}/ca.crt`,
  )}`;
}

function rpmSection(releases: readonly Release[], render: RenderInput, hasSearch: boolean): Section {
  const rpms = releases.flatMap((release) => release.inventory.catalog.rpms.map((rpm) => ({ ...rpm, release })));
  const insideIsos = releases.some((it) => it.inventory.catalog.isos.some((iso) => hasTree(it, iso.path, render)));
  if (rpms.length === 0 && !insideIsos) return undefined;
  const row = rowsOf(releases, render);
  const rows = rpms.slice(0, MAX_ROWS).map((rpm) => {
    const root = row.root(rpm.release);
    const name = printable(rpm.name, MAX_NAME);
    const signed = rpm.repomdSignedBy === "none" ? "no" : `by ${rpm.repomdSignedBy}`;
    return html`<tr><td>${hasSearch ? link(packagesUrl(rpm.path, root), name) : name}${row.of(rpm.release)}</td><td>${rpm.mode}</td><td class="number">${rpm.packages}</td><td>${signed}</td><td>${rpm.gpgcheck ? "checked" : html`<span class="tag bad">not checked</span>`}</td><td>${link(`${root}/${encodePath(rpm.path)}`, "files")}</td></tr>`;
  });
  const packages = rpms.reduce((sum, it) => sum + it.packages, 0);
  const caption = `${plural(rpms.length, "repository", "repositories")}, ${plural(packages, "package")}`;
  const heads = ["repository", "content", "packages", "metadata signed", "packages' signatures", "as packed"];
  const list = rpms.length === 0 ? "" : table(caption, heads, rows, [2]);
  const covered = hasSearch ? "too, which the search covers" : "too";
  const iso = insideIsos ? html`<p>The ISOs have repositories ${covered}.</p>` : "";
  const search = hasSearch ? html`<p>${link(`${rootOf(render.stream)}/packages`, "Search and list packages")}</p>` : "";
  return html`<h2>RPM repositories</h2>${list}${search}${iso}${joined(commandsFor("rpms", render))}`;
}

function hasTree(release: Release, path: string, { trees }: RenderInput): boolean {
  const entry = release.entries.get(path);
  return entry !== undefined && (trees.get(entry.digest)?.repositories.length ?? 0) > 0;
}

function isoSection(releases: readonly Release[], render: RenderInput): Section {
  const isos = releases.flatMap((release) =>
    release.inventory.catalog.isos.map((iso) => ({
      size: 0,
      digest: EMPTY_DIGEST,
      ...iso,
      ...release.entries.get(iso.path),
      release,
    })),
  );
  if (isos.length === 0) return undefined;
  const row = rowsOf(releases, render);
  const rows = isos.slice(0, MAX_ROWS).map((iso) => {
    const root = row.root(iso.release);
    return html`<tr><td>${link(`${root}/${encodePath(iso.path)}`, printable(`${iso.name}.iso`, MAX_NAME))}${row.of(iso.release)}</td><td>${printable(iso.volumeId ?? "", MAX_NAME)}</td><td>${link(`${root}/isos/${encodePath(iso.name)}/`, "files inside")}</td><td>${link(`${root}/${encodePath(iso.path)}.sha256`, "sha256")}</td><td class="number">${formatBytes(iso.size)}</td></tr>`;
  });
  const heads = ["ISO", "volume", "tree", "digest", "size"];
  return html`<h2>ISOs</h2>${table(plural(isos.length, "ISO"), heads, rows, [4])}${joined(commandsFor("isos", render))}`;
}

function fileSection(releases: readonly Release[], render: RenderInput): Section {
  const count = releases.reduce((sum, release) => sum + release.inventory.catalog.files.length, 0);
  const files = releases.flatMap((release) =>
    firstOf(release.inventory.catalog.files, MAX_ROWS).map(({ path }) => ({
      path,
      release,
      size: release.entries.get(path)?.size ?? 0,
    })),
  );
  if (count === 0) return undefined;
  const row = rowsOf(releases, render);
  const rows = files.slice(0, MAX_ROWS).map(({ path, release, size }) => {
    const root = row.root(release);
    return html`<tr><td>${link(`${root}/${encodePath(path)}`, printable(path.replace(/^files\//, ""), MAX_NAME))}${row.of(release)}</td><td>${link(`${root}/${encodePath(path)}.sha256`, "sha256")}</td><td class="number">${formatBytes(size)}</td></tr>`;
  });
  const more = count > MAX_ROWS ? html`<p>${link(`${rootOf(render.stream)}/files/`, `all ${count} files`)}</p>` : "";
  return html`<h2>Files</h2>${table(plural(count, "file"), ["file", "digest", "size"], rows, [2])}${more}${joined(commandsFor("files", render))}`;
}

function imageSection(releases: readonly Release[], render: RenderInput): Section {
  const images = releases.flatMap((release) => release.inventory.catalog.images);
  if (images.length === 0) return undefined;
  const root = rootOf(render.stream);
  const list = imageTable(plural(images.length, "image"), images.slice(0, MAX_ROWS));
  const more = link(
    `${root}/registry`,
    images.length > MAX_ROWS ? `all ${images.length} images` : "each with its tags and commands",
  );
  return html`<h2>Container images</h2>${list}<p>${more}</p>${joined(commandsFor("images", render))}`;
}

function webSection(releases: readonly Release[], render: RenderInput): Section {
  const hosts = releases.flatMap((release) =>
    release.inventory.catalog.web === undefined
      ? []
      : webHosts(release.inventory.entries).map((it) => ({ ...it, release })),
  );
  if (hosts.length === 0) return undefined;
  const row = rowsOf(releases, render);
  const rows = hosts.slice(0, MAX_ROWS).map(({ host, files, size, release }) => {
    const path = `${row.root(release)}/web/${encodePath(host)}/`;
    return html`<tr><td>${link(path, printable(host, MAX_NAME))}${row.of(release)}</td><td class="number">${files}</td><td class="number">${formatBytes(size)}</td></tr>`;
  });
  const more =
    hosts.length > MAX_ROWS ? html`<p>${link(`${rootOf(render.stream)}/web/`, `all ${hosts.length} hosts`)}</p>` : "";
  return html`<h2>Web answers</h2>${table(plural(hosts.length, "host"), ["host", "files", "size"], rows, [1, 2])}${more}`;
}

/** With several streams each row says which one it is of, and its links lead there: paths of all may differ. */
function rowsOf(releases: readonly Release[], { stream }: RenderInput) {
  const isOne = releases.length === 1;
  return {
    root: (it: Release) => rootOf(isOne ? stream : it.stream),
    of: (it: Release) => (isOne ? "" : html` <span class="soft">${it.stream}</span>`),
  };
}

/** Where the files of one stream are. */
function treeSection(stream: string, releases: readonly Release[]): Html {
  const folders = createTreeView(releases).names("");
  const items = Array.from(folders, (it) => html`<li>${link(`${rootOf(stream)}/${encodePath(it)}`, it)}</li>`);
  return html`<h2>All files</h2><p>Everything of this stream is below <code>/s/${stream}/</code> as it was packed:</p><ul>${joined(items)}</ul>`;
}
