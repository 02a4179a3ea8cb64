/**
 * What the lock records of an image besides its artifacts: enough to write the layout, the catalog, and to check
 * signatures.
 */
import { z } from "zod";
import { isOciDigest, type OciDigest } from "../../oci/oci-digest.ts";
import { formatReference, parseReference } from "../../oci/reference.ts";
import { lockedEntry } from "../locked-artifact.ts";

const digest = z.custom<OciDigest>(isOciDigest, "expected sha256: or sha512: and lower-case hex digits");

function isCanonical(text: string): boolean {
  try {
    return formatReference(parseReference(text)) === text;
  } catch {
    return false;
  }
}

const lockedImageSchema = z.strictObject({
  /** Canonical: `host/path:tag`, `host/path@sha256:…` or both. */
  reference: z.string().refine(isCanonical, "expected a canonical image reference"),
  digest,
  mediaType: z.string(),
  /** Bytes of the manifest or index itself. */
  manifestSize: z.int().min(0),
  /** Platforms whose layers are included; empty: all, or not an image. */
  platforms: z.array(z.string()),
  /** Every included manifest: the image's own, children, referrers, in the order found. */
  manifests: z.array(digest),
  /** Manifests that refer to this image or a part of it: signatures, attestations, SBOMs. */
  referrers: z.array(
    z.strictObject({
      digest,
      mediaType: z.string(),
      size: z.int().min(0),
      subject: digest.exactOptional(),
      artifactType: z.string().exactOptional(),
    }),
  ),
  /** Legacy tags of cosign in the same repository. */
  tags: z.record(z.string(), digest),
  /** Where it came from, if not the manifest's entry itself: the chart that needs it. */
  source: z.string().exactOptional(),
  /** Paths of everything under this reference; a blob that images share is in each list. */
  paths: z.array(z.string()),
});

/** A repository of a registry that blobs come from. */
const blobRegistry = z.strictObject({ host: z.string().min(1), path: z.string().min(1), insecure: z.boolean() });

const imageDetail = z.strictObject({
  images: z.array(lockedImageSchema),
  /** Where blobs of the entry's image come from; absent for archives and charts of HTTP repositories. */
  registry: blobRegistry.exactOptional(),
  /** The same for the images that a chart needs. */
  needed: z.array(blobRegistry).exactOptional(),
});

export type LockedImage = z.output<typeof lockedImageSchema>;
export type ImageDetail = z.output<typeof imageDetail>;
export const lockedImage = lockedEntry("image", "images/").extend({ detail: imageDetail });
