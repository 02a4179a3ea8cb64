/**
 * Kubernetes objects, also rendered Helm charts: the images of pods, wherever an object has a pod's specification.
 * Other texts that look like images are listed, since it is unknown whether they are pulled. No I/O.
 */
import { checkReference } from "../oci/reference.ts";
import { addImage, type FoundContent, skip, templateIn } from "./found.ts";
import { listAt } from "./known-keys.ts";
import type { YamlNode } from "./yaml-node.ts";

/** Where objects have pod specifications: Pod, all that have a template, CronJob, PodTemplate. */
const POD_SPECS = [
  ["spec"],
  ["spec", "template", "spec"],
  ["spec", "jobTemplate", "spec", "template", "spec"],
  ["template", "spec"],
] as const;
const CONTAINERS = ["initContainers", "containers", "ephemeralContainers"] as const;
/** With a host and a tag or digest, whole or as the value of a flag. */
const IMAGE_LIKE =
  /(?:^|[=\s"'])((?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?::\d{1,5})?\/[a-z0-9._/-]{1,200}(?::[\w][\w.-]{0,127}(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64}))(?=$|[\s"',])/g;
const MAX_SCANNED = 64 * 1024;

/** Reads one object; `List`s member by member. */
export function readKubernetesObject(object: YamlNode, found: FoundContent): void {
  const kind = object.get("kind").text() ?? "";
  if (kind.endsWith("List") && object.get("items").items().length > 0) {
    for (const it of object.get("items").items()) readKubernetesObject(it, found);
    return;
  }
  // Its schema describes images, and names none.
  if (kind === "CustomResourceDefinition") return;
  const before = [found.images.length, found.skipped.length];
  // `kubeadm config images list -o yaml`.
  if (kind === "Images" && object.get("apiVersion").text()?.startsWith("output.kubeadm.k8s.io/"))
    for (const it of listAt(object, "images", found)) addImage(found, it.line, it.text() ?? "");
  for (const path of POD_SPECS) readPod(object.at(...path), found);
  if (kind === "OCIRepository") readOciRepository(object.get("spec"), found);
  else if (/^Helm(?:Release|Chart|Repository)$/.test(kind)) {
    const name = object.at("metadata", "name").text() ?? "";
    const why = "a chart that is rendered inside: add it under images: as chart:, with images: true";
    skip(found, object.get("kind").line, `${kind} ${name}`, why);
  }
  const known = [
    ...found.images.slice(before[0]).map((it) => it.entry.ref),
    ...found.skipped.slice(before[1]).map((it) => it.what),
  ];
  listPossible(object, kind, new Set(known), found);
}

function readPod(spec: YamlNode, found: FoundContent): void {
  for (const key of CONTAINERS) {
    for (const it of spec.get(key).items()) {
      const image = it.get("image");
      if (image.exists()) addImage(found, image.line, image.text() ?? "");
    }
  }
  for (const volume of spec.get("volumes").items()) {
    const reference = volume.at("image", "reference");
    if (reference.exists()) addImage(found, reference.line, reference.text() ?? "");
  }
}

/** Flux: a folder of manifests, or a chart, as an artifact of a registry. */
function readOciRepository(spec: YamlNode, found: FoundContent): void {
  const [url = "", tag, digest] = [
    spec.get("url").text(),
    spec.at("ref", "tag").text(),
    spec.at("ref", "digest").text(),
  ];
  const repository = url.replace(/^oci:\/\//, "");
  const line = spec.get("url").line;
  if (digest !== undefined) addImage(found, line, `${repository}@${digest}`);
  else if (tag !== undefined) addImage(found, line, `${repository}:${tag}`);
  else if (url !== "") skip(found, line, url, "it has no tag and no digest: add it under images: with tags:");
}

/**
 * Lists what may be images elsewhere in a document: values of keys, flags and variables that are named after images,
 * the `repository` of a chart's values, and texts with a registry and a tag.
 * @param known references that are carried or listed already
 */
export function listPossible(
  document: YamlNode,
  kind: string,
  known: ReadonlySet<string | undefined>,
  found: FoundContent,
) {
  const seen = new Set<string>();
  let sibling: { parent: string; key: string; text: string } | undefined;
  for (const { path, text, line } of document.scalars()) {
    const key = path.at(-1) ?? "";
    const parent = path.slice(0, -1).join("\0");
    const before = sibling?.parent === parent ? sibling : undefined;
    sibling = { parent, key, text };
    const images = new Set([...text.slice(0, MAX_SCANNED).matchAll(IMAGE_LIKE)].map((it) => it[1] as string));
    const isNamed =
      /image$/i.test(key) ||
      // An environment variable.
      (key === "value" && before?.key === "name" && /image/i.test(before.text)) ||
      (/^(?:repository|name)$/.test(key) && /image$/i.test(path.at(-2) ?? ""));
    const named = isNamed ? [text] : [...namedInText(text.slice(0, MAX_SCANNED))];
    for (const it of named) if (mayBeImage(it)) images.add(it);
    for (const image of images) {
      if (known.has(image) || seen.has(image)) continue;
      seen.add(image);
      const place = [kind, path.slice(0, 8).join(".")].filter((it) => it !== "").join(" ");
      const template = templateIn(image);
      const why =
        template === undefined ? "if it is pulled, put it into a list and give that too" : `${template} has no value`;
      skip(found, line, image, `${place} may be an image: ${why}`);
    }
  }
}

/** Values of `--…image=…`, and of `image:` in a document within a text. */
function* namedInText(text: string): Generator<string> {
  for (const [, value = ""] of text.matchAll(/^--?[\w-]{0,60}image=(\S+)$/gim)) yield value;
  for (const [, value = ""] of text.matchAll(/^[ \t]{0,80}(?:- )?image:[ \t]*["']?([^\s"'#]\S*?)["']?[ \t]*\r?$/gm))
    yield value;
}

function mayBeImage(text: string): boolean {
  if (/^(?:true|false|null|[\d.]+)$/i.test(text)) return false;
  return checkReference(text) === undefined || (templateIn(text) !== undefined && !/\n/.test(text));
}
