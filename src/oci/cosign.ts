/**
 * cosign's image signatures by key pairs, checked with only node:crypto: simple signing in `.sig` tags (all versions),
 * and DSSE envelopes in Sigstore bundles (from version 3). No transparency log. See the DSSE protocol and cosign's
 * SIGNATURE_SPEC.
 */

import { parseJson } from "../io/json.ts";
import type { TrustedKey } from "../sign/keys.ts";
import { isSignatureOf } from "../sign/signature.ts";
import { isOciDigest, type OciDigest } from "./oci-digest.ts";

/** Larger signatures are ignored. */
export const MAX_COSIGN_BYTES = 1024 * 1024;
export const COSIGN_SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature";

const IN_TOTO = "application/vnd.in-toto+json";
/** The predicate of a signature; other predicates (SBOM, provenance) describe an image without approving it. */
const COSIGN_SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1";

/** One signature as stored in a registry. */
export type CosignSignature =
  | { form: "bundle"; bytes: Uint8Array }
  /** The layer's bytes, and its annotation {@link COSIGN_SIGNATURE_ANNOTATION}. */
  | { form: "simple"; payload: Uint8Array; signature: string };

/**
 * Returns the key that made a signature over the image with this digest, or the reason why it does not count. Never
 * throws.
 */
export function checkCosignSignature(
  signature: CosignSignature,
  image: OciDigest,
  keys: readonly TrustedKey[],
): { key: TrustedKey } | { fault: string } {
  try {
    return signature.form === "bundle"
      ? checkBundle(signature.bytes, image, keys)
      : checkSimple(signature.payload, signature.signature, image, keys);
  } catch (error) {
    return { fault: `it cannot be read: ${(error as Error).message}` };
  }
}

function checkBundle(
  bytes: Uint8Array,
  image: OciDigest,
  keys: readonly TrustedKey[],
): { key: TrustedKey } | { fault: string } {
  if (bytes.length > MAX_COSIGN_BYTES) return { fault: `it is larger than ${MAX_COSIGN_BYTES} bytes` };
  const { dsseEnvelope } = parseJson(Buffer.from(bytes).toString("utf8")) as {
    dsseEnvelope?: { payload?: unknown; payloadType?: unknown; signatures?: { sig?: unknown }[] };
  };
  if (dsseEnvelope === undefined) return { fault: "it has no DSSE envelope" };
  const { payload, payloadType, signatures } = dsseEnvelope;
  if (typeof payload !== "string" || payloadType !== IN_TOTO || signatures?.length !== 1) {
    return { fault: "its envelope is not one in-toto statement with one signature" };
  }
  const body = Buffer.from(payload, "base64");
  const key = keyOf(preAuthEncoding(payloadType, body), Buffer.from(String(signatures[0]?.sig), "base64"), keys);
  if (key === undefined) return { fault: "not signed by any of the keys" };
  // Only now is the statement authenticated.
  const { subject, predicateType } = parseJson(body.toString("utf8")) as {
    subject?: { digest?: Record<string, unknown> }[];
    predicateType?: unknown;
  };
  if (predicateType !== COSIGN_SIGN_PREDICATE) return { fault: `it is an attestation (${String(predicateType)})` };
  const [algorithm, hex] = image.split(":") as [string, string];
  if (!Array.isArray(subject) || !subject.some((it) => it?.digest?.[algorithm] === hex)) {
    return { fault: "it signs another image" };
  }
  return { key };
}

function checkSimple(
  payload: Uint8Array,
  signature: string,
  image: OciDigest,
  keys: readonly TrustedKey[],
): { key: TrustedKey } | { fault: string } {
  if (payload.length > MAX_COSIGN_BYTES) return { fault: `it is larger than ${MAX_COSIGN_BYTES} bytes` };
  const key = keyOf(payload, Buffer.from(signature, "base64"), keys);
  if (key === undefined) return { fault: "not signed by any of the keys" };
  const { critical } = parseJson(Buffer.from(payload).toString("utf8")) as {
    critical?: { type?: unknown; image?: { "docker-manifest-digest"?: unknown } };
  };
  if (critical?.type !== "cosign container image signature") return { fault: "it is not a signature of an image" };
  const signed = critical.image?.["docker-manifest-digest"];
  if (!isOciDigest(signed) || signed !== image)
    return { fault: `it signs another image: ${String(signed).slice(0, 100)}` };
  return { key };
}

function keyOf(bytes: Uint8Array, signature: Buffer, keys: readonly TrustedKey[]): TrustedKey | undefined {
  return keys.find((key) => isSignatureOf(bytes, signature, key.publicKey, key.kind));
}

/** The bytes that a DSSE signature covers. @see DSSE protocol.md, "PAE" */
export function preAuthEncoding(payloadType: string, body: Uint8Array): Buffer {
  const type = Buffer.from(payloadType);
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${body.length} `), body]);
}
