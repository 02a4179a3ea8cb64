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
  else if (KEY.test(text)) readAroundKeys(text, found);
  else {
    const read = readerOf(text);
    if (read !== undefined) read(text, found);
    else skip(found, 1, "the file", EXPECTED);
  }
  return found;
}

type Reader = (text: string, found: FoundContent) => void;

function readerOf(text: string): Reader | undefined {
  if (isKickstartFile(text)) return readKickstart;
  if (isRepoFile(text)) return readRepoFile;
  if (isYaml(text)) return readDocuments;
  if (isInstalledList(text)) return readInstalledList;
  return isImageList(text) ? readImageList : undefined;
}

const KEY = /^-----BEGIN PGP PUBLIC KEY BLOCK-----/m;

/** A file of keys, with texts that describe them; or a file of another format, such as a script that writes a key. */
function readAroundKeys(text: string, found: FoundContent): void {
  const lines = text.split("\n");
  const blocks: number[] = [];
  let isInside = false;
  for (const [index, line] of lines.entries()) {
    if (KEY.test(line)) {
      isInside = true;
      blocks.push(index + 1);
    }
    if (isInside) lines[index] = "";
    if (line.startsWith("-----END PGP PUBLIC KEY BLOCK-----")) isInside = false;
  }
  const rest = lines.join("\n");
  const read = readerOf(rest);
  // Texts beside keys have fields too: `Fingerprint: …`.
  if (read === undefined || (read === readDocuments && !/^apiVersion:/m.test(rest))) {
    found.formats.push("OpenPGP key");
    found.isKey = true;
    return;
  }
  read(rest, found);
  const why = "a key inside another file: save it as a file, and give that too: --from KEYFILE";
  for (const line of blocks) skip(found, line, "OpenPGP key", why);
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
  const before = countOf(found);
  const format = readParsed(text, offset, found);
  // Objects of Kubernetes need no images; what the others describe is content, and nothing else.
  if (format !== undefined && format !== "Kubernetes YAML" && countOf(found) === before) {
    skip(found, offset + 1, `a document of ${format}`, "it names nothing that a manifest can have");
  }
}

function countOf({ images, files, skipped, more }: FoundContent): number {
  return images.length + files.length + skipped.length + more;
}

/** Reads one document, and returns its format. */
function readParsed(text: string, offset: number, found: FoundContent): string | undefined {
  if (text.replace(/^[ \t]*#.*$/gm, "").trim() === "") return undefined;
  // Large, and no images: the schema of a kind.
  if (/^kind: CustomResourceDefinition\s*$/m.test(text)) return undefined;
  const parsed = parseYamlNode(text, offset);
  if ("fault" in parsed) {
    const template = templateIn(text);
    const isChart = template?.startsWith("{{") === true;
    const why = `cannot be read as YAML: ${parsed.fault}${isChart ? "; a chart's template: render it with helm template" : ""}`;
    skip(found, parsed.line, "a document", why);
    return undefined;
  }
  const { node } = parsed;
  const [apiVersion, kind] = [node.get("apiVersion").text() ?? "", node.get("kind").text() ?? ""];
  const format = formatOf(apiVersion, kind);
  if (format !== undefined && !found.formats.includes(format)) found.formats.push(format);
  if (format === "hauler") readHauler(node, found);
  else if (format === "zarf") readZarf(node, found);
  else if (format === "oc-mirror") readOcMirror(node, found);
  else if (format === "Kubernetes YAML") readKubernetesObject(node, found);
  else if (format === "airferry") skip(found, node.line, "a manifest", "it is one already: copy its entries");
  else readOther(node, found);
  return format;
}

/** Values of a chart, a compose file: what of them is used is unknown. */
function readOther(node: YamlNode, found: FoundContent): void {
  const before = found.skipped.length;
  listPossible(node, "", new Set(), found);
  const why = "not recognised: it has no apiVersion and kind that are known";
  if (found.skipped.length === before) skip(found, node.line, "a document", why);
}
