/**
 * Images in a store: found by the names that people use, and read with everything that belongs to them. For `export`
 * and `publish`.
 */
import type { CatalogImage, InventoryEntry } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import { digestOf } from "../io/digest.ts";

import {
  type Descriptor,
  type ImageManifest,
  MAX_IMAGE_MANIFEST_BYTES,
  parseImageManifest,
} from "../oci/image-manifest.ts";
import { blobPath, type OciDigest } from "../oci/oci-digest.ts";
import { formatReference, parseReference, type Reference, servedRepository } from "../oci/reference.ts";
import { type HeldImage, isWhole } from "../oci/short-index.ts";
import { damaged, type PackedBlob } from "./packed-blob.ts";
import { openStored, readStored } from "./read-blob.ts";
import type { Release, StoreReader } from "./types.ts";

/** A manifest of a packed image with its bytes. */
export interface PackedManifest {
  digest: OciDigest;
  bytes: Buffer;
  manifest: ImageManifest;
}

/** One image as it was packed. */
export interface PackedImage {
  reference: Reference;
  catalog: CatalogImage;
  root: PackedManifest;
  /** By digest: the root, children, and their referrers. */
  manifests: ReadonlyMap<OciDigest, PackedManifest>;
  /** Where a blob is; undefined when it was not packed. */
  blob(digest: OciDigest): PackedBlob | undefined;
}

/**
 * Finds images by reference: canonical (`registry.k8s.io/pause:3.10`), as served (`host_port/path:tag`), or any
 * unambiguous suffix of it (`pause:3.10`, `pause`). All images when `names` is empty.
 * @throws {AirferryError} ERR_NOT_FOUND, with the candidates; also if streams have different images of the name
 */
export function findImages(
  releases: readonly Release[],
  names: readonly string[],
): { release: Release; catalog: CatalogImage }[] {
  const all = releases.flatMap((release) => release.inventory.catalog.images.map((catalog) => ({ release, catalog })));
  if (names.length === 0) return all;
  return names.map((name) => {
    const exact = all.filter(({ catalog }) => namesOf(catalog).includes(name) || catalog.reference === canonical(name));
    const ends =
      exact.length > 0 ? exact : all.filter(({ catalog }) => namesOf(catalog).some((it) => it.endsWith(`/${name}`)));
    // The same image in two streams is one image.
    const found = [...new Map(ends.map((it) => [`${it.catalog.reference} ${it.catalog.digest}`, it])).values()];
    if (found.length === 1) return found[0] as (typeof found)[number];
    // Invalid image names are reported as such.
    if (found.length === 0) parseReference(name);
    const isOneName = found.length > 1 && new Set(found.map((it) => it.catalog.reference)).size === 1;
    const fault =
      found.length === 0 ? "it was not packed" : isOneName ? "streams differ on it" : "several have this name";
    const candidates = isOneName
      ? found.map((it) => `${it.catalog.digest} (--stream ${it.release.stream})`)
      : [...new Set((found.length > 1 ? found : all).map((it) => it.catalog.reference))];
    throw new AirferryError("ERR_NOT_FOUND", `cannot find image "${name}" in the store: ${fault}`, {
      hint:
        candidates.length === 0
          ? "no image was packed: name it under images: in the manifest, and pack again"
          : `available images: ${candidates.slice(0, 50).join(", ")}`,
    });
  });
}

function namesOf({ reference, digest }: CatalogImage): string[] {
  const parsed = parseReference(reference);
  const bases = [`${parsed.host}/${parsed.path}`, servedRepository(parsed)];
  return bases.flatMap((base) => [
    base,
    `${base}@${digest}`,
    ...(parsed.tag === undefined ? [] : [`${base}:${parsed.tag}`, `${base}:${parsed.tag}@${digest}`]),
  ]);
}

function canonical(name: string): string | undefined {
  try {
    return formatReference(parseReference(name));
  } catch {
    return undefined;
  }
}

/**
 * Reads the manifests of one image. @throws {AirferryError} ERR_STORE_INVALID when the store lacks its root, or one is
 * damaged
 */
export async function readPackedImage(
  store: StoreReader,
  release: Release,
  catalog: CatalogImage,
): Promise<PackedImage> {
  const manifests = new Map<OciDigest, PackedManifest>();
  const entryOf = (digest: OciDigest): InventoryEntry | undefined => release.entries.get(blobPath(digest));
  for (const digest of new Set<OciDigest>([catalog.digest, ...catalog.manifests])) {
    const entry = entryOf(digest);
    if (entry === undefined) continue;
    const file = store.blobPath(entry.digest);
    const bytes = await readStored(store, entry.digest, MAX_IMAGE_MANIFEST_BYTES).catch((error: AirferryError) => {
      throw error.code === "ERR_NOT_FOUND" ? damaged(digest, file, "no such file") : error;
    });
    const actual = digestOf(bytes, digest);
    if (actual !== digest) throw damaged(digest, file, actual);
    const contentType = digest === catalog.digest ? catalog.mediaType : undefined;
    manifests.set(digest, { digest, bytes, manifest: parseImageManifest(bytes, catalog.reference, contentType) });
  }
  const root = manifests.get(catalog.digest);
  if (root === undefined) {
    throw new AirferryError(
      "ERR_STORE_INVALID",
      `cannot read image "${catalog.reference}": its manifest is missing from the store`,
      {
        hint: "unpack the bundle again; see: airferry status",
      },
    );
  }
  return {
    reference: parseReference(catalog.reference),
    catalog,
    root,
    manifests,
    blob(digest) {
      const entry = entryOf(digest);
      if (entry === undefined) return undefined;
      const open = store.openBlob && (() => openStored(store, entry.digest));
      return { digest, file: store.blobPath(entry.digest), size: entry.size, open };
    },
  };
}

/** The manifests of an image itself, children before the index that lists them; referrers are excluded. */
export function ownManifests(image: PackedImage): PackedManifest[] {
  const found = new Map<OciDigest, PackedManifest>();
  const walk = (it: PackedManifest) => {
    if (found.has(it.digest)) return;
    for (const child of it.manifest.manifests) {
      const below = image.manifests.get(child.digest);
      if (below !== undefined) walk(below);
    }
    found.set(it.digest, it);
  };
  walk(image.root);
  return [...found.values()];
}

/** Config and layers of a manifest, each digest once. */
export function blobsOf({ manifest }: PackedManifest): Descriptor[] {
  const all = [...(manifest.config ? [manifest.config] : []), ...manifest.layers];
  return [...new Map(all.map((it) => [it.digest, it])).values()];
}

/** Whether everything below a manifest was packed. */
export function isComplete(image: PackedImage, it: PackedManifest): boolean {
  return isWhole(it.manifest, heldOf(image));
}

/** What of an image was packed. */
export function heldOf(image: PackedImage): HeldImage {
  return {
    manifest: (digest) => image.manifests.get(digest)?.manifest,
    hasBlob: (digest) => image.blob(digest) !== undefined,
  };
}
