/**
 * Indexes that list only what of an image is here: with some platforms left out, the packed index names manifests and
 * layers that nobody inside has, and clients that take all of an index fail on them. The short one is another index,
 * with a digest of its own, which no signature of the packed one covers. No I/O.
 */
import type { CatalogImage } from "../bundle/inventory-types.ts";
import { parseJson } from "../io/json.ts";
import type { ImageManifest } from "./image-manifest.ts";
import { isIndexType } from "./media-types.ts";
import type { OciDigest } from "./oci-digest.ts";
import { digestTag, parseReference } from "./reference.ts";

/** What of an image is here. */
export interface HeldImage {
  /** The manifest of a digest, where it is here and is one. */
  manifest(digest: OciDigest): ImageManifest | undefined;
  hasBlob(digest: OciDigest): boolean;
}

/** Longest tag of a registry. */
const MAX_TAG = 128;

/** Whether everything below a manifest is here. */
export function isWhole({ config, layers, manifests }: ImageManifest, held: HeldImage): boolean {
  const blobs = config === undefined ? layers : [config, ...layers];
  return (
    blobs.every(({ digest }) => held.hasBlob(digest)) &&
    manifests.every(({ digest }) => {
      const below = held.manifest(digest);
      return below === undefined ? held.hasBlob(digest) : isWhole(below, held);
    })
  );
}

/**
 * An index without the children that are not here whole; order and all other members stay, so the same image always
 * gives the same bytes. Undefined when no child is left.
 */
export function shortIndex(bytes: Buffer, held: HeldImage): Buffer | undefined {
  const json = parseJson(bytes.toString("utf8")) as { manifests?: { digest: OciDigest }[] };
  json.manifests = (json.manifests ?? []).filter(({ digest }) => {
    const child = held.manifest(digest);
    return child !== undefined && isWhole(child, held);
  });
  return json.manifests.length === 0 ? undefined : Buffer.from(JSON.stringify(json));
}

/**
 * The tag under which `serve` has the index of what is here, of an image whose platforms were chosen: `1.0-packed`, and
 * `sha256-…-packed` of one without a tag. Undefined for others, and where the name would be too long.
 */
export function packedTag({ reference, digest, mediaType, platforms }: PackedTagInput): string | undefined {
  if (platforms.length === 0 || !isIndexType(mediaType)) return undefined;
  const tag = `${parseReference(reference).tag ?? digestTag(digest)}-packed`;
  return tag.length > MAX_TAG ? undefined : tag;
}

type PackedTagInput = Pick<CatalogImage, "reference" | "digest" | "mediaType" | "platforms">;
