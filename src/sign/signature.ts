/**
 * One raw signature over bytes in memory: DER for ECDSA, PKCS#1 v1.5 for RSA, plain Ed25519, ML-DSA without a context.
 * Where there is a digest, always SHA-256, which every cosign and openssl supports; foreign P-384 keys may also have
 * signed with SHA-384.
 */
import { type KeyObject, sign, verify } from "node:crypto";
import { isPostQuantum, type KeyKind } from "./keys.ts";

/** Digest algorithm of a signature, by its name in Sigstore bundles. */
export type MessageDigest = "SHA2_256" | "SHA2_384";

const NODE_NAME = { SHA2_256: "sha256", SHA2_384: "sha384" } as const;

/** Returns the digests a key of this kind may sign with, airferry's first. */
function digestsFor(kind: KeyKind): readonly MessageDigest[] {
  return kind === "p384" ? ["SHA2_256", "SHA2_384"] : ["SHA2_256"];
}

/** Whether keys of this kind sign the bytes themselves. */
function signsBytes(kind: KeyKind): boolean {
  return kind === "ed25519" || isPostQuantum(kind);
}

/** Signs; ECDSA signatures are DER. */
export function signBytes(bytes: Uint8Array, key: KeyObject, kind: KeyKind): Buffer {
  return signsBytes(kind) ? sign(null, bytes, key) : sign("sha256", bytes, { key, dsaEncoding: "der" });
}

/**
 * Returns whether `signature` is this key's over `bytes` with one of the `digests`; ECDSA in strict DER only. Never
 * throws.
 */
export function isSignatureOf(
  bytes: Uint8Array,
  signature: Uint8Array,
  key: KeyObject,
  kind: KeyKind,
  digests: readonly MessageDigest[] = digestsFor(kind),
): boolean {
  try {
    if (signsBytes(kind)) return verify(null, bytes, key, signature);
    return digests
      .filter((digest) => digestsFor(kind).includes(digest))
      .some((digest) => verify(NODE_NAME[digest], bytes, { key, dsaEncoding: "der" }, signature));
  } catch {
    return false;
  }
}

/**
 * Returns the DER form of an ECDSA signature given as r||s (as smart cards and some KMS do), if it verifies; else
 * undefined.
 */
export function derFromRaw(bytes: Uint8Array, raw: Uint8Array, key: KeyObject, kind: KeyKind): Buffer | undefined {
  const half = kind === "p256" ? 32 : kind === "p384" ? 48 : 0;
  if (half === 0 || raw.length !== 2 * half) return undefined;
  if (!verify("sha256", bytes, { key, dsaEncoding: "ieee-p1363" }, raw)) return undefined;
  const integers = [raw.subarray(0, half), raw.subarray(half)].map((it) => {
    const start = it.findIndex((byte) => byte !== 0);
    const digits = it.subarray(start);
    const [first = 0] = digits;
    const padded = first & 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits;
    return Buffer.concat([Buffer.of(0x02, padded.length), padded]);
  });
  const body = Buffer.concat(integers);
  return Buffer.concat([Buffer.of(0x30, body.length), body]);
}
