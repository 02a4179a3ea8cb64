/**
 * Digests as registries use them: SHA-256 mostly, SHA-512 where an image says so. See OCI image-spec v1.1, descriptor.md,
 * "Digests".
 */
import { createHash } from "node:crypto";
import type { Digest } from "../io/types.ts";

/** `sha256:` and 64, or `sha512:` and 128 lower-case hex digits. */
export type OciDigest = Digest | `sha512:${string}`;

const OCI_DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** Tells whether a string is a digest of an algorithm that is checked here. */
export function isOciDigest(text: unknown): text is OciDigest {
  return typeof text === "string" && OCI_DIGEST.test(text);
}

/** Digests bytes with the algorithm of `like`; SHA-256 without it. */
export function digestOf(bytes: Uint8Array, like?: OciDigest): OciDigest {
  const algorithm = like?.startsWith("sha512:") ? "sha512" : "sha256";
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}`;
}

/** Path of a blob in an OCI layout: `blobs/sha256/<hex>`. */
export function layoutPath(digest: OciDigest): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** Path of a blob in a bundle: `images/blobs/sha256/<hex>`. */
export function blobPath(digest: OciDigest): string {
  return `images/${layoutPath(digest)}`;
}

/** The digest as an SRI string. */
export function digestSri(digest: OciDigest): string {
  const [algorithm, hex] = digest.split(":") as [string, string];
  return `${algorithm}-${Buffer.from(hex, "hex").toString("base64")}`;
}
