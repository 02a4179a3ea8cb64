/** What the lock knows of an image beside its artifacts: enough to write the layout, the catalog, and to check signatures. */
import type { OciDigest } from "../../oci/digest.ts";

export interface LockedImage {
  /** Canonical: `host/path:tag`, `host/path@sha256:…` or both. */
  reference: string;
  digest: OciDigest;
  mediaType: string;
  /** Bytes of the manifest or index itself. */
  manifestSize: number;
  /** Platforms whose layers are taken; empty: all, or not an image. */
  platforms: string[];
  /** Every manifest that is carried: the image's own, children, referrers, in the order found. */
  manifests: OciDigest[];
  /** Manifests that are about this image or a part of it: signatures, attestations, SBOMs. */
  referrers: { digest: OciDigest; mediaType: string; size: number; subject?: OciDigest; artifactType?: string }[];
  /** Legacy tags of cosign in the same repository. */
  tags: Record<string, OciDigest>;
  /** Where it came from, if that is not what the manifest's entry says: the chart that needs it. */
  source?: string;
  /** Paths of everything under this reference; a blob that images share is in each of these lists. */
  paths: string[];
}

/** A repository of a registry that blobs come from. */
export interface BlobRegistry {
  host: string;
  path: string;
  insecure: boolean;
}

/** `detail` of a locked entry of kind image. */
export interface ImageDetail {
  images: LockedImage[];
  /** Where blobs of the entry's own image come from; absent for archives and charts of HTTP repositories. */
  registry?: BlobRegistry;
  /** The same for the images that a chart needs. */
  needed?: BlobRegistry[];
}
