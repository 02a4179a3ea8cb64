/**
 * Decides whether a bundle's SHA256SUMS is signed by enough trusted keys. Every signature file is checked, needed or
 * not: a damaged one is a problem even when others suffice. Keys are counted by value (canonical SPKI), never by file
 * name. See docs/format.md, "Signatures", and the threat table's "duplicate key" row.
 */
import { createHash } from "node:crypto";
import { AirferryError, type Problem } from "../errors.ts";
import { isPostQuantum, type KeyKind, type PostQuantumKind, type TrustedKey } from "./keys.ts";
import { isSignatureOf } from "./signature.ts";
import { MAX_SIGNATURE_BYTES, parseSignatureBundle, type SignatureBundle } from "./sigstore-bundle.ts";

/** Most signature files of one bundle: 64 signers. */
export const MAX_SIGNATURE_FILES = 128;

/** The pair, a post-quantum key's, or another kind that later versions know, which is ignored. */
const FILE_NAME = /^([0-9a-f]{16})\.(sigstore\.json|sig|(?!sig\.|sigstore\.)[a-z0-9][a-z0-9.]{0,31})$/;
/** Bytes of a signature. */
const POST_QUANTUM_BYTES = { mldsa65: 3309, mldsa87: 4627 } as const;

/** One file of `signatures/`: its name there, and all its bytes. */
export interface SignatureFile {
  name: string;
  bytes: Uint8Array;
  /** Its medium, if there are several: a pair is on one. */
  medium?: string;
}

/** The result of {@link verifySums}. */
export interface SumsVerdict {
  /** keyids of the distinct trusted keys with a good signature, sorted. */
  signers: string[];
  /** How many distinct signers count: of the keys of one signer all that are required have signed. */
  count: number;
  /** keyid16 of signers without a trusted key, sorted: their signatures cannot be checked. */
  untrusted: string[];
  /** Empty exactly when the sums may be trusted. Paths start with `signatures/`. */
  problems: Problem[];
}

/**
 * Checks SHA256SUMS against all its signature files. Never throws for the content of the files.
 *
 * Codes: ERR_SIGNATURE_MISSING (no signature, or half of a pair), ERR_SIGNATURE_INVALID (broken, over other bytes, the
 * two files of a pair disagree, or a name that is not its key's), ERR_KEY_UNTRUSTED (too few signers are trusted and
 * this one is not; without its key its signature cannot be checked), ERR_THRESHOLD, ERR_BUNDLE_EXTRA, ERR_SIZE_LIMIT.
 * @param threshold how many distinct signers must have signed, at least 1
 * @param required kinds of keys with each of which a signer must have signed to count; empty: any key will do
 */
export function verifySums(
  sums: Uint8Array,
  signatures: readonly SignatureFile[],
  trusted: readonly TrustedKey[],
  threshold: number,
  required: readonly KeyKind[] = [],
): SumsVerdict {
  const problems: Problem[] = [];
  const { pairs, postQuantum } = sortFiles(signatures, problems);
  const signers = new Set<string>();
  const strangers = new Set<string>();
  for (const pair of pairs) {
    const outcome = checkPair(sums, pair.keyid16, pair, trusted, problems);
    if (outcome === "untrusted") strangers.add(pair.keyid16);
    else if (outcome) signers.add(outcome);
  }
  for (const file of postQuantum) {
    const outcome = checkPostQuantum(sums, file, trusted, problems);
    if (outcome === "untrusted") strangers.add(file.keyid16);
    else if (outcome) signers.add(outcome);
  }
  const count = countSigners(
    trusted.filter((it) => signers.has(it.keyid)),
    required,
  );
  const untrusted = [...strangers].sort();
  const needed = Math.max(1, threshold);
  if (pairs.length + postQuantum.length === 0 && problems.length === 0) {
    problems.push({ code: "ERR_SIGNATURE_MISSING", path: "signatures", message: "the bundle is not signed" });
  } else if (count < needed) {
    for (const keyid16 of untrusted) problems.push(untrustedProblem(keyid16, trusted));
    // One missing signer that is already explained needs no second line.
    if (needed > 1 || problems.length === 0) {
      const each = required.length === 0 ? "" : `, each with keys of the kinds ${required.join(" and ")}`;
      const message = `too few trusted signers: expected ${needed} distinct keys${each}, got ${count}`;
      problems.push({ code: "ERR_THRESHOLD", path: "signatures", message });
    }
  }
  return { signers: [...signers].sort(), count, untrusted, problems };
}

/** How many distinct signers these keys are of, those with a key of every required kind. */
export function countSigners(keys: readonly TrustedKey[], required: readonly KeyKind[]): number {
  const kinds = new Map<string, Set<KeyKind>>();
  for (const { signer, kind } of keys) kinds.set(signer, (kinds.get(signer) ?? new Set<KeyKind>()).add(kind));
  return [...kinds.values()].filter((it) => required.every((kind) => it.has(kind))).length;
}

interface Pair {
  keyid16: string;
  medium: string | undefined;
  bundle?: SignatureBundle | "broken";
  raw?: Buffer;
}

/** A file of a post-quantum key: it has no second one. */
interface PostQuantumFile extends SignatureFile {
  keyid16: string;
  kind: PostQuantumKind;
}

/**
 * Sorts the files into pairs by medium and keyid16, and those of post-quantum keys, recording foreign files, broken
 * files and incomplete pairs.
 */
function sortFiles(
  files: readonly SignatureFile[],
  problems: Problem[],
): { pairs: Pair[]; postQuantum: PostQuantumFile[] } {
  const pairs = new Map<string, Pair>();
  const postQuantum: PostQuantumFile[] = [];
  const counts = new Map<string | undefined, number>();
  for (const { medium } of files) counts.set(medium, (counts.get(medium) ?? 0) + 1);
  const most = Math.max(0, ...counts.values());
  if (most > MAX_SIGNATURE_FILES) {
    const message = `too many signature files: expected at most ${MAX_SIGNATURE_FILES}, got ${most}`;
    problems.push({ code: "ERR_SIZE_LIMIT", path: "signatures", message });
    return { pairs: [], postQuantum };
  }
  for (const { name, bytes, medium } of files) {
    const path = `signatures/${name}`;
    const [, keyid16, kind] = FILE_NAME.exec(name) ?? [];
    if (keyid16 === undefined) {
      const message = "not a signature file: expected 16 hex digits, a dot, and lower-case letters, digits and dots";
      problems.push({ code: "ERR_BUNDLE_EXTRA", path, message });
      continue;
    }
    if (kind === "mldsa65.sig" || kind === "mldsa87.sig") {
      postQuantum.push({
        name,
        bytes,
        keyid16,
        kind: kind === "mldsa65.sig" ? "mldsa65" : "mldsa87",
        ...(medium !== undefined && { medium }),
      });
      continue;
    }
    if (kind !== "sig" && kind !== "sigstore.json") continue;
    const id = `${keyid16} ${medium ?? ""}`;
    const pair: Pair = pairs.get(id) ?? { keyid16, medium };
    pairs.set(id, pair);
    if (kind === "sig") {
      pair.raw = Buffer.from(bytes);
      if (bytes.length > MAX_SIGNATURE_BYTES) {
        problems.push({ code: "ERR_SIZE_LIMIT", path, message: `signature too large: ${bytes.length} bytes` });
        pair.raw = Buffer.alloc(0);
      }
      continue;
    }
    try {
      pair.bundle = parseSignatureBundle(bytes, path);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      pair.bundle = "broken";
      problems.push({ code: error.code, path, message: error.message });
    }
  }
  for (const { keyid16, ...pair } of pairs.values()) {
    const missing = pair.raw === undefined ? "sig" : pair.bundle === undefined ? "sigstore.json" : undefined;
    if (missing === undefined) continue;
    const message = "half of the pair is missing: every signer has a .sigstore.json and a .sig";
    problems.push({ code: "ERR_SIGNATURE_MISSING", path: `signatures/${keyid16}.${missing}`, message });
  }
  return { pairs: [...pairs.values()], postQuantum };
}

/** As {@link checkPair}. */
function checkPostQuantum(
  sums: Uint8Array,
  { name, bytes, keyid16, kind, medium }: PostQuantumFile,
  trusted: readonly TrustedKey[],
  problems: Problem[],
): string | undefined {
  const invalid = (fault: string) => {
    const place = medium === undefined ? "" : ` (in "${medium}")`;
    problems.push({ code: "ERR_SIGNATURE_INVALID", path: `signatures/${name}`, message: `${fault}${place}` });
    return undefined;
  };
  if (bytes.length !== POST_QUANTUM_BYTES[kind]) {
    return invalid(`not a signature: expected ${POST_QUANTUM_BYTES[kind]} bytes, got ${bytes.length}`);
  }
  const key = trusted.find((it) => it.keyid16 === keyid16);
  if (key !== undefined && key.kind !== kind) return invalid(`key ${key.keyid} (${key.file}) is of kind ${key.kind}`);
  if (key !== undefined) {
    if (isSignatureOf(sums, bytes, key.publicKey, kind)) return key.keyid;
    return invalid(`not a signature by key ${key.keyid} (${key.file}) over this SHA256SUMS`);
  }
  const maker = trusted.find((it) => it.kind === kind && isSignatureOf(sums, bytes, it.publicKey, kind));
  if (maker) return invalid(`named for key ${keyid16} but made by key ${maker.keyid16} (${maker.file})`);
  return "untrusted";
}

/** Returns the keyid of the trusted signer, "untrusted", or undefined when a problem was recorded. */
function checkPair(
  sums: Uint8Array,
  keyid16: string,
  { bundle, raw, medium }: Pair,
  trusted: readonly TrustedKey[],
  problems: Problem[],
): string | undefined {
  if (bundle === undefined || bundle === "broken" || raw === undefined) return undefined;
  const path = `signatures/${keyid16}.sigstore.json`;
  const invalid = (message: string, where = path) => {
    const place = medium === undefined ? "" : ` (in "${medium}")`;
    problems.push({ code: "ERR_SIGNATURE_INVALID", path: where, message: `${message}${place}` });
    return undefined;
  };
  if (!raw.equals(bundle.signature)) {
    return invalid("differs from the signature in its .sigstore.json", `signatures/${keyid16}.sig`);
  }
  const { messageDigest, hint, signature } = bundle;
  if (messageDigest) {
    const actual = createHash(messageDigest.algorithm === "SHA2_256" ? "sha256" : "sha384")
      .update(sums)
      .digest();
    if (!actual.equals(messageDigest.digest)) {
      const expected = messageDigest.digest.toString("hex");
      return invalid(`made over another SHA256SUMS: expected digest ${expected}, got ${actual.toString("hex")}`);
    }
  }
  const digests = messageDigest ? [messageDigest.algorithm] : undefined;
  const key = trusted.find((it) => it.keyid16 === keyid16);
  if (key !== undefined && isPostQuantum(key.kind))
    return invalid(`key ${key.keyid} (${key.file}) signs no pair of files`);
  if (hint !== undefined) {
    const hinted = Buffer.from(hint, "base64").toString("hex");
    if (key ? hinted !== key.keyid : !hinted.startsWith(keyid16)) {
      return invalid(`named for key ${keyid16} but its hint says ${hinted}`);
    }
  }
  if (key) {
    // Only Ed25519 signs without a separate digest (as written by cosign).
    if (!messageDigest && key.kind !== "ed25519") return invalid("it has no messageDigest");
    if (isSignatureOf(sums, signature, key.publicKey, key.kind, digests)) return key.keyid;
    return invalid(`not a signature by key ${key.keyid} (${key.file}) over this SHA256SUMS`);
  }
  const maker = trusted.find((it) => isSignatureOf(sums, signature, it.publicKey, it.kind));
  if (maker) return invalid(`named for key ${keyid16} but made by key ${maker.keyid16} (${maker.file})`);
  return "untrusted";
}

function untrustedProblem(keyid16: string, trusted: readonly TrustedKey[]): Problem {
  const known = trusted.length === 0 ? "none" : trusted.map((it) => it.keyid16).join(", ");
  return {
    code: "ERR_KEY_UNTRUSTED",
    path: `signatures/${keyid16}.sigstore.json`,
    message: `signed by key ${keyid16}, which is not trusted here (trusted: ${known}); the signature cannot be checked without it`,
  };
}

/** Returns how many distinct trusted keys must have signed; default 1. @throws {AirferryError} ERR_USAGE */
export function checkThreshold(threshold = 1): number {
  if (Number.isSafeInteger(threshold) && threshold >= 1) return threshold;
  throw new AirferryError("ERR_USAGE", `cannot verify: threshold ${threshold}: expected a whole number from 1`);
}
