/**
 * The verb `trust`: makes, changes, signs and shows a trust root, as files in one folder. The newest version is a draft
 * until somebody has signed it; then the next change begins the next version. docs/format.md, "Trust root".
 */
import { join } from "node:path";
import { AirferryError } from "./errors.ts";
import { writeAtomic } from "./io/atomic.ts";
import { type Digest, digestOf } from "./io/digest.ts";
import { printable } from "./io/printable.ts";
import { shellWord } from "./io/shell.ts";
import type { KeyKind } from "./sign/keys.ts";
import { isPostQuantum } from "./sign/keys.ts";
import { openSigners, type SignerOptions } from "./sign/signer.ts";
import { formatSignatureBundle } from "./sign/sigstore-bundle.ts";
import {
  keysOfRole,
  rootKeysThatSigned,
  type TrustFile,
  trustName,
  trustSignatureName,
  verifyFirst,
  verifyNext,
} from "./sign/trust-chain.ts";
import { changedTrust, emptyTrust, type TrustChanges } from "./sign/trust-edit.ts";
import { readTrustFolder, writeTrustFiles } from "./sign/trust-files.ts";
import {
  formatTrust,
  MAX_TRUST_VERSION,
  parseTrust,
  type RoleName,
  type StreamRule,
  signingRoles,
  type TrustRoot,
} from "./sign/trust-root.ts";
import { countSigners } from "./sign/verify-sums.ts";

/** What `trust show --json` prints. */
export interface TrustView {
  name: string;
  version: number;
  /** The fingerprint: SHA-256 of the file. */
  digest: Digest;
  file: string;
  issued: string;
  expires: string;
  signers: { id: string; owner: string; notBefore: string; notAfter: string; keys: TrustKeyView[] }[];
  roles: { role: RoleName; signers: readonly string[]; threshold: number; require: readonly KeyKind[] }[];
  /** Timestamp authorities, or CAs that issue their certificates. */
  authorities: { subject: string; fingerprint: Digest; validTo: string }[];
  streams: Record<string, StreamRule>;
  revoked: TrustRoot["revoked"];
  /** Ids of the signers whose signatures are there. */
  signed: string[];
  /** What is still lacking until others accept it; null: nothing. */
  lacking: string | null;
}

interface TrustKeyView {
  keyid: string;
  kind: KeyKind;
  revoked: boolean;
  /** keyid of the earlier key that signed for it. */
  successorOf: string | null;
}

/**
 * Makes version 1, a draft.
 * @throws {AirferryError} ERR_USAGE when the folder has a trust root, or when nobody could use the new one
 */
export async function initTrust(dir: string, name: string, changes: TrustChanges): Promise<TrustView> {
  const files = await readTrustFolder(dir);
  if (files.length > 0) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot make a trust root in "${dir}": it has one, version ${files.at(-1)?.version}`,
      {
        path: dir,
        hint: `for its next version: airferry trust rotate ${shellWord(dir)}`,
      },
    );
  }
  const now = new Date();
  return writeDraft(dir, formatTrust(await changedTrust(emptyTrust(name, now), changes, { version: 1, now })), 1);
}

/**
 * Changes the draft, or begins the next version after one that somebody has signed.
 * @throws {AirferryError} ERR_NOT_FOUND without a trust root; ERR_USAGE, ERR_TRUST_INVALID
 */
export async function changeTrust(dir: string, changes: TrustChanges): Promise<TrustView> {
  const newest = (await foundIn(dir)).at(-1) as TrustFile;
  const before = parseTrust(newest.bytes, newest.path);
  const version = newest.signatures.length === 0 ? newest.version : newest.version + 1;
  if (version > MAX_TRUST_VERSION)
    throw new AirferryError("ERR_USAGE", `cannot change "${newest.path}": no version is left`);
  const { signers: _signers, ...rest } = before;
  const document = await changedTrust({ ...rest, signers: before.signers }, changes, { version, now: new Date() });
  return writeDraft(dir, formatTrust(document), version);
}

async function writeDraft(dir: string, bytes: Buffer, version: number): Promise<TrustView> {
  const path = join(dir, trustName(version));
  try {
    parseTrust(bytes, path);
  } catch (cause) {
    if (!(cause instanceof AirferryError) || cause.code !== "ERR_TRUST_INVALID") throw cause;
    const fault = cause.message.slice(cause.message.indexOf('": ') + 3);
    throw new AirferryError("ERR_USAGE", `cannot write "${path}": nobody could use it: ${fault}`, {
      path,
      hint: "add signers with --add FILE=OWNER, or change a threshold with --threshold ROLE=N, in the same command",
      cause,
    });
  }
  await writeTrustFiles(dir, [{ version, path, bytes, signatures: [] }]);
  return showTrust(dir);
}

/**
 * Signs the newest version. The key must be of its root role, or of that of the version before.
 * @throws {AirferryError} ERR_USAGE for another key; ERR_NOT_FOUND, ERR_TRUST_INVALID, and what {@link openSigners}
 *   throws
 */
export async function signTrust(dir: string, options: SignerOptions): Promise<{ files: string[]; view: TrustView }> {
  const files = await foundIn(dir);
  const newest = files.at(-1) as TrustFile;
  const before = files.find((it) => it.version === newest.version - 1);
  const roots = [newest, ...(before ? [before] : [])].map((it) => parseTrust(it.bytes, it.path));
  const wanted = new Set(roots.flatMap((it) => keysOfRole(it, "root")).map((it) => it.keyid));
  const written: string[] = [];
  for (const signer of await openSigners(options)) {
    if (!wanted.has(signer.keyid)) continue;
    const signature = await signer.sign(newest.bytes);
    const bytes = isPostQuantum(signer.kind) ? signature : formatSignatureBundle(newest.bytes, signature, signer.keyid);
    const file = join(dir, trustSignatureName(newest.version, signer));
    await writeAtomic(file, bytes);
    written.push(file);
  }
  if (written.length === 0) {
    throw new AirferryError("ERR_USAGE", `cannot sign "${newest.path}": this key is not one of its root role`, {
      path: newest.path,
      hint: `to see whose they are: airferry trust show ${shellWord(dir)}`,
    });
  }
  return { files: written, view: await showTrust(dir) };
}

/** What the newest version says, and what it still lacks. @throws {AirferryError} ERR_NOT_FOUND, ERR_TRUST_INVALID */
export async function showTrust(dir: string): Promise<TrustView> {
  const files = await foundIn(dir);
  const newest = files.at(-1) as TrustFile;
  const root = parseTrust(newest.bytes, newest.path);
  const before = files.find((it) => it.version === newest.version - 1);
  const revoked = new Set(root.revoked.map((it) => it.keyid));
  return {
    name: root.name,
    version: root.version,
    digest: root.digest,
    file: newest.path,
    issued: root.issued,
    expires: root.expires,
    signers: Object.entries(root.signers).map(([id, { owner, notBefore, notAfter, succession }]) => ({
      id,
      owner,
      notBefore,
      notAfter,
      keys: (root.keysOf.get(id) ?? []).map(({ keyid, kind }) => ({
        keyid,
        kind,
        revoked: revoked.has(keyid),
        successorOf: succession?.from ?? null,
      })),
    })),
    roles: signingRoles(root.roles).map(([role, { signers, threshold, require = [] }]) => ({
      role,
      signers,
      threshold,
      require,
    })),
    authorities: root.authorities.map((it) => ({
      subject: printable(it.subject.replaceAll("\n", ", "), 200),
      fingerprint: digestOf(it.raw),
      validTo: it.validToDate.toISOString(),
    })),
    streams: root.streams,
    revoked: root.revoked,
    signed: [...new Set(rootKeysThatSigned(newest, root).map((it) => it.file))].sort(),
    lacking: lackingOf(newest, root, before),
  };
}

function lackingOf(file: TrustFile, root: TrustRoot, before: TrustFile | undefined): string | null {
  const older = before && parseTrust(before.bytes, before.path);
  const counts = [root, ...(older ? [older] : [])].map((it) => {
    const { threshold, require } = it.roles.root;
    const count = countSigners(rootKeysThatSigned(file, it, root.issued), require ?? []);
    return count < threshold ? `${threshold - count} of the root role of version ${it.version}` : undefined;
  });
  const missing = counts.filter((it) => it !== undefined);
  if (missing.length > 0) return `signatures: ${missing.join(" and ")}`;
  if (root.version > 1 && older === undefined) return `version ${root.version - 1} is not here: it cannot be compared`;
  try {
    if (older === undefined) verifyFirst(file);
    else verifyNext(file, older);
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    return error.message;
  }
  return null;
}

async function foundIn(dir: string): Promise<TrustFile[]> {
  const files = await readTrustFolder(dir);
  if (files.length > 0) return files;
  throw new AirferryError("ERR_NOT_FOUND", `cannot read a trust root in "${dir}": no trust.1.json there`, {
    path: dir,
    hint: `to make one: airferry trust init ${shellWord(dir)} --name SITE --add KEY.pub=OWNER`,
  });
}
