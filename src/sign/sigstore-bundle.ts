/**
 * Sigstore bundle v0.3 for a message signed with a plain key: writing it, and reading what cosign and sigstore-js
 * write. Strict: formatting what is accepted gives the same text, except for white space. No transparency log is ever
 * consulted. See sigstore protobuf-specs, sigstore_bundle.proto, and docs/format.md, "Signatures".
 */
import { createHash } from "node:crypto";
import { AirferryError } from "../errors.ts";
import { parseJson } from "../io/json.ts";
import type { MessageDigest } from "./signature.ts";

/** The media type that we write. */
export const BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";

/** Largest file of a signature that is read: those of hash-based algorithms have 50 KB. */
export const MAX_SIGNATURE_BYTES = 256 * 1024;

const MEDIA_TYPES = new Set([
  BUNDLE_MEDIA_TYPE,
  "application/vnd.dev.sigstore.bundle.v0.2+json",
  "application/vnd.dev.sigstore.bundle+json;version=0.3",
  "application/vnd.dev.sigstore.bundle+json;version=0.2",
  "application/vnd.dev.sigstore.bundle+json;version=0.1",
]);

/** The content of a bundle. */
export interface SignatureBundle {
  /** Base64 of SHA-256 over the signer's SPKI DER, when given: a lookup hint, never proof. */
  hint?: string;
  /** Digest of the signed bytes; cosign omits it for Ed25519. */
  messageDigest?: { algorithm: MessageDigest; digest: Buffer };
  /** Raw signature. */
  signature: Buffer;
}

/** Returns a v0.3 bundle over `bytes` as JSON text with a newline at the end. `keyid` is hex. */
export function formatSignatureBundle(bytes: Uint8Array, signature: Uint8Array, keyid: string): string {
  return `${JSON.stringify({
    mediaType: BUNDLE_MEDIA_TYPE,
    verificationMaterial: { publicKey: { hint: Buffer.from(keyid, "hex").toString("base64") } },
    messageSignature: {
      messageDigest: { algorithm: "SHA2_256", digest: createHash("sha256").update(bytes).digest("base64") },
      signature: Buffer.from(signature).toString("base64"),
    },
  })}\n`;
}

/**
 * Parses a bundle. Unknown or repeated members, certificates, log entries, envelopes and odd base64 are refused.
 * @param path for messages
 * @throws {AirferryError} ERR_SIGNATURE_INVALID; ERR_SIZE_LIMIT
 */
export function parseSignatureBundle(bytes: Uint8Array, path: string): SignatureBundle {
  const { hint, content } = parseSigstore(bytes, path, { member: "messageSignature", most: MAX_SIGNATURE_BYTES });
  const message = membersOf(content, ["messageDigest", "signature"], path, "messageSignature");
  const signature = base64Of(message.signature, path, "signature");
  return {
    ...(hint === undefined ? {} : { hint }),
    ...(message.messageDigest === undefined ? {} : { messageDigest: parseDigest(message.messageDigest, path) }),
    signature,
  };
}

/**
 * Parses what every bundle has: its form, its media type, and whose key it is, which proves nothing.
 * @param expected the one member with the content, and the most bytes that are read
 * @throws {AirferryError} ERR_SIGNATURE_INVALID; ERR_SIZE_LIMIT
 */
export function parseSigstore(
  bytes: Uint8Array,
  path: string,
  { member, most }: { member: "messageSignature" | "dsseEnvelope"; most: number },
): { hint: string | undefined; content: unknown } {
  if (bytes.length > most) {
    throw new AirferryError(
      "ERR_SIZE_LIMIT",
      `cannot read signature "${path}": too large: expected at most ${most} bytes, got ${bytes.length}`,
      { path },
    );
  }
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = parseJson(text);
  } catch (cause) {
    throw invalidSignature(path, `not JSON: ${(cause as Error).message.slice(0, 100)}`, cause);
  }
  // Repeated members, escapes and alternative spellings all change the formatted text; no value contains white space,
  // and protojson inserts it between tokens at random.
  if (text.replace(/[ \t\r\n]/g, "") !== JSON.stringify(value)) throw invalidSignature(path, "not in canonical JSON");
  const top = membersOf(value, ["mediaType", "verificationMaterial", member], path, "bundle");
  if (typeof top.mediaType !== "string" || !MEDIA_TYPES.has(top.mediaType)) {
    throw invalidSignature(path, `media type ${JSON.stringify(top.mediaType)}: expected ${BUNDLE_MEDIA_TYPE}`);
  }
  return { hint: parseMaterial(top.verificationMaterial, path), content: top[member] };
}

function parseMaterial(value: unknown, path: string): string | undefined {
  const names = ["publicKey", "tlogEntries", "timestampVerificationData"];
  const material = membersOf(value, names, path, "verificationMaterial");
  const { hint } = membersOf(material.publicKey, ["hint"], path, "publicKey");
  if (hint !== undefined) base64Of(hint, path, "hint");
  if (
    material.tlogEntries !== undefined &&
    !(Array.isArray(material.tlogEntries) && material.tlogEntries.length === 0)
  ) {
    throw invalidSignature(path, "it has transparency log entries, which airferry does not check");
  }
  if (material.timestampVerificationData !== undefined) {
    const name = "rfc3161Timestamps";
    const stamps = membersOf(material.timestampVerificationData, [name], path, "timestampVerificationData")[name] ?? [];
    if (!Array.isArray(stamps)) throw invalidSignature(path, `${name} is not a list`);
    for (const stamp of stamps) base64Of(membersOf(stamp, ["signedTimestamp"], path, name).signedTimestamp, path, name);
  }
  return hint as string | undefined;
}

function parseDigest(value: unknown, path: string): { algorithm: MessageDigest; digest: Buffer } {
  const { algorithm, digest } = membersOf(value, ["algorithm", "digest"], path, "messageDigest");
  if (algorithm !== "SHA2_256" && algorithm !== "SHA2_384") {
    throw invalidSignature(path, `digest algorithm ${JSON.stringify(algorithm)}: expected SHA2_256`);
  }
  const bytes = base64Of(digest, path, "digest");
  if (bytes.length !== (algorithm === "SHA2_256" ? 32 : 48)) throw invalidSignature(path, "digest of the wrong length");
  return { algorithm, digest: bytes };
}

/** The members of an object that has no others. @throws {AirferryError} ERR_SIGNATURE_INVALID */
export function membersOf(value: unknown, names: string[], path: string, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidSignature(path, `${what} is not an object`);
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  if (unknown !== undefined) throw invalidSignature(path, `${what} has an unknown member ${JSON.stringify(unknown)}`);
  return value as Record<string, unknown>;
}

/** Bytes of padded base64 in the one form that they have. @throws {AirferryError} ERR_SIGNATURE_INVALID */
export function base64Of(value: unknown, path: string, what: string): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value, "base64") : Buffer.alloc(0);
  if (bytes.length === 0 || bytes.toString("base64") !== value) throw invalidSignature(path, `${what} is not base64`);
  return bytes;
}

/** A file that is no Sigstore bundle. */
export function invalidSignature(path: string, fault: string, cause?: unknown): AirferryError {
  return new AirferryError("ERR_SIGNATURE_INVALID", `cannot read signature "${path}": ${fault}`, {
    path,
    cause,
    hint: "the copy may be damaged; copy the bundle again",
  });
}
