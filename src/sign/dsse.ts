/**
 * DSSE envelopes with in-toto statements, inside Sigstore bundles, as `cosign attest-blob` writes them and `cosign
 * verify-blob-attestation` checks them: one signature, over the pre-authentication encoding, by a plain key. What an
 * envelope says of its key is a hint and proves nothing. docs/format.md, "Attestations".
 */
import { isPostQuantum, type TrustedKey } from "./keys.ts";
import { isSignatureOf } from "./signature.ts";
import type { Signer } from "./signer.ts";
import { BUNDLE_MEDIA_TYPE, base64Of, invalidSignature, membersOf, parseSigstore } from "./sigstore-bundle.ts";

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
/** cosign writes an empty one, others what they like. */
const MAX_KEYID_CHARS = 256;

/** An envelope as found: nothing of it is trusted before {@link isEnvelopeOf}. */
export interface Envelope {
  /** keyid that the bundle names, hex: a lookup hint. */
  hint?: string;
  /** The bytes of the statement. */
  payload: Buffer;
  signature: Buffer;
}

/** What is signed: DSSE's pre-authentication encoding of a payload. */
function encoding(payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${PAYLOAD_TYPE.length} ${PAYLOAD_TYPE} ${payload.length} `), payload]);
}

/** Signs a statement; returns the text of the file, which ends with a newline. @throws {AirferryError} ERR_SIGNER */
export async function signEnvelope(payload: Uint8Array, signer: Signer): Promise<string> {
  const sig = (await signer.sign(encoding(payload))).toString("base64");
  return `${JSON.stringify({
    mediaType: BUNDLE_MEDIA_TYPE,
    verificationMaterial: { publicKey: { hint: Buffer.from(signer.keyid, "hex").toString("base64") } },
    dsseEnvelope: {
      payload: Buffer.from(payload).toString("base64"),
      payloadType: PAYLOAD_TYPE,
      signatures: [{ sig }],
    },
  })}\n`;
}

/**
 * Parses a file with an envelope: as strict as signatures are, and with exactly one signature, as cosign wants it.
 * @param most bytes of the file
 * @throws {AirferryError} ERR_SIGNATURE_INVALID; ERR_SIZE_LIMIT
 */
export function parseEnvelope(bytes: Uint8Array, path: string, most: number): Envelope {
  const { hint, content } = parseSigstore(bytes, path, { member: "dsseEnvelope", most });
  const envelope = membersOf(content, ["payload", "payloadType", "signatures"], path, "dsseEnvelope");
  if (envelope.payloadType !== PAYLOAD_TYPE) {
    throw invalidSignature(path, `payload type ${JSON.stringify(envelope.payloadType)}: expected ${PAYLOAD_TYPE}`);
  }
  const { signatures } = envelope;
  if (!Array.isArray(signatures) || signatures.length !== 1) {
    throw invalidSignature(path, "an envelope without exactly one signature");
  }
  const { sig, keyid = "" } = membersOf(signatures[0], ["sig", "keyid"], path, "signatures");
  if (typeof keyid !== "string" || keyid.length > MAX_KEYID_CHARS) throw invalidSignature(path, "a keyid that is none");
  return {
    ...(hint !== undefined && { hint: Buffer.from(hint, "base64").toString("hex") }),
    payload: base64Of(envelope.payload, path, "payload"),
    signature: base64Of(sig, path, "sig"),
  };
}

/** Whether this key has signed the statement of an envelope. ECDSA with SHA-256 only, as everywhere in DSSE. */
export function isEnvelopeOf({ payload, signature }: Envelope, { publicKey, kind }: TrustedKey): boolean {
  const digests = isPostQuantum(kind) || kind === "ed25519" ? undefined : (["SHA2_256"] as const);
  return isSignatureOf(encoding(payload), signature, publicKey, kind, digests);
}
