/** hauler's manifests, content.hauler.cattle.io/v1: images, charts and files. No I/O. */
import type { ImageEntry } from "../manifest/schema.ts";
import { PLATFORM } from "../oci/platform.ts";
import { addChart } from "./chart-found.ts";
import { addImage, type FoundContent, skip } from "./found.ts";
import { listAt, listUnknownKeys } from "./known-keys.ts";
import type { YamlNode } from "./yaml-node.ts";

/** Annotations with defaults for images, and those of the objects' own. */
const ANNOTATIONS = "hauler.dev/registry hauler.dev/platform hauler.dev/key";
const IMAGE_KEYS =
  "name key use-tlog-verify certificate-identity certificate-identity-regexp certificate-oidc-issuer certificate-oidc-issuer-regexp " +
  "certificate-github-workflow-repository platform rewrite exclude-extras local ca-file insecure-skip-tls-verify";
const CHART_KEYS = "name repoURL version rewrite valuesFiles platform add-images add-dependencies exclude-extras";

export function readHauler(document: YamlNode, found: FoundContent): void {
  const kind = document.get("kind");
  const spec = document.get("spec");
  const annotations = document.at("metadata", "annotations");
  const read = READERS[kind.text() ?? ""];
  if (read === undefined) {
    skip(found, kind.line, `hauler ${kind.text() ?? "document without a kind"}`, "expected Images, Charts or Files");
    return;
  }
  for (const it of listAt(spec, read.key, found)) read.member(it, annotations, found);
  listUnknownKeys(document, "apiVersion kind metadata spec", "hauler", found);
  listUnknownKeys(spec, read.key, "hauler spec", found);
  const own = annotations.fields().filter(([key]) => key.startsWith("hauler.dev/"));
  for (const [key, value] of own) {
    const isRead = ANNOTATIONS.split(" ").includes(key) && kind.text() === "Images";
    if (!isRead) skip(found, value.line, `annotation ${key}`, "not read: write what it means into each entry");
  }
}

const READERS: Readonly<
  Record<string, { key: string; member: (node: YamlNode, annotations: YamlNode, found: FoundContent) => void }>
> = {
  Images: { key: "images", member: readImage },
  Charts: { key: "charts", member: (node, _, found) => readChart(node, found) },
  Files: { key: "files", member: (node, _, found) => readFile(node, found) },
};

function readImage(node: YamlNode, annotations: YamlNode, found: FoundContent): void {
  const written = node.get("name").text() ?? node.text() ?? "";
  const registry = annotations.get("hauler.dev/registry").text();
  const hasHost = /^[^/]*[.:][^/]*\//.test(written) || written.startsWith("localhost/");
  const name = registry === undefined || hasHost ? written : `${registry}/${written}`;
  const { line } = node;
  if (node.get("local").isTrue()) {
    skip(found, line, name, "from this host's daemon: save it, and give archive: under images:");
    return;
  }
  listUnknownKeys(node, IMAGE_KEYS, name, found);
  addImage(found, line, name, {
    ...platformsFor(node.get("platform").text() ?? annotations.get("hauler.dev/platform").text(), line, found),
    ...(node.get("exclude-extras").isTrue() && { referrers: false }),
  });
  const key = node.get("key").text() ?? annotations.get("hauler.dev/key").text();
  if (key !== undefined && key !== "") {
    skip(found, line, `${name} key`, "a file of this host: require signatures with signatures: { keys: [FILE] }");
  }
  for (const [field, value] of node.fields()) {
    const isSet = (value.text() ?? "") !== "" && value.text() !== "false";
    if (isSet && /^(?:cert|rewrite|use-tlog|ca-file|insecure)/.test(field)) {
      skip(found, value.line, `${name} ${field}`, OTHERS[field.split("-")[0] as string] ?? "");
    }
  }
}

const OTHERS: Readonly<Record<string, string>> = {
  certificate: "signatures without a key are carried, and not checked",
  rewrite: "the image keeps its name; another one is as: in its entry",
  use: "the transparency log is not asked",
  ca: "name it under hosts: as ca:",
  insecure: "connections are always verified: name the CA under hosts:",
};

/** `platforms:` for a platform as the tools write it. */
function platformsFor(text: string | undefined, line: number, found: FoundContent): Pick<ImageEntry, "platforms"> {
  if (text === undefined || text === "" || text === "all") return {};
  if (PLATFORM.test(text)) return { platforms: [text] };
  skip(found, line, `platform ${text}`, "expected os/architecture; all platforms are carried");
  return {};
}

function readChart(node: YamlNode, found: FoundContent): void {
  const [name = "", url = ""] = [node.get("name").text(), node.get("repoURL").text()];
  const { line } = node;
  listUnknownKeys(node, `${CHART_KEYS} ${Object.keys(CHART_FIELDS).join(" ")}`, `chart ${name}`, found);
  addChart(found, line, {
    name,
    url,
    version: node.get("version").text(),
    more: {
      ...(node.get("add-images").isTrue() && { images: true }),
      ...platformsFor(node.get("platform").text(), line, found),
      ...(node.get("exclude-extras").isTrue() && { referrers: false }),
    },
  });
  for (const [field, value] of node.fields()) {
    const isSet = value.items().length > 0 || ((value.text() ?? "") !== "" && value.text() !== "false");
    const why = CHART_FIELDS[field];
    if (isSet && why !== undefined) skip(found, value.line, `chart ${name} ${field}`, why);
  }
}

const CHART_FIELDS: Readonly<Record<string, string>> = {
  valuesFiles: "files of this host: name them as values:, with images: true",
  "add-dependencies": "charts that it depends on are in its archive; others need entries of their own",
  rewrite: "the chart keeps its name; another one is as: in its entry",
  verify: "give keys: of the provenance file to the entry",
  keyring: "give keys: of the provenance file to the entry",
  usernameEnv: "name it under hosts: as username_env:",
  passwordEnv: "name it under hosts: as password_env:",
  caFile: "name it under hosts: as ca:",
  certFile: "name it under hosts: as cert:",
  keyFile: "name it under hosts: as key:",
  insecureSkipTLSVerify: "connections are always verified: name the CA under hosts:",
  passCredentialsAll: "logins are of one host: name each under hosts:",
  plainHTTP: "give insecure: true to the entry",
};

function readFile(node: YamlNode, found: FoundContent): void {
  const path = node.get("path").text() ?? node.text() ?? "";
  const name = node.get("name").text();
  if (!/^https?:\/\//i.test(path)) {
    skip(found, node.line, path, "a file of this host: name it under files: with path:");
    return;
  }
  listUnknownKeys(node, "path name", path, found);
  found.files.push({ line: node.line, entry: { url: path, ...(name !== undefined && { as: name }) } });
}
