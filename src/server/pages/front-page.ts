/**
 * The page at `/`: what is here, from whom, and how to use it, with commands to copy. Generated only from the
 * inventories; commands appear only for existing content.
 */

import { commandBlock, htmlPage, LINE, link, table } from "../../html/frame.ts";
import { type Html, html, joined } from "../../html/html.ts";
import { EMPTY_DIGEST } from "../../io/digest.ts";
import { formatBytes } from "../../io/format.ts";
import { isInstallable } from "../../iso/install-tree.ts";
import { formatReference, parseReference, servedHost } from "../../oci/reference.ts";
import type { RenderInput } from "../../render/types.ts";
import type { Release } from "../../store/types.ts";
import type { TreeView } from "../http/context.ts";
import { encodePath } from "./entry-tree.ts";

const MAX_ROWS = 200;
const DAY_MS = 24 * 60 * 60 * 1000;

/** A section, or nothing if it is empty. */
type Section = Html | undefined;

/**
 * Renders the front page for clients that reach the server at `baseUrl` (no trailing slash).
 * @param trees contents of the ISOs, by their SHA-256
 */
export function frontPage(
  view: TreeView,
  baseUrl: string,
  caCertificate: string | undefined,
  trees: RenderInput["trees"],
): Html {
  const { releases } = view;
  if (releases.length === 0) {
    return htmlPage(
      "airferry",
      html`<h1>airferry</h1><p>The store has no release yet. On this machine run:</p>${commandBlock(
        "airferry unpack BUNDLE --trust KEY.pub --store DIR",
      )}<p class="soft">This page updates automatically; the server need not be restarted.</p>`,
    );
  }
  const sections: Section[] = [
    html`<h1>airferry</h1><p class="soft">What this server carries across the gap, from whom, and how to use it.</p>`,
    ...releases.map(expiryWarning),
    releaseTable(releases),
    caCertificate === undefined ? undefined : trustSection(baseUrl),
    rpmSection(releases, baseUrl),
    isoSection(releases, baseUrl, trees),
    fileSection(releases, baseUrl),
    imageSection(releases, baseUrl),
    moreSection(releases),
  ];
  const present = sections.filter((it) => it !== undefined);
  return htmlPage("airferry", joined(present, LINE));
}

function releaseTable(releases: readonly Release[]): Html {
  const rows = releases.map(({ stream, serial, signers, importedAt, inventory }) => {
    const bytes = inventory.entries.reduce((sum, entry) => sum + entry.size, 0);
    const by = signers.map((keyid) => html`<code title="${keyid}">${keyid.slice(0, 16)}</code>`);
    const signedBy = by.length === 0 ? html`<span class="soft">nobody</span>` : joined(by, ", ");
    return html`<tr><td>${link(`/s/${encodePath(stream)}/`, stream)}</td><td class="number">${serial}</td><td class="nowrap">${day(inventory.created)} <span class="soft">${age(inventory.created)}</span></td><td class="nowrap">${day(importedAt)}</td><td>${signedBy}</td><td class="number">${inventory.entries.length}</td><td class="number">${formatBytes(bytes)}</td></tr>`;
  });
  const heads = ["stream", "serial", "packed", "unpacked", "signed by key", "entries", "size"];
  return html`<h2>Releases</h2>${table(heads, rows, [1, 5, 6])}`;
}

function expiryWarning({ stream, inventory: { notAfter } }: Release): Section {
  if (notAfter === undefined || Date.parse(notAfter) > Date.now()) return undefined;
  return html`<p class="warn">The release of ${stream} expired on ${day(notAfter)}. Ask for a newer one.</p>`;
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

function rpmSection(releases: readonly Release[], baseUrl: string): Section {
  const rpms = releases.flatMap((release) => release.inventory.catalog.rpms);
  if (rpms.length === 0) return undefined;
  const rows = rpms.slice(0, MAX_ROWS).map((rpm) => {
    const signed = rpm.repomdSignedBy === "none" ? "no" : `by ${rpm.repomdSignedBy}`;
    return html`<tr><td>${link(`/${encodePath(rpm.path)}`, rpm.name)}</td><td>${rpm.mode}</td><td class="number">${rpm.packages}</td><td>${signed}</td><td>${rpm.gpgcheck ? "checked" : "not checked"}</td></tr>`;
  });
  const heads = ["repository", "content", "packages", "metadata signed", "packages' signatures"];
  return html`<h2>RPM repositories</h2>${table(heads, rows, [2])}${commandBlock(
    `curl -fo /etc/yum.repos.d/airferry.repo ${baseUrl}/config/airferry.repo`,
    "dnf repolist",
  )}`;
}

function isoSection(releases: readonly Release[], baseUrl: string, trees: RenderInput["trees"]): Section {
  const isos = releases.flatMap((release) =>
    release.inventory.catalog.isos.map((iso) => ({
      size: 0,
      digest: EMPTY_DIGEST,
      ...iso,
      ...release.entries.get(iso.path),
    })),
  );
  const [first] = isos;
  if (first === undefined) return undefined;
  const installable = isos.find((it) => {
    const tree = trees.get(it.digest);
    return tree !== undefined && isInstallable(tree);
  });
  const rows = isos
    .slice(0, MAX_ROWS)
    .map(
      (iso) =>
        html`<tr><td>${link(`/${encodePath(iso.path)}`, `${iso.name}.iso`)}</td><td>${link(`/isos/${encodePath(iso.name)}/`, "files inside")}</td><td>${link(`/${encodePath(iso.path)}.sha256`, "sha256")}</td><td class="number">${formatBytes(iso.size)}</td></tr>`,
    );
  const install =
    installable === undefined
      ? ""
      : html`<p class="soft">Install from the tree: <code>inst.repo=${baseUrl}/isos/${encodePath(installable.name)}/</code></p>`;
  return html`<h2>ISOs</h2>${table(["image", "tree", "digest", "size"], rows, [3])}${commandBlock(
    `curl -fOC - ${baseUrl}/${encodePath(first.path)}`,
    `curl -f ${baseUrl}/${encodePath(first.path)}.sha256sum | sha256sum -c`,
  )}${install}`;
}

function fileSection(releases: readonly Release[], baseUrl: string): Section {
  const count = releases.reduce((sum, release) => sum + release.inventory.catalog.files.length, 0);
  const files = releases.flatMap((release) =>
    release.inventory.catalog.files
      .slice(0, MAX_ROWS)
      .map(({ path }) => ({ path, size: release.entries.get(path)?.size ?? 0 })),
  );
  const [first] = files;
  if (first === undefined) return undefined;
  const rows = files
    .slice(0, MAX_ROWS)
    .map(
      ({ path, size }) =>
        html`<tr><td>${link(`/${encodePath(path)}`, path.replace(/^files\//, ""))}</td><td>${link(`/${encodePath(path)}.sha256`, "sha256")}</td><td class="number">${formatBytes(size)}</td></tr>`,
    );
  const more = count > MAX_ROWS ? html`<p>${link("/files/", `all ${count} files`)}</p>` : "";
  return html`<h2>Files</h2>${table(["file", "digest", "size"], rows, [2])}${more}${commandBlock(
    `curl -fO ${baseUrl}/${encodePath(first.path)}`,
    `curl -f ${baseUrl}/${encodePath(first.path)}.sha256sum | sha256sum -c`,
  )}`;
}

function imageSection(releases: readonly Release[], baseUrl: string): Section {
  const images = releases.flatMap((release) => release.inventory.catalog.images);
  const [first] = images;
  if (first === undefined) return undefined;
  const rows = images.slice(0, MAX_ROWS).map((image) => {
    const platforms = image.platforms.length === 0 ? html`<span class="soft">all</span>` : image.platforms.join(", ");
    return html`<tr><td class="mono">${image.reference}<br><span class="digest soft">${image.digest}</span></td><td>${platforms}</td><td class="number">${formatBytes(image.size)}</td></tr>`;
  });
  const more = images.length > MAX_ROWS ? html`<p class="soft">and ${images.length - MAX_ROWS} more</p>` : "";
  const [scheme = "", host = ""] = baseUrl.split("://");
  const insecure = scheme === "http" ? " --tls-verify=false" : "";
  const reference = parseReference(first.reference);
  const name = formatReference({ ...reference, host: servedHost(reference.host) });
  return html`<h2>Container images</h2>${table(["image", "platforms", "size"], rows, [2])}${more}${commandBlock(
    `podman pull${insecure} ${host}/${name}`,
  )}<p class="soft">Under their original names, through a mirror rule: ${link("/config/", "hosts.toml and registries.conf")}</p>`;
}

function moreSection(releases: readonly Release[]): Html {
  const links = [
    link("/config/", "rendered configuration"),
    ...(releases.some((it) => it.inventory.catalog.keys.length > 0) ? [link("/keys/", "keys")] : []),
    link("/index.json", "index for programs"),
    link("/healthz", "health"),
    link("/metrics", "metrics"),
  ];
  return html`<h2>More</h2><p>${joined(links, " · ")}</p>`;
}

function day(time: string): string {
  return time.slice(0, 10);
}

function age(created: string): string {
  const days = Math.floor((Date.now() - Date.parse(created)) / DAY_MS);
  if (!(days >= 1)) return "today";
  return days === 1 ? "yesterday" : `${days} days ago`;
}
