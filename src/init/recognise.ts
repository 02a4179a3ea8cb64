/**
 * Recognises by its content which format a file of `init --from` has, and reads it. YAML may have documents of several
 * formats. Names of files mean nothing. No I/O.
 */
import { emptyFound, type FoundContent, skip, templateIn } from "./found.ts";
import { readHauler } from "./hauler.ts";
import { isImageList, isInstalledList, readImageList, readInstalledList } from "./image-lines.ts";
import { isKickstartFile, readKickstart } from "./kickstart-source.ts";
import { listPossible, readKubernetesObject } from "./kubernetes.ts";
import { readOcMirror } from "./oc-mirror.ts";
import { isRepoFile, readRepoFile } from "./repo-file.ts";
import { parseYamlNode, type YamlNode } from "./yaml-node.ts";
import { readZarf } from "./zarf.ts";

const EXPECTED =
  "not recognised: expected a kickstart file, a .repo file, a list of images, rpm -qa output, Kubernetes YAML, or a file of hauler, zarf or oc-mirror";

/**
 * Reads the text of a file; what it is not is listed in the result.
 * @param file its name as given, for messages
 */
export function readSource(text: string, file: string): FoundContent {
  const found = emptyFound(file);
  if (text.trim() === "") skip(found, 1, "the file", "it is empty");
  else if (text.includes("\0")) skip(found, 1, "the file", "it is not text");
  else if (/^-----BEGIN PGP PUBLIC KEY BLOCK-----/m.test(text)) {
    found.formats.push("OpenPGP key");
    found.isKey = true;
  } else if (isKickstartFile(text)) readKickstart(text, found);
  else if (isRepoFile(text)) readRepoFile(text, found);
  else if (isYaml(text)) readDocuments(text, found);
  else if (isInstalledList(text)) readInstalledList(text, found);
  else if (isImageList(text)) readImageList(text, found);
  else skip(found, 1, "the file", EXPECTED);
  return found;
}

/** Keys at the beginning of lines, or JSON. */
function isYaml(text: string): boolean {
  return /^(?:apiVersion|kind|[A-Za-z_][\w-]*):(?:\s|$)/m.test(text) || /^\s*[[{]/.test(text);
}

/** Each document by itself: one that is broken, or of another kind, does not affect the others. */
function readDocuments(text: string, found: FoundContent): void {
  const lines = text.split(/\r?\n/);
  let start = 0;
  for (let at = 0; at <= lines.length; at++) {
    const line = lines[at];
    const isEnd = line === undefined || /^(?:---|\.\.\.)(?:\s|$)/.test(line);
    if (!isEnd) continue;
    // Text may follow the mark on its line.
    readDocument(lines.slice(start, at).join("\n"), start, found);
    start = at;
    if (line !== undefined) lines[at] = line.slice(3);
  }
}

/** Names of formats, by what their documents say of themselves. */
function formatOf(apiVersion: string, kind: string): string | undefined {
  if (/^(?:content|collection)\.hauler\.cattle\.io\//.test(apiVersion)) return "hauler";
  if (/^Zarf\w+Config$/.test(kind) && /^(?:zarf\.dev\/\w+)?$/.test(apiVersion)) return "zarf";
  if (apiVersion.startsWith("mirror.openshift.io/")) return "oc-mirror";
  if (apiVersion.startsWith("airferry/")) return "airferry";
  return apiVersion !== "" && kind !== "" ? "Kubernetes YAML" : undefined;
}

function readDocument(text: string, offset: number, found: FoundContent): void {
  if (text.replace(/^[ \t]*#.*$/gm, "").trim() === "") return;
  // Large, and no images: the schema of a kind.
  if (/^kind: CustomResourceDefinition\s*$/m.test(text)) return;
  const parsed = parseYamlNode(text, offset);
  if ("fault" in parsed) {
    const template = templateIn(text);
    const isChart = template?.startsWith("{{") === true;
    const why = `cannot be read as YAML: ${parsed.fault}${isChart ? "; a chart's template: render it with helm template" : ""}`;
    skip(found, parsed.line, "a document", why);
    return;
  }
  const { node } = parsed;
  const [apiVersion, kind] = [node.get("apiVersion").text() ?? "", node.get("kind").text() ?? ""];
  const format = formatOf(apiVersion, kind);
  if (format !== undefined && !found.formats.includes(format)) found.formats.push(format);
  switch (format) {
    case "hauler":
      readHauler(node, found);
      return;
    case "zarf":
      readZarf(node, found);
      return;
    case "oc-mirror":
      readOcMirror(node, found);
      return;
    case "Kubernetes YAML":
      readKubernetesObject(node, found);
      return;
    case "airferry":
      skip(found, node.line, "a manifest", "it is one already: copy its entries");
      return;
    default:
      readOther(node, found);
      return;
  }
}

/** Values of a chart, a compose file: what of them is used is unknown. */
function readOther(node: YamlNode, found: FoundContent): void {
  const before = found.skipped.length;
  listPossible(node, "", new Set(), found);
  const why = "not recognised: it has no apiVersion and kind that are known";
  if (found.skipped.length === before) skip(found, node.line, "a document", why);
}
