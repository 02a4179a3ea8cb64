/**
 * oc-mirror's configurations, mirror.openshift.io/v2alpha1: images and charts. Releases and operators need its own
 * index. No I/O.
 */
import type { ImageEntry } from "../manifest/schema.ts";
import { addChart } from "./chart-found.ts";
import { addImage, emptyFound, type FoundContent, skip } from "./found.ts";
import { listAt, listUnknownKeys } from "./known-keys.ts";
import type { YamlNode } from "./yaml-node.ts";

/** A name that is the same as a text and as a regular expression, but for its dots. */
const LITERAL = /^[A-Za-z0-9._:/@-]+$/;

export function readOcMirror(document: YamlNode, found: FoundContent): void {
  const [version = "", kind = ""] = [document.get("apiVersion").text(), document.get("kind").text()];
  const { line } = document.get("kind");
  if (kind !== "ImageSetConfiguration") {
    skip(found, line, kind, "not what is mirrored: expected an ImageSetConfiguration");
    return;
  }
  if (!version.endsWith("/v2alpha1")) {
    const why = "the first oc-mirror's configuration: expected v2alpha1 (oc mirror --v2 describes the change)";
    skip(found, line, `${kind} ${version}`, why);
    return;
  }
  const mirror = document.get("mirror");
  const helm = mirror.get("helm");
  listUnknownKeys(document, "apiVersion kind metadata mirror archiveSize", "oc-mirror", found);
  listUnknownKeys(mirror, "platform operators additionalImages helm blockedImages samples", "mirror", found);
  listUnknownKeys(helm, "repositories local", "helm", found);
  const own = emptyFound(found.file);
  for (const it of listAt(mirror, "additionalImages", found)) readImage(it, own);
  found.images.push(...own.images.filter((it) => !isBlocked(it.entry.ref ?? "", mirror, found)));
  for (const it of own.skipped) skip(found, it.line, it.what, it.why);
  for (const repository of listAt(helm, "repositories", found)) {
    const url = repository.get("url").text() ?? "";
    const charts = listAt(repository, "charts", found);
    if (charts.length === 0)
      skip(found, repository.line, `charts of ${url}`, "it names none, so oc-mirror takes all: list them");
    listUnknownKeys(repository, "name url charts", `repository ${url}`, found);
    for (const it of charts) readChart(it, url, found);
  }
  for (const it of listAt(helm, "local", found)) {
    const why = "a chart of this host: render it (helm template), and give the result too";
    skip(found, it.line, `chart ${it.get("name").text() ?? ""}`, why);
  }
  readReleases(mirror, found);
  const [blocked] = listAt(mirror, "blockedImages", emptyFound(found.file));
  if (blocked !== undefined && found.images.some((it) => it.entry.chart !== undefined)) {
    skip(
      found,
      blocked.line,
      "blockedImages",
      "not applied to images of charts: give the chart's entry values: without them",
    );
  }
}

function readImage(node: YamlNode, found: FoundContent): void {
  const name = node.get("name").text() ?? "";
  if (name.startsWith("oci:")) {
    skip(found, node.line, name, "a layout of this host: name it under images: with archive:");
    return;
  }
  addImage(found, node.line, name, platformsOf(node));
  listUnknownKeys(node, "name platforms targetRepo targetTag", name, found);
  for (const key of ["targetRepo", "targetTag"]) {
    const value = node.get(key);
    if (value.exists())
      skip(found, value.line, `${name} ${key}`, "the image keeps its name; another one is as: in its entry");
  }
}

/** Blocked names are regular expressions; only those are applied that are plain text. */
function isBlocked(ref: string, mirror: YamlNode, found: FoundContent): boolean {
  for (const it of listAt(mirror, "blockedImages", found)) {
    const name = it.get("name").text() ?? "";
    if (name === "" || !LITERAL.test(name)) {
      const why = "a regular expression is not applied: remove the images that it blocks";
      if (!found.skipped.some((other) => other.line === it.line)) skip(found, it.line, `blocked ${name}`, why);
    } else if (ref.includes(name)) return true;
  }
  return false;
}

/** `platforms: [{os, architecture}]`. */
function platformsOf(node: YamlNode): Pick<ImageEntry, "platforms"> {
  const platforms = node
    .get("platforms")
    .items()
    .map((it) => `${it.get("os").text() ?? "linux"}/${it.get("architecture").text() ?? ""}`)
    .filter((it) => /^[a-z0-9]+\/[a-z0-9_]+$/.test(it));
  return platforms.length > 0 ? { platforms } : {};
}

function readChart(node: YamlNode, url: string, found: FoundContent): void {
  const name = node.get("name").text() ?? "";
  const version = node.get("version").text();
  addChart(found, node.line, { name, url, version, more: { images: true, ...platformsOf(node) } });
  listUnknownKeys(node, "name version path imagePaths values platforms", `chart ${name}`, found);
  const values = node.get("values");
  if (values.exists())
    skip(found, values.line, `chart ${name} values`, "write them into a file, and name it as values: in the entry");
  const paths = node.get("imagePaths");
  if (paths.exists())
    skip(found, paths.line, `chart ${name} imagePaths`, "images that only these paths find: list them");
}

function readReleases(mirror: YamlNode, found: FoundContent): void {
  const platform = mirror.get("platform");
  for (const it of listAt(platform, "channels", found)) {
    const why = "a release of OpenShift: its images are in the release's payload (oc adm release info --pullspecs)";
    skip(found, it.line, `channel ${it.get("name").text() ?? ""}`, why);
  }
  for (const key of ["graph", "release", "kubeVirtContainer", "architectures"]) {
    const node = platform.get(key);
    if (node.exists() && node.text() !== "false")
      skip(found, node.line, `platform ${key}`, "a part of OpenShift's releases");
  }
  for (const operator of listAt(mirror, "operators", found)) {
    const catalog = operator.get("catalog").text() ?? "";
    const packages = listAt(operator, "packages", found);
    const names = packages.map((it) => it.get("name").text() ?? "").join(", ");
    const why = "images of operators are in the catalog's index (oc-mirror lists them with --dry-run): list them";
    skip(found, operator.line, `operators ${names} of ${catalog}`, why);
  }
  for (const it of listAt(mirror, "samples", found)) skip(found, it.line, "samples", "not carried, nor by oc-mirror");
}
