/**
 * The common interface of a registry and an archive on disk: manifests and small blobs to read, and locations of large
 * ones.
 */

import type { Descriptor } from "../../oci/image-manifest.ts";
import type { OciDigest } from "../../oci/oci-digest.ts";
import type { Codec } from "../archive/inflate.ts";

/** Bytes of a manifest, checked against the requested digest. */
export interface OriginManifest {
  bytes: Buffer;
  digest: OciDigest;
  /** As the registry or the descriptor names it. */
  contentType?: string;
}

/** Where pack will read a blob's bytes. */
export type BlobPlace = { urls: string[] } | { file: string; offset: number; codec?: Codec };

export interface ImageOrigin {
  /** Name of the image in messages. */
  readonly name: string;
  /**
   * The manifest with a digest (`descriptor`) or under a tag; undefined when it does not exist.
   * @throws {AirferryError} ERR_UPSTREAM*
   */
  manifest(reference: Descriptor | { tag: string }): Promise<OriginManifest | undefined>;
  /** All bytes of a small blob, checked; undefined when it does not exist. */
  blob(descriptor: Descriptor): Promise<Buffer | undefined>;
  /** Where a blob is; undefined when it is known to be missing. */
  place(descriptor: Descriptor): Promise<BlobPlace | undefined>;
  /** Whether a blob really exists; asks the registry. */
  hasBlob(descriptor: Descriptor): Promise<boolean>;
  /** Manifests that the origin lists as referring to this one; unchecked. */
  referrers(digest: OciDigest): Promise<Descriptor[]>;
  /** Whether to request the tags that older tools use for signatures. */
  hasTag(tag: string): Promise<boolean>;
}
