/**
 * Timestamps of signatures: questions to a timestamp authority, and its replies, checked offline against pinned
 * certificates as of the time that they state. RFC 3161, RFC 5816, RFC 5652; docs/format.md, "Timestamps".
 */
import { hash, timingSafeEqual, verify, X509Certificate } from "node:crypto";
import * as asn1 from "asn1js";
import { AirferryError, type Problem } from "../errors.ts";
import { printable } from "../io/printable.ts";
import { readKeyFile } from "./keys.ts";

/** Largest reply that is read. */
export const MAX_TIMESTAMP_BYTES = 64 * 1024;
const MAX_CERTIFICATES = 16;
const MAX_PATH = 4;
const NONCE_BYTES = 8;

const OID = {
  signedData: "1.2.840.113549.1.7.2",
  tstInfo: "1.2.840.113549.1.9.16.1.4",
  contentType: "1.2.840.113549.1.9.3",
  messageDigest: "1.2.840.113549.1.9.4",
  signingCertificate: "1.2.840.113549.1.9.16.2.47",
  extendedKeyUsage: "2.5.29.37",
  timeStamping: "1.3.6.1.5.5.7.3.8",
} as const;
const DIGESTS = new Map([
  ["2.16.840.1.101.3.4.2.1", "sha256"],
  ["2.16.840.1.101.3.4.2.2", "sha384"],
  ["2.16.840.1.101.3.4.2.3", "sha512"],
]);
/** Signature algorithms with the digest they use; undefined: the digest of the signer. */
const SIGNATURES = new Map<string, string | undefined>([
  ["1.2.840.113549.1.1.1", undefined],
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.10045.4.3.4", "sha512"],
]);
const SHA256 = Buffer.from("300d06096086480165030402010500", "hex");

const CERTIFICATES = {
  what: "certificate",
  hint: "give the certificate of the timestamp authority, or of its CA (PEM)",
};

/** A good timestamp. */
interface Timestamp {
  /** What the authority says: whole or parts of seconds. */
  time: Date;
  /** Subject of the authority's certificate, printable. */
  by: string;
}

/** A signer's timestamp. */
export interface StampedSigner {
  keyid: string;
  /** RFC 3339. */
  time: string;
  /** Subject of the authority's certificate. */
  by: string;
}

/** Timestamps of good signatures, the earliest first, and what is wrong with others. */
export interface Stamps {
  stamps: StampedSigner[];
  problems: Problem[];
}

/** The question for a timestamp of some bytes: DER. */
export function timestampQuery(bytes: Uint8Array, nonce: Uint8Array): Buffer {
  const imprint = der(0x30, SHA256, der(0x04, hash("sha256", bytes, "buffer")));
  return der(0x30, der(0x02, Buffer.of(1)), imprint, der(0x02, Buffer.from(nonce)), der(0x01, Buffer.of(0xff)));
}

/** Makes random bytes a positive integer of fixed length, as DER wants it. */
export function nonceOf(random: Uint8Array): Buffer {
  const nonce = Buffer.from(random.subarray(0, NONCE_BYTES));
  nonce[0] = ((nonce[0] ?? 0) & 0x3f) | 0x40;
  return nonce;
}

/**
 * Reads certificates of authorities, or of CAs that issued theirs: PEM, several in a file.
 * @throws {AirferryError} ERR_KEY_INVALID, ERR_NOT_FOUND, ERR_IO
 */
export async function readAuthorities(files: readonly string[]): Promise<X509Certificate[]> {
  const found: X509Certificate[] = [];
  for (const file of files) {
    const text = (await readKeyFile(file, CERTIFICATES)).toString("latin1");
    const parts = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    try {
      if (parts.length === 0) throw new Error("no certificate in it");
      found.push(...parts.map((it) => new X509Certificate(it)));
    } catch (cause) {
      throw new AirferryError("ERR_KEY_INVALID", `cannot read certificates "${file}": not PEM certificates`, {
        path: file,
        hint: "give the certificate of the timestamp authority, or of the CA that issued it",
        cause,
      });
    }
  }
  return found;
}

/**
 * Checks a reply: that it is for these bytes, and whole, and whose it is.
 * @param signed the bytes that were stamped
 * @param pinned whose timestamps count; undefined: anybody's, when it has just been asked
 * @param nonce of the question, if it is known
 * @throws {Error} what is wrong with it, in words
 */
export function checkTimestamp(
  reply: Uint8Array,
  signed: Uint8Array,
  pinned: readonly X509Certificate[] | undefined,
  nonce?: Uint8Array,
): Timestamp {
  if (reply.length > MAX_TIMESTAMP_BYTES) throw new Error(`expected at most ${MAX_TIMESTAMP_BYTES} bytes`);
  const { info, infoBytes, signer, certificates } = parts(reply);
  const [version, , imprint, , genTime, ...more] = items(info);
  if (integer(version) !== "01") throw new Error("another version of TSTInfo");
  const [algorithm, digest] = items(imprint);
  const name = DIGESTS.get(oid(items(algorithm)[0]));
  if (name === undefined) throw new Error("its digest is not SHA-256, SHA-384 or SHA-512");
  if (!same(octets(digest), hash(name, signed, "buffer"))) throw new Error("it is for other bytes");
  if (nonce !== undefined) {
    const answered = more.find((it) => it instanceof asn1.Integer);
    if (answered === undefined || integer(answered) !== Buffer.from(nonce).toString("hex"))
      throw new Error("it answers another question: the nonce differs");
  }
  if (!(genTime instanceof asn1.GeneralizedTime)) throw new Error("it has no time");
  const time = genTime.toDate();
  if (Number.isNaN(time.getTime())) throw new Error("its time is none");
  const own = checkSigner(signer, infoBytes, [...certificates, ...(pinned ?? [])]);
  if (pinned !== undefined) checkPath(own, certificates, pinned, time);
  return { time, by: printable(own.subject.replaceAll("\n", ", "), 200) };
}

interface Parts {
  info: asn1.AsnType;
  infoBytes: Buffer;
  signer: asn1.AsnType;
  certificates: X509Certificate[];
}

/** Takes a reply apart as far as its signature needs. */
function parts(reply: Uint8Array): Parts {
  const [status, token] = items(parse(reply));
  const granted = integer(items(status)[0]);
  if (granted !== "00" && granted !== "01") throw new Error(`the authority refused: status ${granted}`);
  const [type, wrapped] = items(token);
  if (oid(type) !== OID.signedData) throw new Error("no signed data");
  const fields = items(items(wrapped)[0]);
  const [contentType, content] = items(fields[2]);
  if (oid(contentType) !== OID.tstInfo) throw new Error("no timestamp in it");
  const infoBytes = octets(items(content)[0]);
  const signers = items(fields.at(-1));
  const [signer] = signers;
  if (signer === undefined || signers.length !== 1) throw new Error("not one signer");
  const carried = fields.slice(3, -1).filter((it) => it.idBlock.tagClass === 3 && it.idBlock.tagNumber === 0);
  const certificates = carried.flatMap(items).map((it) => new X509Certificate(raw(it)));
  if (certificates.length > MAX_CERTIFICATES) throw new Error(`more than ${MAX_CERTIFICATES} certificates`);
  return { info: parse(infoBytes), infoBytes, signer, certificates };
}

/** Checks the signature over the content, and which certificate's it is. */
function checkSigner(signer: asn1.AsnType, content: Buffer, known: readonly X509Certificate[]): X509Certificate {
  const [, sid, digestAlgorithm, attributes, signatureAlgorithm, signature] = items(signer);
  const name = DIGESTS.get(oid(items(digestAlgorithm)[0]));
  if (name === undefined) throw new Error("its digest is not SHA-256, SHA-384 or SHA-512");
  if (attributes?.idBlock.tagClass !== 3 || attributes.idBlock.tagNumber !== 0) throw new Error("no signed attributes");
  const values = new Map<string, asn1.AsnType>();
  for (const it of items(attributes)) {
    const [type, set] = items(it);
    const [value, another] = items(set);
    if (value === undefined || another !== undefined || values.has(oid(type))) throw new Error("attributes twice");
    values.set(oid(type), value);
  }
  if (oid(values.get(OID.contentType)) !== OID.tstInfo) throw new Error("signed as something else");
  if (!same(octets(values.get(OID.messageDigest)), hash(name, content, "buffer")))
    throw new Error("the digest of its content differs");
  const own = known.find((it) => isNamed(it, sid));
  if (own === undefined) throw new Error("the certificate of its signer is missing");
  checkCertificateDigest(own, values.get(OID.signingCertificate));
  const algorithm = oid(items(signatureAlgorithm)[0]);
  if (!SIGNATURES.has(algorithm)) throw new Error("an unknown kind of signature");
  // What is signed has the tag of a set.
  const bytes = Buffer.from(raw(attributes));
  bytes[0] = 0x31;
  if (!verify(SIGNATURES.get(algorithm) ?? name, bytes, own.publicKey, octets(signature)))
    throw new Error("its signature is wrong");
  return own;
}

/** The signature names the certificate it was made with, by issuer and serial number. */
function isNamed(certificate: X509Certificate, sid: asn1.AsnType | undefined): boolean {
  const [issuer, serial] = items(sid);
  const [, number, , by] = items(items(parse(certificate.raw))[0]);
  return integer(serial) === integer(number) && same(raw(issuer), raw(by));
}

/** And by its digest: ESSCertIDv2, of which the first is the signer's. */
function checkCertificateDigest(certificate: X509Certificate, attribute: asn1.AsnType | undefined): void {
  if (attribute === undefined) throw new Error("it does not say which certificate signed it (ESSCertIDv2)");
  const fields = items(items(items(attribute)[0])[0]);
  const [first] = fields;
  const isNamed = first instanceof asn1.Sequence;
  const name = isNamed ? DIGESTS.get(oid(items(first)[0])) : "sha256";
  if (name === undefined || !same(octets(fields[isNamed ? 1 : 0]), hash(name, certificate.raw, "buffer")))
    throw new Error("it says that another certificate signed it");
}

/** A path from the signer to a pinned certificate, all valid at that time. */
function checkPath(
  own: X509Certificate,
  carried: readonly X509Certificate[],
  pinned: readonly X509Certificate[],
  time: Date,
): void {
  checkPurpose(own);
  let at = own;
  for (let step = 0; step < MAX_PATH; step++) {
    if (time < at.validFromDate || time > at.validToDate)
      throw new Error(`its certificate was not valid at ${time.toISOString()}`);
    if (pinned.some((it) => it.raw.equals(at.raw))) return;
    const child = at;
    const issued = (it: X509Certificate) => it.ca && child.checkIssued(it) && child.verify(it.publicKey);
    const next = pinned.find(issued) ?? carried.find((it) => !it.raw.equals(child.raw) && issued(it));
    if (next === undefined) break;
    at = next;
  }
  throw new Error(`no pinned certificate leads to "${printable(own.subject.replaceAll("\n", ", "), 100)}"`);
}

/** Its only purpose is timestamps, and the extension that says so is critical. RFC 3161, 2.3. */
function checkPurpose(certificate: X509Certificate): void {
  const [body] = items(parse(certificate.raw));
  const block = items(body).find((it) => it.idBlock.tagClass === 3 && it.idBlock.tagNumber === 3);
  const purpose = items(items(block)[0]).find((it) => oid(items(it)[0]) === OID.extendedKeyUsage);
  const [, critical, value] = items(purpose);
  const isRight =
    critical instanceof asn1.Boolean &&
    critical.getValue() &&
    items(parse(octets(value)))
      .map(oid)
      .join() === OID.timeStamping;
  if (!isRight) throw new Error("its certificate is not only for timestamps");
}

function parse(bytes: Uint8Array): asn1.AsnType {
  const { offset, result } = asn1.fromBER(bytes);
  if (offset !== bytes.length) throw new Error("not DER, or bytes after it");
  return result;
}

function items(value: asn1.AsnType | undefined): asn1.AsnType[] {
  return value instanceof asn1.Constructed ? value.valueBlock.value : [];
}

function oid(value: asn1.AsnType | undefined): string {
  return value instanceof asn1.ObjectIdentifier ? value.getValue() : "";
}

function octets(value: asn1.AsnType | undefined): Buffer {
  if (!(value instanceof asn1.OctetString)) throw new Error("bytes are missing");
  return Buffer.from(value.getValue());
}

/** In hex, as encoded. */
function integer(value: asn1.AsnType | undefined): string {
  return value instanceof asn1.Integer ? Buffer.from(value.valueBlock.valueHexView).toString("hex") : "none";
}

function raw(value: asn1.AsnType | undefined): Uint8Array {
  return value?.valueBeforeDecodeView ?? new Uint8Array();
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.length > 0 && timingSafeEqual(a, b);
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts);
  // Nothing here is longer than one byte of length can say.
  return Buffer.concat([Buffer.of(tag, body.length), body]);
}
