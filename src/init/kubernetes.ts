/**
 * Kubernetes objects, also rendered Helm charts: the images of pods, wherever an object has a pod's specification.
 * Other texts that look like images are listed, since it is unknown whether they are pulled. No I/O.
 */
import { checkReference } from "../oci/reference.ts";
import { addImage, type FoundContent, skip } from "./found.ts";
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
  const before = found.images.length;
  for (const path of POD_SPECS) readPod(object.at(...path), found);
  if (kind === "OCIRepository") readOciRepository(object.get("spec"), found);
  else if (/^Helm(?:Release|Chart|Repository)$/.test(kind)) {
    const name = object.at("metadata", "name").text() ?? "";
    const why = "a chart that is rendered inside: add it under images: as chart:, with images: true";
    skip(found, object.get("kind").line, `${kind} ${name}`, why);
  }
  const carried = new Set(found.images.slice(before).map((it) => it.entry.ref));
  listPossible(object, kind, carried, found);
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
 * Lists what may be images elsewhere in a document: values of `image:`, and texts with a registry and a tag.
 * @param carried references that are carried already
 */
export function listPossible(
  document: YamlNode,
  kind: string,
  carried: ReadonlySet<string | undefined>,
  found: FoundContent,
) {
  const seen = new Set<string>();
  for (const { path, text, line } of document.scalars()) {
    const key = path.at(-1) ?? "";
    const matches = [...text.slice(0, MAX_SCANNED).matchAll(IMAGE_LIKE)].map((it) => it[1] as string);
    const isImage = key === "image" && /[/:]/.test(text) && checkReference(text) === undefined;
    for (const image of new Set(isImage ? [text, ...matches] : matches)) {
      if (carried.has(image) || seen.has(image)) continue;
      seen.add(image);
      const place = [kind, path.slice(0, 8).join(".")].filter((it) => it !== "").join(" ");
      skip(found, line, image, `${place} may be an image: if it is pulled, put it into a list and give that too`);
    }
  }
}
