/**
 * Digests as registries use them: mostly SHA-256, SHA-512 if an image uses it. See OCI image-spec v1.1, descriptor.md,
 * "Digests".
 */
import { type Digest, parseDigest } from "../io/digest.ts";

/** `sha256:` and 64, or `sha512:` and 128 lower-case hex digits. */
export type OciDigest = Digest | `sha512:${string}`;

/** Returns whether a value is a digest of a supported algorithm. */
export function isOciDigest(value: unknown): value is OciDigest {
  return typeof value === "string" && /^sha(?:256|512):/.test(value) && parseDigest(value) !== undefined;
}

const DIGEST_TAG = /^sha(?:256|512)-[0-9a-f]{64}(?:\.[a-z]+)?$/;

/**
 * Returns whether a tag names a manifest's referrers, signature, attestation or SBOM rather than an image.
 * @see OCI distribution-spec v1.1, "Referrers Tag Schema"
 */
export function isDigestTag(tag: string): boolean {
  return DIGEST_TAG.test(tag);
}

/** Path of a blob in an OCI layout: `blobs/sha256/<hex>`. */
export function layoutPath(digest: OciDigest): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** Path of a blob in a bundle: `images/blobs/sha256/<hex>`. */
export function blobPath(digest: OciDigest): string {
  return `images/${layoutPath(digest)}`;
}
