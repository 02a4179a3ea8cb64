/**
 * Whom a command trusts: the one place that turns `--trust` into keys. A value is a file of public keys, a file of a
 * trust root, or a trust root's fingerprint as typed from paper. A store's own trust root comes before all of them.
 * docs/format.md, "Trust root".
 */
import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { AirferryError, type Problem } from "../errors.ts";
import { type Digest, digestOf, parseHex } from "../io/digest.ts";
import { type KeyKind, parsePublicKeys, readKeyFile, TRUSTED, type TrustedKey } from "./keys.ts";
import { type StampReader, stampsOf } from "./stamp-reader.ts";
import type { Stamps } from "./timestamp.ts";
import { advance, refuseTwin, type StoredTrust, type TrustFile, trustNameOf, verifyFirst } from "./trust-chain.ts";
import { readTrustFolder } from "./trust-files.ts";
import { invalidTrust, type TrustRoot } from "./trust-root.ts";
import { checkThreshold, countSigners, type SignatureFile, type SumsVerdict, verifySums } from "./verify-sums.ts";

/** What was named with `--trust`, before anything of a trust root is checked. */
export interface TrustSource {
  /** Public keys; undefined with a trust root. */
  keys?: TrustedKey[];
  /** How many signers are needed with public keys. */
  threshold: number;
  /** Fingerprints of trust roots. */
  fingerprints: Digest[];
  /** The versions that were named by their files. */
  named: number[];
  /** These, and what is beside them. */
  files: TrustFile[];
}

/** Whom to trust. */
export interface SettledTrust {
  /** The keys that may sign, revoked ones too. */
  keys: TrustedKey[];
  /** How many distinct signers, or owners, are needed. */
  threshold: number;
  /** Kinds of keys that each of them must have signed with. */
  required: readonly KeyKind[];
  /** Absent: public keys were given. */
  root?: TrustRoot;
  /** Versions that are new to the store, in order. */
  accepted: TrustFile[];
}

/**
 * Reads what `--trust` names. No value at all is right only where a store has a trust root.
 * @param threshold of `--threshold`: for public keys only
 * @throws {AirferryError} ERR_USAGE, ERR_KEY_INVALID, ERR_NOT_FOUND, ERR_TRUST_INVALID, ERR_SIZE_LIMIT, ERR_IO
 */
export async function readTrust(values: readonly string[], threshold?: number): Promise<TrustSource> {
  const source: TrustSource = { threshold: checkThreshold(threshold), fingerprints: [], named: [], files: [] };
  const keys = new Map<string, TrustedKey>();
  for (const value of values) {
    const fingerprint = parseFingerprint(value);
    if (fingerprint !== undefined) {
      source.fingerprints.push(fingerprint);
      continue;
    }
    if (/^sha256:/i.test(value)) {
      const digits = value.slice("sha256:".length).replace(/[\s-]/g, "").length;
      throw new AirferryError("ERR_USAGE", `cannot read the fingerprint: expected 64 hex digits, got ${digits}`, {
        hint: "type all of it, in quotes if there are spaces: --trust 'sha256:…'",
      });
    }
    const folder = (await stat(value).catch(() => undefined))?.isDirectory() ? await readTrustFolder(value) : [];
    const newest = folder.findLast((it) => it.signatures.length > 0) ?? folder.at(-1);
    if (newest !== undefined) {
      name(source, newest.version, folder);
      continue;
    }
    // By its name, since what is there is opened as nothing else.
    const found = trustNameOf(basename(value));
    if (found !== undefined && found.keyid16 === undefined) {
      const beside = await readTrustFolder(dirname(value));
      if (beside.some((it) => it.version === found.version)) {
        name(source, found.version, beside);
        continue;
      }
    }
    const bytes = await readKeyFile(value, TRUSTED);
    if (bytes[0] === 0x7b) {
      throw invalidTrust(
        value,
        "its name says no version: expected trust.<number>.json, with the signatures beside it",
      );
    }
    for (const key of parsePublicKeys(bytes, value)) if (!keys.has(key.keyid)) keys.set(key.keyid, key);
  }
  const hasRoot = source.fingerprints.length + source.named.length > 0;
  if (keys.size > 0 && hasRoot) {
    throw new AirferryError("ERR_USAGE", "cannot trust public keys and a trust root together", {
      hint: "the trust root says which keys count: name it alone",
    });
  }
  if (threshold !== undefined && hasRoot) throw ownThreshold();
  if (keys.size > 0) source.keys = [...keys.values()];
  return source;
}

/** Adds a version and what is beside it, but drafts that nobody has signed yet. */
function name(source: TrustSource, version: number, folder: readonly TrustFile[]): void {
  source.named.push(version);
  const signed = folder.filter((it) => it.signatures.length > 0 || it.version === version);
  source.files = merged([...source.files, ...signed]);
}

function ownThreshold(): AirferryError {
  return new AirferryError("ERR_USAGE", "cannot use --threshold with a trust root: it says how many must sign", {
    hint: "leave out --threshold; airferry trust show DIR prints the thresholds",
  });
}

/** `sha256:` and 64 hex digits, in groups and in any case, as people type them; undefined for anything else. */
function parseFingerprint(text: string): Digest | undefined {
  const match = /^sha256:([0-9a-f\s-]{64,160})$/i.exec(text.trim());
  return parseHex((match?.[1] ?? "").replace(/[\s-]/g, "").toLowerCase());
}

/** One file for each version, with the signatures of all. @throws {AirferryError} ERR_EQUIVOCATION */
function merged(files: readonly TrustFile[]): TrustFile[] {
  const versions = new Map<number, TrustFile>();
  for (const file of files) {
    const known = versions.get(file.version);
    if (known === undefined) versions.set(file.version, file);
    else {
      refuseTwin(file, { version: known.version, digest: digestOf(known.bytes) });
      const more = file.signatures.filter((it) => known.signatures.every((one) => one.name !== it.name));
      versions.set(file.version, { ...known, signatures: [...known.signatures, ...more] });
    }
  }
  return [...versions.values()];
}

/**
 * Decides whom to trust, from what was named, what came with the bundle and what the store has: the newest version that
 * the one trusted first leads to.
 * @throws {AirferryError} ERR_FINGERPRINT, ERR_TRUST_SIGNATURES, ERR_TRUST_INVALID, ERR_TRUST_GAP, ERR_EQUIVOCATION,
 *   ERR_SIGNATURE_INVALID, ERR_USAGE
 */
export function settleTrust(source: TrustSource, carried: readonly TrustFile[], stored?: StoredTrust): SettledTrust {
  const { keys, threshold } = source;
  if (stored === undefined && keys !== undefined) return { keys, threshold, required: [], accepted: [] };
  if (keys !== undefined) {
    throw new AirferryError("ERR_USAGE", "cannot trust public keys here: the store has a trust root", {
      hint: "leave out --trust, and AIRFERRY_TRUST: the store's trust root says which keys count",
    });
  }
  if (stored !== undefined && threshold !== 1) throw ownThreshold();
  const files = merged([...source.files, ...carried]);
  const first = stored?.root ?? firstRoot(source, files);
  const digests = new Map(stored?.digests ?? [[first.version, first.digest]]);
  // No file of a version that is known can be another one, however old it is.
  for (const file of files) {
    const known = digests.get(file.version);
    if (known !== undefined) refuseTwin(file, { version: file.version, digest: known });
  }
  const { root, accepted } = advance(first, files);
  for (const it of accepted) digests.set(it.version, digestOf(it.bytes));
  const known = [...digests.values()];
  const odd = source.fingerprints.find((it) => !known.includes(it));
  if (odd !== undefined) throw otherFingerprint(odd, known.join(", "));
  const pinned = files.find((it) => stored === undefined && it.version === first.version);
  const { threshold: needed, signers, require = [] } = root.roles.release;
  return {
    keys: signers.flatMap((id) => root.keysOf.get(id) ?? []),
    threshold: needed,
    required: require,
    root,
    accepted: [...(pinned === undefined ? [] : [pinned]), ...accepted],
  };
}

/** The version that somebody compared on paper, or has on his own disk; of several the oldest leads to the others. */
function firstRoot({ fingerprints, named }: TrustSource, files: readonly TrustFile[]): TrustRoot {
  if (fingerprints.length + named.length === 0) {
    throw new AirferryError("ERR_USAGE", "cannot verify: no key to trust", {
      hint: "give --trust PUBLIC-KEY, or the fingerprint of a trust root",
    });
  }
  const isPinned = (it: TrustFile) => named.includes(it.version) || fingerprints.includes(digestOf(it.bytes));
  const first = files.toSorted((a, b) => a.version - b.version).find(isPinned);
  if (first !== undefined) return verifyFirst(first);
  const seen = files.map((it) => digestOf(it.bytes)).join(", ");
  throw otherFingerprint(fingerprints[0] ?? "sha256:", seen === "" ? "none" : seen);
}

function otherFingerprint(expected: string, actual: string): AirferryError {
  return new AirferryError(
    "ERR_FINGERPRINT",
    `cannot trust a trust root: no version has this fingerprint: expected ${expected}, got ${actual}`,
    {
      expected,
      actual,
      hint: "compare the paper with what its owner sees: airferry trust show DIR",
    },
  );
}

/**
 * Checks SHA256SUMS as {@link verifySums} does, with whom is trusted: signatures of revoked keys do not count, unless a
 * timestamp shows that they are older than the revocation, and an expired trust root lets nothing in. The time is the
 * reader's or a timestamp authority's, never the bundle's.
 * @param reader of timestamps; undefined: there are none
 */
export function judgeSums(
  sums: Uint8Array,
  signatures: readonly SignatureFile[],
  { keys, threshold, required, root }: SettledTrust,
  now: Date,
  reader?: StampReader,
): SumsVerdict & { stamped: Stamps } {
  const verdict = verifySums(sums, signatures, keys, threshold, required);
  const stamped = reader?.(signatures, verdict.signers) ?? { stamps: [], problems: [] };
  if (root === undefined) return { ...verdict, stamped };
  const problems: Problem[] = [...verdict.problems];
  const isRevoked = (keyid: string) =>
    root.revoked.some(
      ({ keyid: lost, from }) =>
        lost === keyid &&
        Date.parse(from) <= now.getTime() &&
        !stampsOf(stamped, keyid).some((it) => Date.parse(it) < Date.parse(from)),
    );
  const signers = verdict.signers.filter((it) => !isRevoked(it));
  const count = countSigners(
    keys.filter((it) => signers.includes(it.keyid)),
    required,
  );
  if (count < threshold) {
    const lost = keys.filter((it) => verdict.signers.includes(it.keyid) && isRevoked(it.keyid));
    for (const { keyid, keyid16, file } of lost) {
      const entry = root.revoked.find((it) => it.keyid === keyid);
      const message = `signed by ${file}'s key ${keyid16}, which is revoked since ${entry?.from}: ${entry?.reason}`;
      problems.unshift({ code: "ERR_KEY_REVOKED", path: "signatures", message });
    }
    if (verdict.count >= threshold) {
      const message = `too few trusted signers: expected ${threshold} distinct owners, got ${count}`;
      problems.push({ code: "ERR_THRESHOLD", path: "signatures", message });
    }
  }
  if (now.getTime() > Date.parse(root.expires)) {
    const message = `the trust root "${root.name}" version ${root.version} has expired: it was good until ${root.expires}`;
    problems.unshift({ code: "ERR_TRUST_EXPIRED", path: "trust root", message });
  }
  return { ...verdict, signers, count, problems, stamped };
}
