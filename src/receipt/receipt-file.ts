/**
 * A receipt on disk: the text, and its signature beside it in cosign's form, `FILE.sigstore.json`, which stock cosign
 * and openssl check. What is read here comes from the other side, and is believed only once its signature is good.
 */
import { createHash } from "node:crypto";
import { AirferryError } from "../errors.ts";
import { writeAtomic } from "../io/atomic.ts";
import { readSmall } from "../io/safe-open.ts";
import type { TrustedKey } from "../sign/keys.ts";
import { isSignatureOf } from "../sign/signature.ts";
import type { Signer } from "../sign/signer.ts";
import {
  formatSignatureBundle,
  MAX_SIGNATURE_BYTES,
  parseSignatureBundle,
  type SignatureBundle,
} from "../sign/sigstore-bundle.ts";
import { outsideWindow, type ReceiptTrust } from "./receipt-keys.ts";
import {
  formatReceipt,
  MAX_RECEIPT_BYTES,
  parseReceipt,
  type Receipt,
  receiptInvalid,
  type WrittenReceipt,
} from "./receipt-text.ts";

/** Behind the name of the receipt: its signature. */
const SIGNATURE_SUFFIX = ".sigstore.json";

/** Writes a receipt and its signature. Returns both files. @throws {AirferryError} ERR_SIGNER, ERR_IO */
export async function writeReceipt(
  file: string,
  receipt: Omit<WrittenReceipt, "keyid">,
  signer: Signer,
): Promise<string[]> {
  const { keyid } = signer;
  const bytes = Buffer.from(formatReceipt({ keyid, ...receipt }));
  const signature = formatSignatureBundle(bytes, await signer.sign(bytes), keyid);
  const beside = `${file}${SIGNATURE_SUFFIX}`;
  await writeAtomic(file, bytes);
  await writeAtomic(beside, signature);
  return [file, beside];
}

/**
 * Reads a receipt that one of the trusted keys signed.
 * @throws {AirferryError} ERR_RECEIPT_INVALID for one that was changed, forged or is not in its form; ERR_KEY_UNTRUSTED
 *   for another signer's; ERR_KEY_EXPIRED; ERR_SIGNATURE_MISSING; ERR_NOT_FOUND, ERR_PATH_UNSAFE, ERR_SIZE_LIMIT
 */
export async function readReceipt(file: string, trust: ReceiptTrust): Promise<Receipt> {
  const bytes = await readSmall(file, MAX_RECEIPT_BYTES);
  const beside = `${file}${SIGNATURE_SUFFIX}`;
  const signature = await readSmall(beside, MAX_SIGNATURE_BYTES).catch((error: unknown) => {
    if (!(error instanceof AirferryError) || error.code !== "ERR_NOT_FOUND") throw error;
    throw new AirferryError("ERR_SIGNATURE_MISSING", `cannot use receipt "${file}": "${beside}" is missing`, {
      path: beside,
      hint: "carry both files that airferry receipt writes",
    });
  });
  const signer = checkSignature(bytes, readSignature(signature, beside, file), trust.keys, file);
  // Of ASCII every byte is one character, and no other text passes.
  const receipt = parseReceipt(bytes.toString("latin1"), file);
  if (receipt.keyid !== signer.keyid)
    throw receiptInvalid(file, `it names key ${receipt.keyid} and was signed by key ${signer.keyid}`);
  const fault = outsideWindow(trust, signer, receipt.made);
  if (fault !== undefined) {
    throw new AirferryError("ERR_KEY_EXPIRED", `cannot use receipt "${file}": made at ${receipt.made}: ${fault}`, {
      path: file,
      hint: "have it written and signed by somebody who may sign now: airferry receipt --store DIR --key FILE --out FILE",
    });
  }
  return receipt;
}

function readSignature(bytes: Buffer, beside: string, file: string): SignatureBundle {
  try {
    return parseSignatureBundle(bytes, beside);
  } catch (error) {
    throw receiptInvalid(file, (error as Error).message, error);
  }
}

function checkSignature(
  bytes: Buffer,
  { signature, messageDigest, hint }: SignatureBundle,
  keys: readonly TrustedKey[],
  file: string,
): TrustedKey {
  const name = messageDigest?.algorithm === "SHA2_384" ? "sha384" : "sha256";
  const isOther = messageDigest && !createHash(name).update(bytes).digest().equals(messageDigest.digest);
  if (isOther) throw receiptInvalid(file, "it was changed: its signature is over other bytes");
  const digests = messageDigest && [messageDigest.algorithm];
  const signer = keys.find((it) => isSignatureOf(bytes, signature, it.publicKey, it.kind, digests));
  if (signer !== undefined) return signer;
  const named = hint === undefined ? undefined : Buffer.from(hint, "base64").toString("hex");
  if (named === undefined || keys.some((it) => it.keyid === named))
    throw receiptInvalid(file, "its signature is not by the key that it names");
  throw new AirferryError(
    "ERR_KEY_UNTRUSTED",
    `cannot use receipt "${file}": signed by key ${named}: expected ${keys.map((it) => it.keyid).join(" or ")}`,
    {
      path: file,
      hint: "give the public key of the far side with --receipt-trust, after comparing its fingerprint out of band",
    },
  );
}
