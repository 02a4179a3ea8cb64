/**
 * The trust root: who may sign what for a site, as one signed file with a version. Parses it strictly and knows nothing
 * of its signatures, which are checked first (trust-chain.ts). docs/format.md, "Trust root".
 */
import { createPublicKey, X509Certificate } from "node:crypto";
import { z } from "zod";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { isStreamName } from "../io/path-grammar.ts";
import { printable } from "../io/printable.ts";
import { isUtcTime } from "../io/utc-time.ts";
import { type KeyKind, type TrustedKey, trustedKeyOf } from "./keys.ts";

export const TRUST_MEDIA_TYPE = "application/vnd.airferry.trust.v1+json";
/** Largest trust root that is read: room for 64 signers and a thousand streams. */
export const MAX_TRUST_BYTES = 256 * 1024;
export const MAX_TRUST_VERSION = 999_999_999;
const MAX_SIGNERS = 64;
const MAX_KEYS = 4;
const MAX_STREAMS = 1000;
const MAX_REVOKED = 1000;
const MAX_SERIAL = 999_999_999;
const MAX_AGE_DAYS = 36_500;
const MAX_AUTHORITIES = 16;
/** The rule of streams that have none of their own. */
export const ANY_STREAM = "*";

const KINDS = ["p256", "p384", "rsa", "ed25519", "mldsa65", "mldsa87"] as const satisfies readonly KeyKind[];
/** Ids of signers start with a letter: JSON keeps the order of such names. */
export const SIGNER_ID = /^[A-Za-z][A-Za-z0-9._-]{0,63}$/;

const time = z.custom<string>(isUtcTime, "expected a time as YYYY-MM-DDTHH:MM:SSZ");
const name = z.custom<string>((it) => typeof it === "string" && isStreamName(it), "not a name");
const line = z.custom<string>(
  (it) => typeof it === "string" && it.trim() !== "" && it.length <= 200 && printable(it) === it,
  "expected one line of 1 to 200 characters",
);
const keyid = z.string().regex(/^[0-9a-f]{64}$/);
const base64 = z.string().max(16_384);

const successionSchema = z.strictObject({ from: keyid, at: time, signature: base64 });
const signerSchema = z.strictObject({
  owner: line,
  notBefore: time,
  notAfter: time,
  keys: z.array(base64).min(1).max(MAX_KEYS),
  succession: successionSchema.exactOptional(),
});
const roleSchema = z.strictObject({
  signers: z.array(z.string()).min(1).max(MAX_SIGNERS),
  threshold: z.int().min(1).max(MAX_SIGNERS),
  require: z.array(z.enum(KINDS)).min(1).max(KINDS.length).exactOptional(),
});
const streamSchema = z.strictObject({
  audience: name.exactOptional(),
  maxAgeDays: z.int().min(1).max(MAX_AGE_DAYS).exactOptional(),
  maxSerialJump: z.int().min(1).max(MAX_SERIAL).exactOptional(),
  attestations: z.array(name).min(1).max(16).exactOptional(),
  maxScanAgeDays: z.int().min(1).max(MAX_AGE_DAYS).exactOptional(),
  requireTimestamp: z.literal(true).exactOptional(),
  requireImportScan: z.literal(true).exactOptional(),
});
const schema = z.strictObject({
  mediaType: z.literal(TRUST_MEDIA_TYPE),
  name,
  version: z.int().min(1).max(MAX_TRUST_VERSION),
  issued: time,
  expires: time,
  signers: z.record(z.string(), signerSchema),
  roles: z.strictObject({
    root: roleSchema,
    release: roleSchema,
    scan: roleSchema.exactOptional(),
    receipt: roleSchema.exactOptional(),
    tsa: z.strictObject({ certificates: z.array(base64).min(1).max(MAX_AUTHORITIES) }).exactOptional(),
  }),
  streams: z.record(z.string(), streamSchema),
  revoked: z.array(z.strictObject({ keyid, from: time, reason: line })).max(MAX_REVOKED),
});

/** A trust root as in its file, member by member. */
export type TrustDocument = z.output<typeof schema>;
/** The rules for bundles of one stream. */
export type StreamRule = z.output<typeof streamSchema>;
/** Its old key's word that a signer's keys are now these. */
export type Succession = z.output<typeof successionSchema>;
/** Roles whose signers sign something here; `tsa` has certificates instead. */
export type RoleName = Exclude<keyof TrustDocument["roles"], "tsa">;
type Role = z.output<typeof roleSchema>;

/** A parsed trust root. */
export interface TrustRoot extends TrustDocument {
  /** Of the file's bytes: what is compared on paper. */
  digest: Digest;
  /** Keys of each signer by its id; `file` is the id, `signer` the owner: two signers of one owner count once. */
  keysOf: ReadonlyMap<string, readonly TrustedKey[]>;
  /** Certificates of the role `tsa`: of timestamp authorities, or of CAs that issued theirs. */
  authorities: readonly X509Certificate[];
}

/** The roles that have signers. */
export function signingRoles({ tsa: _, ...roles }: TrustDocument["roles"]): [RoleName, Role][] {
  return Object.entries(roles) as [RoleName, Role][];
}

/** The canonical form: what is signed. */
export function formatTrust(document: TrustDocument): Buffer {
  const { mediaType, name, version, issued, expires, signers, roles, streams, revoked } = document;
  return Buffer.from(JSON.stringify({ mediaType, name, version, issued, expires, signers, roles, streams, revoked }));
}

/**
 * Parses the bytes of a trust root.
 * @param path for messages
 * @throws {AirferryError} ERR_TRUST_INVALID for whatever breaks a rule of docs/format.md; ERR_BUNDLE_VERSION for
 *   another format version
 */
export function parseTrust(bytes: Uint8Array, path: string): TrustRoot {
  if (bytes.length > MAX_TRUST_BYTES)
    throw invalidTrust(path, `expected at most ${MAX_TRUST_BYTES} bytes, got ${bytes.length}`);
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = parseJson(text);
  } catch (cause) {
    throw invalidTrust(path, `not JSON: ${printable((cause as Error).message, 100)}`, cause);
  }
  // The one name that an object of JavaScript cannot simply have.
  if (text !== JSON.stringify(value) || text.includes('"__proto__":')) throw invalidTrust(path, "not canonical JSON");
  const mediaType = (value as { mediaType?: unknown } | null)?.mediaType;
  if (mediaType !== TRUST_MEDIA_TYPE) {
    const actual = printable(String(mediaType), 100);
    throw new AirferryError(
      "ERR_BUNDLE_VERSION",
      `cannot read trust root "${path}": unknown format: expected ${TRUST_MEDIA_TYPE}, got ${actual}`,
      { path, expected: TRUST_MEDIA_TYPE, actual, hint: "it may need a newer airferry" },
    );
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = printable(issue?.path.join(".") ?? "", 100);
    throw invalidTrust(path, `${where === "" ? "" : `${where}: `}${printable(issue?.message ?? "", 200)}`);
  }
  const keysOf = readKeys(parsed.data, path);
  const fault = ruleFault(parsed.data, keysOf);
  if (fault !== undefined) throw invalidTrust(path, fault);
  const authorities = (parsed.data.roles.tsa?.certificates ?? []).map((text, at) =>
    certificateIn(text, `roles.tsa.certificates[${at}]`, path),
  );
  if (new Set(authorities.map((it) => it.fingerprint256)).size !== authorities.length)
    throw invalidTrust(path, "roles.tsa.certificates: one of them twice");
  return { ...parsed.data, digest: digestOf(bytes), keysOf, authorities };
}

/** A fault of a trust root's content. */
export function invalidTrust(path: string, fault: string, cause?: unknown): AirferryError {
  return new AirferryError("ERR_TRUST_INVALID", `cannot read trust root "${path}": ${fault}`, {
    path,
    cause,
    hint: "the copy may be damaged; get it again from the holders of the root keys",
  });
}

/** Two spellings of one owner are one owner. */
function ownerOf(owner: string): string {
  return owner.normalize("NFKC").toLowerCase().replace(/\s+/g, " ").trim();
}

function readKeys({ signers }: TrustDocument, path: string): Map<string, TrustedKey[]> {
  const keysOf = new Map<string, TrustedKey[]>();
  const seen = new Map<string, string>();
  for (const [id, { owner, keys }] of Object.entries(signers)) {
    const own = keys.map((text, at) => {
      const where = `signers.${printable(id, 64)}.keys[${at}]`;
      const key = { ...keyIn(text, where, path), file: id, signer: ownerOf(owner) };
      const other = seen.get(key.keyid);
      if (other !== undefined) throw invalidTrust(path, `${where}: the same key as ${other}`);
      seen.set(key.keyid, where);
      return key;
    });
    if (new Set(own.map((it) => it.kind)).size !== own.length) {
      throw invalidTrust(path, `signers.${printable(id, 64)}.keys: two of one kind`);
    }
    keysOf.set(id, own);
  }
  return keysOf;
}

/** One encoding of each key: another one of the same key would have another text, and could be missed. */
function keyIn(text: string, where: string, path: string): TrustedKey {
  const der = Buffer.from(text, "base64");
  let key: TrustedKey;
  try {
    key = trustedKeyOf(createPublicKey({ key: der, format: "der", type: "spki" }), where);
  } catch (cause) {
    throw invalidTrust(path, `${where}: not a public key of a supported kind`, cause);
  }
  if (der.toString("base64") !== text || digestOf(der) !== `sha256:${key.keyid}`) {
    throw invalidTrust(path, `${where}: not the canonical form of the key`);
  }
  return key;
}

function certificateIn(text: string, where: string, path: string): X509Certificate {
  const der = Buffer.from(text, "base64");
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(der);
  } catch (cause) {
    throw invalidTrust(path, `${where}: not a certificate`, cause);
  }
  if (der.toString("base64") !== text || !certificate.raw.equals(der))
    throw invalidTrust(path, `${where}: not the canonical form of a certificate`);
  return certificate;
}

function ruleFault(it: TrustDocument, keysOf: ReadonlyMap<string, readonly TrustedKey[]>): string | undefined {
  const ids = Object.keys(it.signers);
  if (ids.length > MAX_SIGNERS) return `signers: at most ${MAX_SIGNERS}`;
  const odd = ids.find((id) => !SIGNER_ID.test(id));
  if (odd !== undefined) return `signers: "${printable(odd, 64)}" is no id`;
  if (it.expires <= it.issued) return "expires: not after issued";
  for (const [id, { notBefore, notAfter }] of Object.entries(it.signers))
    if (notAfter <= notBefore) return `signers.${id}: notAfter is not after notBefore`;
  const streams = Object.keys(it.streams);
  if (streams.length > MAX_STREAMS) return `streams: at most ${MAX_STREAMS}`;
  const stream = streams.find((one) => one !== ANY_STREAM && !isStreamName(one));
  if (stream !== undefined) return `streams: "${printable(stream, 64)}" is no name of a stream`;
  if (new Set(it.revoked.map((one) => one.keyid)).size !== it.revoked.length) return "revoked: a key twice";
  const revoked = new Set(it.revoked.map((one) => one.keyid));
  for (const [role, { signers, threshold, require = [] }] of signingRoles(it.roles)) {
    if (new Set(signers).size !== signers.length) return `roles.${role}.signers: one of them twice`;
    if (new Set(require).size !== require.length) return `roles.${role}.require: a kind twice`;
    const stranger = signers.find((id) => !keysOf.has(id));
    if (stranger !== undefined) return `roles.${role}.signers: "${printable(stranger, 64)}" is not in signers`;
    const owners = new Set<string>();
    for (const id of signers) {
      const left = (keysOf.get(id) ?? []).filter((key) => !revoked.has(key.keyid));
      const isFit = left.length > 0 && require.every((kind) => left.some((key) => key.kind === kind));
      if (isFit) owners.add(ownerOf(it.signers[id]?.owner ?? ""));
    }
    if (owners.size < threshold) {
      return `roles.${role}: threshold ${threshold} with ${owners.size} distinct owners of fitting keys that are not revoked`;
    }
  }
  return undefined;
}
