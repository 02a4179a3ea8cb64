/**
 * Checks OpenPGP signatures over bytes or streams: RPM headers, repomd.xml.asc, checksum files. node:crypto does the
 * arithmetic while the data streams by, so versions 3, 4 and 6 share one path; the keyring decides which keys count.
 * Policy: one good signature by a key of the ring is enough; signatures by unknown keys or algorithms are ignored. See
 * RFC 9580 section 5.2.4.
 */
import { createHash, createVerify, type Hash, type KeyObject, type Verify, verify } from "node:crypto";
import { readCleartextMessage } from "openpgp";
import { AirferryError } from "../errors.ts";
import { HASH_NAMES } from "./openpgp-hashes.ts";
import { type FoundKey, findKeys, type OpenPgpKeyring } from "./openpgp-keyring.ts";
import { dearmorAll, type ParsedSignature, readSignatures } from "./openpgp-packets.ts";
import { publicKeyOf, signatureOf } from "./openpgp-public-key.ts";

/** Most signatures checked for one message. */
const MAX_SIGNATURES = 64;

/** The known facts about one signature. Hex is upper-case; `time` is RFC 3339, as claimed by the signer. */
interface OpenPgpSignatureInfo {
  /** Fingerprint of the primary key. Empty while the key is unknown. */
  fingerprint: string;
  /** Id of the key or subkey that signed; empty when the packet does not say or cannot be read. */
  keyid: string;
  time: string;
}

/** Outcome over all signature packets. */
export interface OpenPgpVerdict {
  /** Correct, by keys of the ring, and made while the key was valid. */
  good: OpenPgpSignatureInfo[];
  /** By keys of the ring, but wrong, or with a key that was revoked or expired at the time. */
  bad: (OpenPgpSignatureInfo & { reason: string })[];
  /** By keys that are not in the ring, or with algorithms that are unknown or too weak to count. */
  unknown: (OpenPgpSignatureInfo & { reason: string })[];
}

/** How strict to be. */
interface OpenPgpVerifyOptions {
  /** Also count SHA-1, RSA under 2048 bits and DSA-1024: for old repositories that use nothing else. Default: false. */
  legacy?: boolean | undefined;
  /** Time to check signature expiry against; default: now. */
  now?: Date | undefined;
}

const MISMATCH = "the signature does not match the data";
const TOO_WEAK = "is too weak to count";
const CHECK_KEYS = "check keys: and fingerprints: in the manifest against what the project publishes";

/**
 * Checks every signature packet (binary, concatenated) against the data. The data is read once, and not at all when no
 * signature could count.
 * @throws only what reading `data` throws
 */
export async function verifyOpenPgpSignature(
  data: Uint8Array | AsyncIterable<Uint8Array>,
  signaturePackets: Uint8Array,
  keyring: OpenPgpKeyring,
  options: OpenPgpVerifyOptions = {},
): Promise<OpenPgpVerdict> {
  const verdict: OpenPgpVerdict = { good: [], bad: [], unknown: [] };
  const unreadable = (reason: string) => verdict.unknown.push({ fingerprint: "", keyid: "", time: "", reason });
  const signatures = readSignatures(signaturePackets, unreadable);
  if (signatures.length > MAX_SIGNATURES) unreadable(`more than ${MAX_SIGNATURES} signatures`);
  const checks: Check[][] = [];
  for (const signature of signatures.slice(0, MAX_SIGNATURES)) {
    checks.push(await prepare(signature, keyring, options, verdict));
  }
  const all = checks.flat();
  if (all.length > 0) await feed(data, all);
  for (const candidates of checks) conclude(candidates, verdict);
  return verdict;
}

interface Check {
  signature: ParsedSignature;
  found: FoundKey;
  update(chunk: Uint8Array): void;
  finish(): boolean;
}

/** Key ids are short enough to collide: the matching key is the signer, and the others mean nothing. */
function conclude(candidates: readonly Check[], verdict: OpenPgpVerdict): void {
  const outcomes = candidates.map(({ signature, found, finish }) => ({
    info: infoOf(signature, found),
    fault: finish() ? found.fault : MISMATCH,
  }));
  const fitting = outcomes.filter((it) => it.fault !== MISMATCH);
  for (const { info, fault } of fitting.length > 0 ? fitting : outcomes) {
    if (fault === undefined) verdict.good.push(info);
    else verdict.bad.push({ ...info, reason: fault });
  }
}

function infoOf(signature: ParsedSignature, found?: FoundKey): OpenPgpSignatureInfo {
  const { keyid, created } = signature;
  return { fingerprint: found?.owner.fingerprint ?? "", keyid, time: created.toISOString().replace(".000Z", "Z") };
}

/**
 * Returns a check for each key that may have made the signature; outcomes that do not need the data are added to
 * `verdict`.
 */
async function prepare(
  signature: ParsedSignature,
  keyring: OpenPgpKeyring,
  { legacy = false, now = new Date() }: OpenPgpVerifyOptions,
  verdict: OpenPgpVerdict,
): Promise<Check[]> {
  const unknown = (reason: string, found?: FoundKey) => {
    verdict.unknown.push({ ...infoOf(signature, found), reason });
    return [];
  };
  if (signature.type !== 0 && signature.type !== 1)
    return unknown(`a signature of type ${signature.type}, not over data`);
  const hash = HASH_NAMES[signature.hash];
  if (hash === undefined) return unknown(`hash algorithm ${signature.hash} is unknown or broken`);
  if (hash === "sha1" && !legacy) return unknown(`SHA-1 ${TOO_WEAK}`);
  const candidates = await findKeys(keyring, signature.keyid, signature.created);
  if (candidates.length === 0) {
    return unknown(signature.keyid ? `key ${signature.keyid} is not among the keys` : "it does not name its key");
  }
  const checks: Check[] = [];
  for (const found of candidates) {
    const key = publicKeyOf(found.packet);
    if (!key) {
      unknown(`public key algorithm ${signature.algorithm} is not supported`, found);
      continue;
    }
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 4096;
    if (bits < 2048 && !legacy) {
      unknown(`a ${bits}-bit ${key.asymmetricKeyType} key ${TOO_WEAK}`, found);
      continue;
    }
    const fault = timeFault(signature, now);
    if (fault !== undefined) {
      checks.push(checkOf(signature, { ...found, fault: found.fault ?? fault }, key, hash));
    } else {
      checks.push(checkOf(signature, found, key, hash));
    }
  }
  return checks;
}

/** Clocks may differ; a signature dated later than this is not valid yet, or the clock here is wrong. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000;

function timeFault({ created, expires }: ParsedSignature, now: Date): string | undefined {
  if (expires && now >= expires) return `the signature expired on ${expires.toISOString()}`;
  if (created.getTime() <= now.getTime() + MAX_AHEAD_MS) return undefined;
  return `the signature is from the future (${created.toISOString()}; here it is ${now.toISOString()}: is this clock right?)`;
}

function checkOf(signature: ParsedSignature, found: FoundKey, key: KeyObject, hash: string): Check {
  const value = signatureOf(signature, found.packet.algorithm as number, key);
  const isEdwards = key.asymmetricKeyType === "ed25519" || key.asymmetricKeyType === "ed448";
  const engine: Hash | Verify = isEdwards ? createHash(hash) : createVerify(hash);
  engine.update(signature.salt);
  const lines = signature.type === 1 ? new LineEnds() : undefined;
  return {
    signature,
    found,
    update: (chunk) => {
      engine.update(lines ? lines.canonical(chunk) : chunk);
    },
    finish: () => {
      if (!value) return false;
      engine.update(signature.trailer);
      try {
        if ("digest" in engine) return verify(null, engine.digest(), key, value);
        return engine.verify({ key, dsaEncoding: "ieee-p1363" }, value);
      } catch {
        return false;
      }
    },
  };
}

/** Converts lone LF to CRLF, across chunks: the form that text signatures cover. */
class LineEnds {
  #endedInCr = false;

  canonical(chunk: Uint8Array): Uint8Array {
    const text = Buffer.from(chunk).toString("latin1");
    const first = this.#endedInCr && text.startsWith("\n") ? "\n" : "";
    this.#endedInCr = text.endsWith("\r") || (text === "" && this.#endedInCr);
    return Buffer.from(first + text.slice(first.length).replace(/(?<!\r)\n/g, "\r\n"), "latin1");
  }
}

async function feed(data: Uint8Array | AsyncIterable<Uint8Array>, checks: readonly Check[]): Promise<void> {
  if (data instanceof Uint8Array) {
    for (const check of checks) check.update(data);
    return;
  }
  for await (const chunk of data) for (const check of checks) check.update(chunk);
}

/** Checks a detached signature file, ASCII-armored (one or several blocks) or binary, over `data`. */
export async function verifyDetached(
  data: Uint8Array | AsyncIterable<Uint8Array>,
  signature: Uint8Array,
  keyring: OpenPgpKeyring,
  options: OpenPgpVerifyOptions = {},
): Promise<OpenPgpVerdict> {
  const skipped: string[] = [];
  const blocks = await dearmorAll(signature, "SIGNATURE", (reason) => skipped.push(reason));
  const verdict = await verifyOpenPgpSignature(data, Buffer.concat(blocks), keyring, options);
  for (const reason of skipped) verdict.unknown.push({ fingerprint: "", keyid: "", time: "", reason });
  return verdict;
}

/**
 * Checks a clear-signed file and returns the text that the signatures cover, lines ending in LF: nothing outside of it
 * may be trusted.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when it is not one well-formed clear-signed message; `path` names it
 */
export async function verifyClearsigned(
  bytes: Uint8Array,
  keyring: OpenPgpKeyring,
  path: string,
  options: OpenPgpVerifyOptions = {},
): Promise<OpenPgpVerdict & { text: string }> {
  const { text, packets } = await readClearsigned(bytes, path);
  const signed = Buffer.from(text.replace(/\n/g, "\r\n"), "utf8");
  return { ...(await verifyOpenPgpSignature(signed, packets, keyring, options)), text: `${text}\n` };
}

/** Returns the text (LF, no final line end) and signature packets of a clear-signed file, without checks. */
export async function readClearsigned(bytes: Uint8Array, path: string): Promise<{ text: string; packets: Uint8Array }> {
  try {
    const source = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (source.split("-----BEGIN PGP SIGNED MESSAGE-----").length !== 2) throw new Error("it has several messages");
    const message = await readCleartextMessage({ cleartextMessage: source });
    const blocks = await dearmorAll(signatureBlock(source), "SIGNATURE", () => {});
    return { text: message.getText(), packets: Buffer.concat(blocks) };
  } catch (cause) {
    const fault = (cause as Error).message;
    throw new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${path}": not a clear-signed text: ${fault}`, {
      path,
      cause,
    });
  }
}

function signatureBlock(source: string): Uint8Array {
  return Buffer.from(source.slice(source.lastIndexOf("-----BEGIN PGP SIGNATURE-----")), "utf8");
}

/**
 * Returns the distinct fingerprints of the good signatures, sorted.
 * @param about added after the path in the message: how many bytes, for which artifact
 * @param weak the hint if a key of the ring signed, but too weakly to count
 * @throws {AirferryError} ERR_UPSTREAM_SIGNATURE naming `path`, every signature and why it does not count, when none is
 *   good
 */
export function requireGoodSignature(
  verdict: OpenPgpVerdict,
  keyring: OpenPgpKeyring,
  path: string,
  about?: string,
  weak?: string,
): string[] {
  const good = [...new Set(verdict.good.map((it) => it.fingerprint))].sort();
  if (good.length > 0) return good;
  const faults = [...verdict.bad, ...verdict.unknown].map((it) => `${it.keyid || "?"}: ${it.reason}`);
  const expected = keyring.keys.map((it) => it.fingerprint).join(", ");
  const actual = faults.join("; ") || "no signature";
  const what = about === undefined ? `"${path}"` : `"${path}" (${about})`;
  const isWeak = verdict.unknown.some(
    ({ keyid, reason }) => reason.endsWith(TOO_WEAK) && keyring.keys.some((it) => it.keyids.includes(keyid)),
  );
  throw new AirferryError(
    "ERR_UPSTREAM_SIGNATURE",
    `cannot verify ${what}: no good OpenPGP signature: expected one by ${expected}, got ${actual}`,
    {
      path,
      expected,
      actual,
      hint: (isWeak ? weak : undefined) ?? CHECK_KEYS,
    },
  );
}
