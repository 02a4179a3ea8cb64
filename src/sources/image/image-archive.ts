/**
 * Images in files: docker-archive, OCI archive, both in one, and OCI layouts in folders; detected by content.
 * Blobs are never copied at lock time: pack reads them directly from the archive, which may be compressed as a whole.
 */
import { stat } from "node:fs/promises";
import { AirferryError } from "../../errors.ts";
import { digestOf } from "../../io/digest.ts";
import { parseJson } from "../../io/json.ts";
import { CONTAINERD_NAME, OCI_LAYOUT_FILE, REF_NAME } from "../../oci/image-layout.ts";
import {
  type Descriptor,
  MAX_IMAGE_MANIFEST_BYTES,
  parseImageManifest,
  TOO_LARGE_HINT,
} from "../../oci/image-manifest.ts";
import { isManifestType, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST } from "../../oci/media-types.ts";
import { isDigestTag, isOciDigest, layoutPath, type OciDigest } from "../../oci/oci-digest.ts";
import { digestTag } from "../../oci/reference.ts";
import { type Files, HINT, invalid, type MemberPlace, openFolder, openTar } from "./archive-files.ts";
import type { BlobPlace, ImageOrigin, OriginManifest } from "./origin.ts";

/** One image of an archive. */
export interface ArchivedImage {
  /** Its references in the archive; may be empty. */
  names: string[];
  root: OriginManifest;
  origin: ImageOrigin;
}

/**
 * Opens an archive and lists its images. Dispose it once all of them are collected.
 * @param shown the path as the manifest names it: recorded, and used in messages
 * @throws {AirferryError} ERR_MANIFEST_INVALID when there is no such file; ERR_UPSTREAM_INVALID, ERR_PATH_UNSAFE
 */
export async function openImageArchive(
  file: string,
  shown: string,
): Promise<AsyncDisposable & { images: ArchivedImage[] }> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) {
    throw new AirferryError("ERR_MANIFEST_INVALID", `cannot lock image "${shown}": no such file`, {
      path: shown,
      hint: "paths in a manifest are relative to the manifest's own folder",
    });
  }
  // Opening a pipe would wait for a writer.
  if (!found.isDirectory() && !found.isFile()) {
    throw new AirferryError(
      "ERR_MANIFEST_INVALID",
      `cannot lock image "${shown}": it is neither a regular file nor a folder`,
      {
        path: shown,
        hint: "save the image into a file first",
      },
    );
  }
  const files = found.isDirectory() ? await openFolder(file, shown) : await openTar(file, shown);
  try {
    const isLayout =
      (await files.find(OCI_LAYOUT_FILE)) !== undefined && (await files.find("index.json")) !== undefined;
    const isDocker = (await files.find("manifest.json")) !== undefined;
    if (!isLayout && !isDocker) {
      if (files.archives.length > 0) throw holdsArchives(shown, files.archives);
      throw invalid(
        shown,
        "neither oci-layout and index.json nor manifest.json are in it: expected what docker save, podman save or skopeo copy write",
      );
    }
    const images = isLayout ? await layoutImages(files) : await dockerImages(files);
    if (images.length === 0) throw invalid(shown, "it contains no image");
    return { images, [Symbol.asyncDispose]: () => files[Symbol.asyncDispose]() };
  } catch (error) {
    await files[Symbol.asyncDispose]();
    throw error;
  }
}

/** For example, a vendor's archive given as an image archive. */
function holdsArchives(shown: string, archives: readonly string[]): AirferryError {
  const [first] = archives;
  return new AirferryError(
    "ERR_UPSTREAM_INVALID",
    `cannot read archive "${shown}": it is not an image archive, but holds ${archives.slice(0, 10).join(", ")}`,
    {
      path: shown,
      hint: `to use its parts, replace this entry with one line of the manifest: vendor: { archive: ${shown} }; or extract it: tar -xf ${shown} ${first}, and give archive: ${first}`,
    },
  );
}

async function readSmall(files: Files, path: string): Promise<Buffer | undefined> {
  const place = await files.find(path);
  if (place === undefined) return undefined;
  if (place.size > MAX_IMAGE_MANIFEST_BYTES) {
    throw new AirferryError(
      "ERR_UPSTREAM_SIZE",
      `cannot read archive "${files.name}": "${path}" is too large: expected at most ${MAX_IMAGE_MANIFEST_BYTES} bytes, got ${place.size}`,
      { path: files.name, hint: TOO_LARGE_HINT },
    );
  }
  return files.small(place);
}

/** Names that cosign and hauler give to layout entries that refer to an image, and the matching tags in registries. */
const KIND = "kind";
const KIND_PREFIX = "dev.cosignproject.cosign/";
const ABOUT_SUFFIXES = new Map([
  ["sigs", ".sig"],
  ["atts", ".att"],
  ["sboms", ".sbom"],
]);

/** Whether an entry of a layout's index says that it refers to another, as cosign save and hauler write it. */
function aboutSuffix(descriptor: Descriptor): string | undefined {
  const kind = descriptor.annotations?.[KIND];
  if (kind === undefined || !kind.startsWith(KIND_PREFIX)) return undefined;
  // hauler adds more after another slash.
  return ABOUT_SUFFIXES.get(kind.slice(KIND_PREFIX.length).split("/")[0] as string);
}

/**
 * The entries of a layout's index by the tags that registries would give them: those whose `kind` says how they refer
 * to the image of their name, or to the only one.
 */
function taggedByKind(top: readonly Descriptor[]): Map<string, Descriptor> {
  const images = top.filter((it) => isManifestType(it.mediaType) && aboutSuffix(it) === undefined);
  const tagged = new Map<string, Descriptor>();
  for (const descriptor of top) {
    const suffix = aboutSuffix(descriptor);
    if (suffix === undefined) continue;
    const name = nameIn(descriptor);
    const same = images.filter((it) => name !== undefined && nameIn(it) === name);
    const of = same.length > 0 ? same : images;
    if (of.length === 1) tagged.set(digestTag((of[0] as Descriptor).digest, suffix), descriptor);
  }
  return tagged;
}

/** The name of an entry in a layout's index. */
function nameIn({ annotations }: Descriptor): string | undefined {
  return annotations?.[CONTAINERD_NAME] ?? annotations?.[REF_NAME];
}

/** An OCI layout in an archive or a folder. Manifests that are not listed at the top are found by digest. */
class LayoutOrigin implements ImageOrigin {
  readonly name: string;
  readonly #files: Files;
  readonly #top: readonly Descriptor[];
  readonly #tagged: ReadonlyMap<string, Descriptor>;
  #about: Map<string, Descriptor[]> | undefined;

  constructor(files: Files, top: readonly Descriptor[]) {
    this.name = files.name;
    this.#files = files;
    this.#top = top;
    this.#tagged = taggedByKind(top);
  }

  async manifest(wanted: Descriptor | { tag: string }): Promise<OriginManifest | undefined> {
    const descriptor = "digest" in wanted ? wanted : this.#withTag(wanted.tag);
    if (descriptor === undefined) return undefined;
    const bytes = await this.blob(descriptor);
    return bytes && { bytes, digest: descriptor.digest, contentType: descriptor.mediaType };
  }

  async blob(descriptor: Descriptor): Promise<Buffer | undefined> {
    const bytes = await readSmall(this.#files, layoutPath(descriptor.digest));
    if (bytes === undefined) return undefined;
    const actual = digestOf(bytes, descriptor.digest);
    if (actual !== descriptor.digest || bytes.length !== descriptor.size) {
      throw new AirferryError(
        "ERR_UPSTREAM_DIGEST",
        `cannot read archive "${this.name}": digest mismatch of "${layoutPath(descriptor.digest)}": expected ${descriptor.digest} over ${descriptor.size} bytes, got ${actual} over ${bytes.length}`,
        { path: this.name, expected: descriptor.digest, actual, hint: HINT },
      );
    }
    return bytes;
  }

  async place(descriptor: Descriptor): Promise<BlobPlace | undefined> {
    const place = await this.#files.find(layoutPath(descriptor.digest));
    if (place === undefined) return undefined;
    if (place.size !== descriptor.size) {
      throw new AirferryError(
        "ERR_UPSTREAM_SIZE",
        `cannot read archive "${this.name}": wrong size of "${layoutPath(descriptor.digest)}": expected ${descriptor.size} bytes, got ${place.size}`,
        { path: this.name, hint: HINT },
      );
    }
    return placeOf(place);
  }

  async hasBlob(descriptor: Descriptor): Promise<boolean> {
    return (await this.place(descriptor)) !== undefined;
  }

  async hasTag(tag: string): Promise<boolean> {
    return this.#withTag(tag) !== undefined;
  }

  #withTag(tag: string): Descriptor | undefined {
    return this.#tagged.get(tag) ?? this.#top.find((it) => tagOf(it) === tag && aboutSuffix(it) === undefined);
  }

  async referrers(subject: OciDigest): Promise<Descriptor[]> {
    if (this.#about === undefined) {
      this.#about = new Map();
      for (const descriptor of this.#top) {
        const bytes = isManifestType(descriptor.mediaType) ? await this.blob(descriptor) : undefined;
        const about = bytes && parseImageManifest(bytes, this.name, descriptor.mediaType, HINT).subject?.digest;
        if (about) this.#about.set(about, [...(this.#about.get(about) ?? []), descriptor]);
      }
    }
    return this.#about.get(subject) ?? [];
  }
}

/** The tag of a layout's entry, if any. */
function tagOf(descriptor: Descriptor): string | undefined {
  const name = descriptor.annotations?.[REF_NAME];
  return name === undefined ? undefined : name.slice(Math.max(name.lastIndexOf(":"), name.lastIndexOf("/")) + 1);
}

async function layoutImages(files: Files): Promise<ArchivedImage[]> {
  const bytes = (await readSmall(files, "index.json")) as Buffer;
  const index = parseImageManifest(bytes, `${files.name} index.json`, OCI_INDEX, HINT);
  const origin = new LayoutOrigin(files, index.manifests);
  const images = new Map<string, ArchivedImage>();
  for (const descriptor of index.manifests) {
    if (!isManifestType(descriptor.mediaType) || isDigestTag(tagOf(descriptor) ?? "")) continue;
    if (aboutSuffix(descriptor) !== undefined) continue;
    const root = await origin.manifest(descriptor);
    if (root === undefined) throw invalid(files.name, `its index.json lists ${descriptor.digest}, which is missing`);
    if (parseImageManifest(root.bytes, files.name, descriptor.mediaType, HINT).subject !== undefined) continue;
    const image = images.get(descriptor.digest) ?? { names: [], root, origin };
    images.set(descriptor.digest, image);
    const name = nameIn(descriptor);
    // A bare tag is not a name.
    if (name !== undefined && /[/:]/.test(name)) image.names.push(name);
  }
  return [...images.values()];
}

/** Docker's own format, which has no registry manifest: one is generated, always the same. */
async function dockerImages(files: Files): Promise<ArchivedImage[]> {
  const list = readJson(files, "manifest.json", (await readSmall(files, "manifest.json")) as Buffer);
  if (!Array.isArray(list)) throw invalid(files.name, "its manifest.json is not a list");
  const images: ArchivedImage[] = [];
  for (const raw of list as Record<string, unknown>[]) {
    const { Config, Layers, RepoTags } = raw ?? {};
    if (typeof Config !== "string" || !Array.isArray(Layers) || !Layers.every((it) => typeof it === "string")) {
      throw invalid(files.name, "its manifest.json has an image without Config and Layers");
    }
    // Docker's name for an image without a name.
    const names = (Array.isArray(RepoTags) ? RepoTags : []).filter(
      (it): it is string => typeof it === "string" && it !== "<none>:<none>",
    );
    images.push({ names, ...(await dockerImage(files, Config, Layers)) });
  }
  return images;
}

async function dockerImage(
  files: Files,
  configPath: string,
  layerPaths: string[],
): Promise<Omit<ArchivedImage, "names">> {
  const config = await readSmall(files, configPath);
  if (config === undefined) throw invalid(files.name, `its manifest.json names "${configPath}", which is missing`);
  const parsed = readJson(files, configPath, config) as { rootfs?: { diff_ids?: unknown } };
  const diffIds = parsed?.rootfs?.diff_ids;
  if (!Array.isArray(diffIds) || !diffIds.every(isOciDigest) || diffIds.length !== layerPaths.length) {
    throw invalid(files.name, `"${configPath}" does not list the ${layerPaths.length} layers that manifest.json names`);
  }
  const places = new Map<string, BlobPlace>();
  const layers: Descriptor[] = [];
  for (const [index, path] of layerPaths.entries()) {
    const place = await files.find(path);
    if (place === undefined) throw invalid(files.name, `its manifest.json names "${path}", which is missing`);
    const magic = (await files.head(place)).toString("hex");
    const suffix = magic.startsWith("1f8b") ? "+gzip" : magic === "28b52ffd" ? "+zstd" : "";
    // An uncompressed layer's digest is in the config; pack compares it with the bytes.
    const digest = suffix === "" ? (diffIds[index] as OciDigest) : await files.digest(place);
    layers.push({ mediaType: OCI_LAYER + suffix, digest, size: place.size });
    places.set(digest, placeOf(place));
  }
  const configDescriptor: Descriptor = { mediaType: OCI_CONFIG, digest: digestOf(config), size: config.length };
  const bytes = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config: configDescriptor, layers }),
  );
  const origin: ImageOrigin = {
    name: files.name,
    manifest: async () => undefined,
    blob: async (descriptor) => (descriptor.digest === configDescriptor.digest ? config : undefined),
    place: async (descriptor) => places.get(descriptor.digest),
    hasBlob: async (descriptor) => places.has(descriptor.digest),
    referrers: async () => [],
    hasTag: async () => false,
  };
  return { root: { bytes, digest: digestOf(bytes), contentType: OCI_MANIFEST }, origin };
}

function placeOf({ file, offset, codec }: MemberPlace): BlobPlace {
  return { file, offset, ...(codec && { codec }) };
}

function readJson(files: Files, path: string, bytes: Buffer): unknown {
  try {
    return parseJson(bytes.toString("utf8"));
  } catch {
    throw invalid(files.name, `"${path}" is not JSON`);
  }
}
