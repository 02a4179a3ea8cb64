/**
 * The signatures of trust roots, and how one version follows another: version n+1 counts with the thresholds of version
 * n and of itself. A signature is checked before what it is over is parsed. docs/format.md, "Trust root".
 */
import { createHash } from "node:crypto";
import { AirferryError, type Problem } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { isPostQuantum, type TrustedKey } from "./keys.ts";
import { isSignatureOf } from "./signature.ts";
import { parseSignatureBundle } from "./sigstore-bundle.ts";
import { invalidTrust, parseTrust, type RoleName, type Succession, type TrustRoot } from "./trust-root.ts";
import { countSigners, type SignatureFile } from "./verify-sums.ts";

/** One version as found: nothing of it is trusted. */
export interface TrustFile {
  /** In its name. */
  version: number;
  /** For messages. */
  path: string;
  bytes: Buffer;
  signatures: SignatureFile[];
}

/** A store's trust root: the newest that it accepted, and the digests of all versions that it has. */
export interface StoredTrust {
  root: TrustRoot;
  digests: ReadonlyMap<number, Digest>;
}

/** Most versions that are read of one place. */
export const MAX_TRUST_VERSIONS = 1000;
/** Most signatures of one version. */
export const MAX_ROOT_SIGNATURES = 128;

const FILE = /^trust\.([1-9][0-9]{0,8})\.json$/;
const SIGNATURE = /^trust\.([1-9][0-9]{0,8})\.([0-9a-f]{16})\.(?:sigstore\.json|mldsa65\.sig|mldsa87\.sig)$/;

/** Name of the file of a version. */
export function trustName(version: number): string {
  return `trust.${version}.json`;
}

/** Which version a name is of, and whose signature it is, if it is one; undefined for other names. */
export function trustNameOf(name: string): { version: number; keyid16?: string } | undefined {
  const file = FILE.exec(name);
  if (file) return { version: Number(file[1]) };
  const [, version, keyid16] = SIGNATURE.exec(name) ?? [];
  return version === undefined || keyid16 === undefined ? undefined : { version: Number(version), keyid16 };
}

/** Name of a key's signature over a version. */
export function trustSignatureName(version: number, key: Pick<TrustedKey, "keyid16" | "kind">): string {
  return `trust.${version}.${key.keyid16}.${isPostQuantum(key.kind) ? `${key.kind}.sig` : "sigstore.json"}`;
}

/** The keys of a role that are not revoked. */
export function keysOfRole(root: TrustRoot, role: RoleName): TrustedKey[] {
  const revoked = new Set(root.revoked.map((it) => it.keyid));
  const signers = root.roles[role]?.signers ?? [];
  return signers.flatMap((id) => root.keysOf.get(id) ?? []).filter((it) => !revoked.has(it.keyid));
}

/**
 * The keys of a root role that signed a version; `issued` leaves out those of signers who may not sign at that time.
 * @throws {AirferryError} ERR_SIGNATURE_INVALID for a file in a key's name that is not its signature
 */
export function rootKeysThatSigned(file: TrustFile, root: TrustRoot, issued?: string): TrustedKey[] {
  return keysOfRole(root, "root").filter((key) => {
    const name = trustSignatureName(file.version, key);
    const found = file.signatures.find((it) => it.name === name);
    if (found === undefined) return false;
    if (!isSignedBy(file.bytes, found, key)) {
      throw new AirferryError(
        "ERR_SIGNATURE_INVALID",
        `cannot trust "${file.path}": "${name}" is no signature by ${key.file}'s key over it`,
        { path: name, hint: "get the file and its signatures again from the holders of the root keys" },
      );
    }
    const signer = root.signers[key.file];
    return issued === undefined || (signer !== undefined && signer.notBefore <= issued && issued <= signer.notAfter);
  });
}

function isSignedBy(bytes: Uint8Array, { name, bytes: signature }: SignatureFile, key: TrustedKey): boolean {
  if (isPostQuantum(key.kind)) return isSignatureOf(bytes, signature, key.publicKey, key.kind);
  const bundle = parseSignatureBundle(signature, name);
  const { messageDigest, hint } = bundle;
  if (hint !== undefined && Buffer.from(hint, "base64").toString("hex") !== key.keyid) return false;
  if (messageDigest?.algorithm === "SHA2_384" && key.kind !== "p384") return false;
  if (messageDigest === undefined && key.kind !== "ed25519") return false;
  if (messageDigest !== undefined) {
    const algorithm = messageDigest.algorithm === "SHA2_256" ? "sha256" : "sha384";
    if (!createHash(algorithm).update(bytes).digest().equals(messageDigest.digest)) return false;
  }
  return isSignatureOf(bytes, bundle.signature, key.publicKey, key.kind, messageDigest && [messageDigest.algorithm]);
}

/**
 * Checks a first version, of which somebody compared the fingerprint: its own root role must have signed it.
 * @throws {AirferryError} ERR_TRUST_INVALID, ERR_TRUST_SIGNATURES, ERR_SIGNATURE_INVALID
 */
export function verifyFirst(file: TrustFile): TrustRoot {
  const root = parseNumbered(file);
  requireThreshold(file, root, root.issued, "its own root role");
  return root;
}

/**
 * Checks the version after a trusted one. Nothing of it is parsed before the root role of that one has signed it.
 * @throws {AirferryError} ERR_TRUST_INVALID, ERR_TRUST_SIGNATURES, ERR_SIGNATURE_INVALID
 */
export function verifyNext(file: TrustFile, before: TrustRoot): TrustRoot {
  requireThreshold(file, before, undefined, `the root role of version ${before.version}`);
  const root = parseNumbered(file);
  requireThreshold(file, before, root.issued, `the root role of version ${before.version}`);
  requireThreshold(file, root, root.issued, "its own root role");
  const fault = followsFault(root, before);
  if (fault !== undefined) throw invalidTrust(file.path, fault);
  return root;
}

/**
 * Follows all versions after a trusted one, in order; older ones are left alone.
 * @throws {AirferryError} ERR_TRUST_GAP when one in between is missing; as {@link verifyNext}; ERR_EQUIVOCATION when
 *   there is another file of the trusted version
 */
export function advance(root: TrustRoot, files: readonly TrustFile[]): { root: TrustRoot; accepted: TrustFile[] } {
  const accepted: TrustFile[] = [];
  let newest = root;
  for (const file of files.toSorted((a, b) => a.version - b.version)) {
    if (file.version < newest.version) continue;
    if (file.version === newest.version) {
      refuseTwin(file, newest);
      continue;
    }
    if (file.version > newest.version + 1) throw gap(file, newest.version);
    newest = verifyNext(file, newest);
    accepted.push(file);
  }
  return { root: newest, accepted };
}

/** @throws {AirferryError} ERR_EQUIVOCATION when a file is not the version that is trusted */
export function refuseTwin(file: TrustFile, { version, digest }: Pick<TrustRoot, "version" | "digest">): void {
  const actual = `sha256:${createHash("sha256").update(file.bytes).digest("hex")}`;
  if (actual === digest) return;
  throw new AirferryError(
    "ERR_EQUIVOCATION",
    `cannot trust "${file.path}": it is another version ${version} than the trusted one: expected ${digest}, got ${actual}`,
    {
      path: file.path,
      expected: digest,
      actual,
      hint: "two different trust roots have one version: find out why before anything else is imported",
    },
  );
}

function gap(file: TrustFile, version: number): AirferryError {
  return new AirferryError(
    "ERR_TRUST_GAP",
    `cannot trust "${file.path}": the versions between it and the trusted one are missing: expected version ${version + 1}, got ${file.version}`,
    {
      path: file.path,
      expected: trustName(version + 1),
      actual: trustName(file.version),
      hint: `put ${trustName(version + 1)} and its signatures beside it; every version is signed by the one before`,
    },
  );
}

function parseNumbered(file: TrustFile): TrustRoot {
  const root = parseTrust(file.bytes, file.path);
  if (root.version === file.version) return root;
  throw invalidTrust(file.path, `it is version ${root.version}: expected ${file.version}, as in its name`);
}

function requireThreshold(file: TrustFile, root: TrustRoot, issued: string | undefined, whose: string): void {
  const { threshold, require = [] } = root.roles.root;
  const count = countSigners(rootKeysThatSigned(file, root, issued), require);
  if (count >= threshold) return;
  throw new AirferryError(
    "ERR_TRUST_SIGNATURES",
    `cannot trust "${file.path}": too few signatures of ${whose}: expected ${threshold} distinct owners, got ${count}`,
    {
      path: file.path,
      expected: String(threshold),
      actual: String(count),
      hint: "have the holders of the root keys run: airferry trust sign DIR --key FILE",
    },
  );
}

/** What may not change from one version to the next. */
function followsFault(root: TrustRoot, before: TrustRoot): string | undefined {
  if (root.name !== before.name) return `it is of "${root.name}": expected "${before.name}"`;
  if (root.issued < before.issued) return `issued ${root.issued}, before version ${before.version}: ${before.issued}`;
  for (const { keyid, from } of before.revoked) {
    const now = root.revoked.find((it) => it.keyid === keyid);
    if (now === undefined || now.from > from) return `it takes back the revocation of key ${keyid}`;
  }
  for (const [id, { succession }] of Object.entries(root.signers)) {
    if (succession === undefined) continue;
    const earlier = before.signers[id];
    const isKept =
      JSON.stringify(earlier?.succession) === JSON.stringify(succession) &&
      JSON.stringify(earlier?.keys) === JSON.stringify(root.signers[id]?.keys);
    const old = before.keysOf.get(id)?.find((it) => it.keyid === succession.from);
    if (!isKept && (old === undefined || !isSuccession(succession, old, root.keysOf.get(id) ?? []))) {
      return `signers.${id}.succession: not signed by a key that ${id} had`;
    }
  }
  return undefined;
}

/** What an old key signs to name its successors. */
export function successionText(
  { from, at }: Omit<Succession, "signature">,
  keys: readonly { keyid: string }[],
): Buffer {
  const successors = keys.map((it) => it.keyid).toSorted();
  return Buffer.from(
    `airferry succession v1\nfrom ${from}\n${successors.map((it) => `to ${it}\n`).join("")}at ${at}\n`,
  );
}

/** Whether a succession is signed by this old key and names exactly these keys. */
function isSuccession(it: Succession, old: TrustedKey, keys: readonly TrustedKey[]): boolean {
  return isSignatureOf(successionText(it, keys), Buffer.from(it.signature, "base64"), old.publicKey, old.kind);
}

/** The findings of an error, for reports. */
export function problemsOf(error: AirferryError): Problem[] {
  return error.problems.length > 0
    ? [...error.problems]
    : [{ code: error.code, path: error.path ?? "", message: error.message }];
}
