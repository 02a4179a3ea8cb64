/**
 * The page at `/`: what is here, from whom, and how to use it, with commands to copy. Made from the inventories alone;
 * commands appear only for content that is there.
 */

import { formatBytes } from "../../io/format.ts";
import { isInstallable } from "../../iso/install-tree.ts";
import { formatReference, parseReference, servedHost } from "../../oci/reference.ts";
import type { RenderInput } from "../../render/types.ts";
import type { Release } from "../../store/types.ts";
import type { TreeView } from "../http/context.ts";
import { commandBlock, escapeHtml, htmlPage } from "./html.ts";
import { encodePath } from "./tree.ts";

const MAX_ROWS = 200;
const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Renders the front page for clients that reach the server at `baseUrl` (no trailing slash).
 * @param trees what is inside the ISOs, by their SHA-256
 */
export function frontPage(
  view: TreeView,
  baseUrl: string,
  caCertificate: string | undefined,
  trees: RenderInput["trees"],
): string {
  const { releases } = view;
  if (releases.length === 0) {
    return htmlPage(
      "airferry",
      `<h1>airferry</h1><p>The store has no release yet. On this machine run:</p>${commandBlock(
        "airferry unpack BUNDLE --trust KEY.pub --store DIR",
      )}<p class="soft">This page follows by itself; the server need not be restarted.</p>`,
    );
  }
  const body = [
    `<h1>airferry</h1><p class="soft">What this server carries across the gap, from whom, and how to use it.</p>`,
    ...releases.flatMap((release) => expiryWarning(release)),
    releaseTable(releases),
    caCertificate === undefined ? "" : trustSection(baseUrl),
    rpmSection(releases, baseUrl),
    isoSection(releases, baseUrl, trees),
    fileSection(releases, baseUrl),
    imageSection(releases, baseUrl),
    `<h2>More</h2><p>${link("/config/", "rendered configuration")} · ${releases.some((r) => r.inventory.catalog.keys.length > 0) ? `${link("/keys/", "keys")} · ` : ""}${link("/index.json", "index for programs")} · ${link("/healthz", "health")} · ${link("/metrics", "metrics")}</p>`,
  ];
  return htmlPage("airferry", body.filter((part) => part !== "").join("\n"));
}

function releaseTable(releases: readonly Release[]): string {
  const rows = releases.map(({ stream, serial, signers, importedAt, inventory }) => {
    const bytes = inventory.entries.reduce((sum, entry) => sum + entry.size, 0);
    const by = signers.map((keyid) => `<code title="${escapeHtml(keyid)}">${escapeHtml(keyid.slice(0, 16))}</code>`);
    return `<tr><td>${link(`/s/${encodePath(stream)}/`, stream)}</td><td class="number">${serial}</td><td class="nowrap">${day(inventory.created)} <span class="soft">${age(inventory.created)}</span></td><td class="nowrap">${day(importedAt)}</td><td>${by.join(", ") || '<span class="soft">nobody</span>'}</td><td class="number">${inventory.entries.length}</td><td class="number">${formatBytes(bytes)}</td></tr>`;
  });
  return `<h2>Releases</h2><div class="scroll"><table><thead><tr><th>stream</th><th class="number">serial</th><th>packed</th><th>unpacked</th><th>signed by key</th><th class="number">entries</th><th class="number">size</th></tr></thead><tbody>${rows.join("\n")}</tbody></table></div>`;
}

function expiryWarning({ stream, inventory: { notAfter } }: Release): string[] {
  if (notAfter === undefined || Date.parse(notAfter) > Date.now()) return [];
  return [
    `<p class="warn">The release of ${escapeHtml(stream)} was meant to be used until ${day(notAfter)}. Ask for a newer one.</p>`,
  ];
}

function trustSection(baseUrl: string): string {
  const [host = ""] = /[^/]+$/.exec(baseUrl) ?? [];
  return `<h2>Trust this server</h2><p>Its certificate is signed by a CA of its own. Compare the fingerprint with the one that <code>airferry serve</code> prints.</p>${commandBlock(
    `curl -fsko airferry-ca.crt ${baseUrl}/ca.crt\nopenssl x509 -noout -fingerprint -sha256 -in airferry-ca.crt\ncp airferry-ca.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust\nmkdir -p /etc/containers/certs.d/${host}\ncp airferry-ca.crt /etc/containers/certs.d/${host}/ca.crt`,
  )}`;
}

function rpmSection(releases: readonly Release[], baseUrl: string): string {
  const rpms = releases.flatMap((release) => release.inventory.catalog.rpms);
  if (rpms.length === 0) return "";
  const rows = rpms
    .slice(0, MAX_ROWS)
    .map(
      (rpm) =>
        `<tr><td>${link(`/${encodePath(rpm.path)}`, rpm.name)}</td><td>${escapeHtml(rpm.mode)}</td><td class="number">${rpm.packages}</td><td>${rpm.repomdSignedBy === "none" ? "no" : `by ${escapeHtml(rpm.repomdSignedBy)}`}</td><td>${rpm.gpgcheck ? "checked" : "not checked"}</td></tr>`,
    );
  return `<h2>RPM repositories</h2>${table(["repository", "content", "packages", "metadata signed", "packages' signatures"], rows, [2])}${commandBlock(
    `curl -fo /etc/yum.repos.d/airferry.repo ${baseUrl}/config/airferry.repo\ndnf repolist`,
  )}`;
}

function isoSection(releases: readonly Release[], baseUrl: string, trees: RenderInput["trees"]): string {
  const isos = releases.flatMap((release) =>
    release.inventory.catalog.isos.map((iso) => ({ size: 0, sha256: "", ...iso, ...release.entries.get(iso.path) })),
  );
  const [first] = isos;
  if (first === undefined) return "";
  const installable = isos.find((it) => {
    const tree = trees.get(it.sha256);
    return tree !== undefined && isInstallable(tree);
  });
  const rows = isos
    .slice(0, MAX_ROWS)
    .map(
      (iso) =>
        `<tr><td>${link(`/${encodePath(iso.path)}`, `${iso.name}.iso`)}</td><td>${link(`/isos/${encodePath(iso.name)}/`, "files inside")}</td><td>${link(`/${encodePath(iso.path)}.sha256`, "sha256")}</td><td class="number">${formatBytes(iso.size)}</td></tr>`,
    );
  return `<h2>ISOs</h2>${table(["image", "tree", "digest", "size"], rows, [3])}${commandBlock(
    `curl -fOC - ${baseUrl}/${encodePath(first.path)}\ncurl -f ${baseUrl}/${encodePath(first.path)}.sha256sum | sha256sum -c`,
  )}${installable === undefined ? "" : `<p class="soft">Install from the tree: <code>inst.repo=${escapeHtml(baseUrl)}/isos/${escapeHtml(encodePath(installable.name))}/</code></p>`}`;
}

function fileSection(releases: readonly Release[], baseUrl: string): string {
  const count = releases.reduce((sum, release) => sum + release.inventory.catalog.files.length, 0);
  const files = releases.flatMap((release) =>
    release.inventory.catalog.files
      .slice(0, MAX_ROWS)
      .map(({ path }) => ({ path, size: release.entries.get(path)?.size ?? 0 })),
  );
  const [first] = files;
  if (first === undefined) return "";
  const rows = files
    .slice(0, MAX_ROWS)
    .map(
      ({ path, size }) =>
        `<tr><td>${link(`/${encodePath(path)}`, path.replace(/^files\//, ""))}</td><td>${link(`/${encodePath(path)}.sha256`, "sha256")}</td><td class="number">${formatBytes(size)}</td></tr>`,
    );
  const more = count > MAX_ROWS ? `<p>${link("/files/", `all ${count} files`)}</p>` : "";
  return `<h2>Files</h2>${table(["file", "digest", "size"], rows, [2])}${more}${commandBlock(
    `curl -fO ${baseUrl}/${encodePath(first.path)}\ncurl -f ${baseUrl}/${encodePath(first.path)}.sha256sum | sha256sum -c`,
  )}`;
}

function imageSection(releases: readonly Release[], baseUrl: string): string {
  const images = releases.flatMap((release) => release.inventory.catalog.images);
  const [first] = images;
  if (first === undefined) return "";
  const rows = images
    .slice(0, MAX_ROWS)
    .map(
      (image) =>
        `<tr><td class="mono">${escapeHtml(image.reference)}<br><span class="digest soft">${escapeHtml(image.digest)}</span></td><td>${escapeHtml(image.platforms.join(", ")) || '<span class="soft">all</span>'}</td><td class="number">${formatBytes(image.size)}</td></tr>`,
    );
  const more = images.length > MAX_ROWS ? `<p class="soft">and ${images.length - MAX_ROWS} more</p>` : "";
  const [scheme = "", host = ""] = baseUrl.split("://");
  const insecure = scheme === "http" ? " --tls-verify=false" : "";
  const reference = parseReference(first.reference);
  const name = formatReference({ ...reference, host: servedHost(reference.host) });
  return `<h2>Container images</h2>${table(["image", "platforms", "size"], rows, [2])}${more}${commandBlock(
    `podman pull${insecure} ${host}/${name}`,
  )}<p class="soft">Under their own names, through a mirror rule: ${link("/config/", "hosts.toml and registries.conf")}</p>`;
}

function table(heads: readonly string[], rows: readonly string[], numbers: readonly number[]): string {
  const head = heads.map((text, i) => `<th${numbers.includes(i) ? ' class="number"' : ""}>${escapeHtml(text)}</th>`);
  return `<div class="scroll"><table><thead><tr>${head.join("")}</tr></thead><tbody>${rows.join("\n")}</tbody></table></div>`;
}

function link(href: string, text: string): string {
  return `<a href="${escapeHtml(href)}">${escapeHtml(text)}</a>`;
}

function day(time: string): string {
  return escapeHtml(time.slice(0, 10));
}

function age(created: string): string {
  const days = Math.floor((Date.now() - Date.parse(created)) / DAY_MS);
  if (!(days >= 1)) return "today";
  return days === 1 ? "yesterday" : `${days} days ago`;
}
