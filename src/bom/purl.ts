/**
 * Package URLs, in their canonical form. See the purl specification and its types rpm, oci and generic.
 */
import { hexOf } from "../io/digest.ts";
import { parseReference } from "../oci/reference.ts";
import type { BillPackage, FileRow, ImageRow } from "./types.ts";

/** Vendors of the `Vendor:` tag that have a namespace, and how their releases are called. */
const VENDORS: readonly [vendor: RegExp, namespace: string, distro: string][] = [
  [/^Rocky\b/, "rocky", "rocky"],
  [/^AlmaLinux\b/, "almalinux", "almalinux"],
  [/^Red Hat\b/, "redhat", "rhel"],
  [/^CentOS\b/, "centos", "centos"],
  [/^Fedora\b/, "fedora", "fedora"],
  [/^Oracle\b/, "oracle", "ol"],
];

/** `.el9`, `.el9_4`, `.fc41` in a release. */
const DIST_TAG = /\.(?:el|fc)(\d+)(?:_(\d+))?(?![0-9A-Za-z])/;

/** `pkg:rpm/rocky/bash@5.1.8-9.el9?arch=x86_64&distro=rocky-9&epoch=1&upstream=bash-5.1.8-9.el9.src.rpm` */
export function packagePurl(it: BillPackage): string {
  const [, namespace, distro] = VENDORS.find(([vendor]) => vendor.test(it.vendor)) ?? [];
  const [, major, minor] = DIST_TAG.exec(it.release) ?? [];
  const release = minor === undefined ? major : `${major}.${minor}`;
  return format("rpm", namespace, it.name, it.version === "" ? "" : `${it.version}-${it.release}`, {
    arch: it.arch,
    distro: distro === undefined || release === undefined ? "" : `${distro}-${release}`,
    epoch: it.epoch > 0 ? String(it.epoch) : "",
    upstream: it.sourceRpm,
  });
}

/** `pkg:oci/pause@sha256%3A…?arch=amd64&repository_url=registry.k8s.io%2Fpause&tag=3.10` */
export function imagePurl({ reference, digest, platforms }: ImageRow): string {
  const { host, path, tag } = parseReference(reference);
  const architectures = new Set(platforms.map((it) => it.split("/")[1] ?? ""));
  const [only = "", more] = architectures;
  return format("oci", undefined, path.slice(path.lastIndexOf("/") + 1), digest, {
    arch: more === undefined ? only : "",
    repository_url: `${host}/${path}`,
    tag: tag ?? "",
  });
}

/** `pkg:generic/x.iso?checksum=sha256:…&download_url=…` */
export function filePurl({ name, version, digest, url }: FileRow): string {
  return format("generic", undefined, name, version, {
    checksum: `sha256:${hexOf(digest)}`,
    download_url: url ?? "",
  });
}

/** Empty qualifiers are left out; they are given in the order of their names. */
function format(
  type: string,
  namespace: string | undefined,
  name: string,
  version: string,
  qualifiers: Readonly<Record<string, string>>,
): string {
  let text = `pkg:${type}/${namespace === undefined ? "" : `${namespace}/`}${encode(name)}`;
  if (version !== "") text += `@${encode(version)}`;
  let sign = "?";
  for (const [key, value] of Object.entries(qualifiers)) {
    if (value === "") continue;
    text += `${sign}${key}=${encode(value)}`;
    sign = "&";
  }
  return text;
}

const PLAIN = /^[A-Za-z0-9._~-]*$/;

function encode(text: string): string {
  if (PLAIN.test(text)) return text;
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (it) => `%${it.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
