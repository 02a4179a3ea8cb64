/**
 * The next version of a trust root: changes to its document, one after the other. What comes of them is parsed like any
 * other trust root before it is written. docs/format.md, "Trust root".
 */
import { createHash, type X509Certificate } from "node:crypto";
import { AirferryError } from "../errors.ts";
import { printable } from "../io/printable.ts";
import { formatUtcTime } from "../io/utc-time.ts";
import { keyidOf, spkiOf, type TrustedKey } from "./keys.ts";
import type { Signer } from "./signer.ts";
import { successionText } from "./trust-chain.ts";
import {
  ANY_STREAM,
  type RoleName,
  SIGNER_ID,
  type StreamRule,
  signingRoles,
  TRUST_MEDIA_TYPE,
  type TrustDocument,
} from "./trust-root.ts";

/** One signer to add. */
export interface NewSigner {
  id: string;
  owner: string;
  keys: readonly TrustedKey[];
}

/** Everything that may change from one version to the next. */
export interface TrustChanges {
  expires?: Date;
  signers?: readonly NewSigner[];
  /** Roles of the new signers. */
  roles?: readonly RoleName[];
  /** When the new signers may sign. */
  from?: Date;
  until?: Date;
  thresholds?: readonly (readonly [RoleName, number])[];
  /** Kinds that signers of the release role need. */
  require?: readonly TrustedKey["kind"][];
  streams?: readonly (readonly [string, StreamRule])[];
  dropStreams?: readonly string[];
  /** Signers and their new keys. */
  replace?: readonly { id: string; keys: readonly TrustedKey[] }[];
  /** The old key of the one signer that is replaced: it signs for its successor. */
  oldKey?: Signer;
  remove?: readonly string[];
  /** Certificates of timestamp authorities, or of their CAs, to add; and whether those before are removed. */
  authorities?: readonly X509Certificate[];
  dropAuthorities?: boolean;
  /** keyids, or ids of signers, whose keys no longer count. */
  revoke?: readonly { what: string; from: Date; reason: string }[];
}

const ALWAYS = { notBefore: "2000-01-01T00:00:00Z", notAfter: "9999-12-31T23:59:59Z" };
/** Of a new trust root. */
const EXPIRES_DAYS = 365;
const DAY_MS = 86_400_000;

/** A trust root without signers, to which a first version adds some. */
export function emptyTrust(name: string, now: Date): TrustDocument {
  return {
    mediaType: TRUST_MEDIA_TYPE,
    name,
    version: 0,
    issued: formatUtcTime(now),
    expires: formatUtcTime(new Date(now.getTime() + EXPIRES_DAYS * DAY_MS)),
    signers: {},
    roles: { root: { signers: [], threshold: 0 }, release: { signers: [], threshold: 0 } },
    streams: {},
    revoked: [],
  };
}

/**
 * Returns a changed copy, issued now and with this version.
 * @throws {AirferryError} ERR_USAGE for a signer or stream that does not exist, or exists already
 */
export async function changedTrust(
  before: TrustDocument,
  changes: TrustChanges,
  { version, now }: { version: number; now: Date },
): Promise<TrustDocument> {
  const next = structuredClone(before);
  next.version = version;
  next.issued = formatUtcTime(now);
  if (changes.expires) next.expires = formatUtcTime(changes.expires);
  for (const it of changes.signers ?? []) addSigner(next, it, changes);
  for (const { id, keys } of changes.replace ?? []) await replaceKeys(next, id, keys, changes.oldKey);
  for (const id of changes.remove ?? []) {
    signerOf(next, id);
    delete next.signers[id];
    for (const [, role] of signingRoles(next.roles)) role.signers = role.signers.filter((it) => it !== id);
  }
  for (const { what, from, reason } of changes.revoke ?? []) revoke(next, what, formatUtcTime(from), reason);
  for (const [name, threshold] of changes.thresholds ?? []) {
    const role = next.roles[name];
    if (role === undefined) throw usage(`role "${name}" has no signers`, "add one with --add FILE=OWNER --role ROLE");
    role.threshold = threshold;
  }
  if (changes.require) next.roles.release.require = [...changes.require];
  for (const [name, rule] of changes.streams ?? []) next.streams[name] = rule;
  for (const name of changes.dropStreams ?? []) {
    if (!Object.hasOwn(next.streams, name))
      throw usage(`no rule for stream "${printable(name, 64)}"`, "airferry trust show DIR");
    delete next.streams[name];
  }
  if (version === 1 && Object.keys(next.streams).length === 0) next.streams[ANY_STREAM] = {};
  if (changes.dropAuthorities === true) delete next.roles.tsa;
  if (changes.authorities !== undefined && changes.authorities.length > 0) {
    const texts = changes.authorities.map((it) => it.raw.toString("base64"));
    next.roles.tsa = { certificates: [...new Set([...(next.roles.tsa?.certificates ?? []), ...texts])] };
  }
  for (const [name, role] of signingRoles(next.roles)) {
    // Two signers unless there is one alone; a receipt has one signature.
    const most = name === "root" || name === "release" ? 2 : 1;
    const owners = new Set(role.signers.map((id) => next.signers[id]?.owner)).size;
    if (role.threshold === 0) role.threshold = Math.min(most, owners);
  }
  return next;
}

function addSigner(
  next: TrustDocument,
  { id, owner, keys }: NewSigner,
  { roles = [], from, until }: TrustChanges,
): void {
  if (!SIGNER_ID.test(id))
    throw usage(`"${printable(id, 64)}" is no id of a signer`, "name the file after its owner: ann.pub");
  if (Object.hasOwn(next.signers, id)) {
    throw usage(
      `there is a signer "${id}" already`,
      `for other keys of the same person: airferry trust rotate DIR --replace ${id}=FILE`,
    );
  }
  next.signers[id] = {
    owner,
    notBefore: from === undefined ? ALWAYS.notBefore : formatUtcTime(from),
    notAfter: until === undefined ? ALWAYS.notAfter : formatUtcTime(until),
    keys: keys.map(textOf),
  };
  for (const name of roles) {
    const role = next.roles[name] ?? { signers: [], threshold: 0 };
    next.roles[name] = role;
    role.signers.push(id);
  }
}

async function replaceKeys(
  next: TrustDocument,
  id: string,
  keys: readonly TrustedKey[],
  oldKey: Signer | undefined,
): Promise<void> {
  const signer = signerOf(next, id);
  const old = signer.keys;
  signer.keys = keys.map(textOf);
  delete signer.succession;
  if (oldKey === undefined) return;
  if (!old.includes(spkiOf(oldKey.publicKey).toString("base64"))) {
    throw usage(`the key of --old-key is not ${id}'s`, "give the private key that belongs to a key of this signer");
  }
  const statement = { from: keyidOf(oldKey.publicKey), at: next.issued };
  const signature = await oldKey.sign(successionText(statement, keys));
  signer.succession = { ...statement, signature: signature.toString("base64") };
}

function revoke(next: TrustDocument, what: string, from: string, reason: string): void {
  const isId = Object.hasOwn(next.signers, what);
  const keyids = isId ? signerOf(next, what).keys.map(keyidOfText) : [what];
  for (const keyid of keyids) {
    if (!/^[0-9a-f]{64}$/.test(keyid))
      throw usage(`"${printable(keyid, 64)}" is no signer and no key id`, "airferry trust show DIR");
    if (next.revoked.some((it) => it.keyid === keyid)) continue;
    next.revoked.push({ keyid, from, reason });
  }
}

function signerOf(next: TrustDocument, id: string): TrustDocument["signers"][string] {
  const signer = Object.hasOwn(next.signers, id) ? next.signers[id] : undefined;
  if (signer === undefined) throw usage(`there is no signer "${printable(id, 64)}"`, "airferry trust show DIR");
  return signer;
}

function textOf(key: TrustedKey): string {
  return spkiOf(key.publicKey).toString("base64");
}

function keyidOfText(text: string): string {
  return createHash("sha256").update(Buffer.from(text, "base64")).digest("hex");
}

function usage(fault: string, hint: string): AirferryError {
  return new AirferryError("ERR_USAGE", `cannot change the trust root: ${fault}`, { hint });
}
