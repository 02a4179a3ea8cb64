/** What a registry and an archive on disk have in common: manifests and small blobs to look at, and places of large ones. */

import type { Descriptor } from "../../oci/image-manifest.ts";
import type { OciDigest } from "../../oci/oci-digest.ts";
import type { Codec } from "../archive/inflate.ts";

/** Bytes of a manifest, checked against the digest that was asked for. */
export interface OriginManifest {
  bytes: Buffer;
  digest: OciDigest;
  /** As the registry or the descriptor calls it. */
  contentType?: string;
}

/** Where a blob's bytes will be taken from at pack. */
export type BlobPlace = { urls: string[] } | { file: string; offset: number; codec?: Codec };

export interface ImageOrigin {
  /** Names the image in messages. */
  readonly name: string;
  /**
   * The manifest with a digest (`descriptor`) or under a tag; undefined when it is not there.
   * @throws {AirferryError} ERR_UPSTREAM*
   */
  manifest(reference: Descriptor | { tag: string }): Promise<OriginManifest | undefined>;
  /** All bytes of a small blob, checked; undefined when it is not there. */
  blob(descriptor: Descriptor): Promise<Buffer | undefined>;
  /** Where a blob lies; undefined when it is known not to be there. */
  place(descriptor: Descriptor): Promise<BlobPlace | undefined>;
  /** Whether a blob is really there; asks the registry. */
  hasBlob(descriptor: Descriptor): Promise<boolean>;
  /** Manifests that say they are about this one, as far as the origin lists them; to be checked. */
  referrers(digest: OciDigest): Promise<Descriptor[]>;
  /** Whether a registry's tags for signatures of older tools are worth asking for. */
  hasTag(tag: string): Promise<boolean>;
}
