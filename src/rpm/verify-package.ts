/**
 * Trust in one RPM: header digests, payload digest, and signatures of every kind that rpm has used, against pinned
 * keys. rpm's own policy, slightly stricter: one good signature is enough and unknown ones are ignored, but a wrong
 * signature by a pinned key is refused even next to a good one, and so is a payload that contradicts an old-style
 * signature. See rpm's docs/manual/format_v4.md and format_v6.md.
 */
import { createHash } from "node:crypto";
import { AirferryError } from "../errors.ts";
import type { RandomAccess } from "../io/types.ts";
import { LEGACY_HINT } from "../sign/openpgp-files.ts";
import type { OpenPgpKeyring } from "../sign/openpgp-keyring.ts";
import { type OpenPgpVerdict, requireGoodSignature, verifyOpenPgpSignature } from "../sign/openpgp-verify.ts";
import { isSourcePackage, type RpmFile, readRpmFile } from "./header.ts";
import { DIGEST_ALGORITHMS, SIGNATURE_TAG, TAG } from "./header-tags.ts";

const READ_BYTES = 1024 * 1024;

interface VerifyPackageOptions {
  /** Name in messages. */
  name: string;
  /** False: digests must match, signatures are not checked. Default: true. */
  gpgcheck?: boolean | undefined;
  /** Also count SHA-1 and short keys, which old repositories need. */
  legacy?: boolean | undefined;
  /** Hashes a range of the package elsewhere (a hash pool): lower-case hex. Default: here. */
  hashRange?: ((algorithm: "sha256" | "sha512", offset: number, length: number) => Promise<string>) | undefined;
}

/** One signature and its outcome. */
interface PackageSignature {
  /** What it covers: the header alone, or header and payload. */
  over: "header" | "package";
  status: "good" | "bad" | "unknown";
  /** Primary key, upper-case hex; empty while unknown. */
  fingerprint: string;
  keyid: string;
  reason?: string;
}

/** A package that passed. */
interface PackageVerdict {
  /** `name-epoch:version-release.arch`, the epoch always there. */
  nevra: string;
  signatures: PackageSignature[];
  /** Fingerprints of the good signatures, sorted; empty without gpgcheck. */
  signedBy: string[];
  /** Digests that were present and correct: `header sha256`, `payload sha256`, `package md5`, … */
  digests: string[];
  /**
   * What ties the payload to the signer: its digest in the signed header, an old-style signature over everything, or
   * nothing.
   */
  payload: "signed-digest" | "signed" | "unsigned";
  /** Tag 5096, `module:stream:version:context[:arch]`, of a modular package. */
  modularityLabel?: string;
}

/**
 * Checks a package. The payload is read once, in pieces.
 * @param keyring needed unless `gpgcheck` is false
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for damaged headers; ERR_UPSTREAM_DIGEST for a digest that is wrong;
 *   ERR_UPSTREAM_SIGNATURE, with the keys expected and found, without a good signature or with a wrong one
 */
export async function verifyPackage(
  source: RandomAccess,
  keyring: OpenPgpKeyring | undefined,
  options: VerifyPackageOptions,
): Promise<PackageVerdict> {
  const file = await readRpmFile(source, options.name);
  const digests = checkHeaderDigests(file);
  const signatures: PackageSignature[] = [];
  let signedBy: string[] = [];
  let payloadSigned = false;
  let payload: Payload | undefined;
  if (options.gpgcheck !== false) {
    if (!keyring)
      throw new AirferryError("ERR_INTERNAL", `cannot verify package "${options.name}": no keys were given`);
    const check = { legacy: options.legacy };
    const header = await verifyOpenPgpSignature(file.header.bytes, headerPackets(file), keyring, check);
    payload = new Payload(source, file);
    const whole = await verifyOpenPgpSignature(payload.withHeader(), packagePackets(file), keyring, check);
    signatures.push(...described("header", header), ...described("package", whole));
    signedBy = requireTrust(header, whole, keyring, options.name);
    payloadSigned = whole.good.length > 0;
  }
  const payloadDigest = await checkPayloadDigest(source, file, options, payload);
  digests.push(...payloadDigest.names);
  const label = file.header.string(TAG.modularityLabel);
  return {
    nevra: nevraOf(file),
    signatures,
    signedBy,
    digests,
    payload: payloadDigest.inHeader && signedBy.length > 0 ? "signed-digest" : payloadSigned ? "signed" : "unsigned",
    ...(label === undefined ? {} : { modularityLabel: label }),
  };
}

/** `name-epoch:version-release.arch` of a package. */
export function nevraOf(file: RpmFile): string {
  const { header } = file;
  const text = (tag: number) => header.string(tag) ?? "";
  const arch = isSourcePackage(file) ? "src" : text(TAG.arch);
  return `${text(TAG.name)}-${header.number(TAG.epoch) ?? 0}:${text(TAG.version)}-${text(TAG.release)}.${arch}`;
}

/** Signature packets over the header: one per algorithm family since v4, any number as base64 since rpm 4.20. */
function headerPackets({ signature }: RpmFile): Buffer {
  return Buffer.concat([
    signature.bin(SIGNATURE_TAG.rsaHeader) ?? Buffer.alloc(0),
    signature.bin(SIGNATURE_TAG.dsaHeader) ?? Buffer.alloc(0),
    ...signature.strings(SIGNATURE_TAG.openPgp).map((it) => Buffer.from(it, "base64")),
  ]);
}

/** Signature packets over header and payload: all that v3 had, and what signers added until rpm 4.14. */
function packagePackets({ signature }: RpmFile): Buffer {
  return Buffer.concat([
    signature.bin(SIGNATURE_TAG.pgp) ?? Buffer.alloc(0),
    signature.bin(SIGNATURE_TAG.gpg) ?? Buffer.alloc(0),
  ]);
}

function described(over: "header" | "package", verdict: OpenPgpVerdict): PackageSignature[] {
  return (["good", "bad", "unknown"] as const).flatMap((status) =>
    verdict[status].map(({ fingerprint, keyid, ...rest }) => ({
      over,
      status,
      fingerprint,
      keyid,
      ...("reason" in rest ? { reason: rest.reason as string } : {}),
    })),
  );
}

function requireTrust(header: OpenPgpVerdict, whole: OpenPgpVerdict, keyring: OpenPgpKeyring, name: string): string[] {
  const all: OpenPgpVerdict = {
    good: [...header.good, ...whole.good],
    bad: [...header.bad, ...whole.bad],
    unknown: [...header.unknown, ...whole.unknown],
  };
  // A key that had expired is not a contradiction; a signature that does not match the bytes is.
  const wrong = all.bad.filter((it) => it.reason.includes("does not match"));
  const good = wrong.length > 0 ? { ...all, good: [] } : all;
  return requireGoodSignature(good, keyring, name, "an RPM package", LEGACY_HINT);
}

/** Compares header digests; returns those present. */
function checkHeaderDigests(file: RpmFile): string[] {
  const { signature, header, name } = file;
  const found: string[] = [];
  for (const [tag, algorithm] of [
    [SIGNATURE_TAG.sha3Header, "sha3-256"],
    [SIGNATURE_TAG.sha256Header, "sha256"],
    [SIGNATURE_TAG.sha1Header, "sha1"],
  ] as const) {
    const expected = signature.string(tag);
    if (expected === undefined) continue;
    const actual = createHash(algorithm).update(header.bytes).digest("hex");
    if (expected.toLowerCase() !== actual) throw wrongDigest(name, `header ${algorithm}`, expected, actual);
    found.push(`header ${algorithm}`);
  }
  return found;
}

interface ExpectedDigest {
  algorithm: string;
  hex: string;
}

/**
 * Payload digests of the header, strongest last. The "alt" ones cover the uncompressed payload: rpm accepts either,
 * airferry requires these.
 */
function payloadDigestsOf({ header }: RpmFile): ExpectedDigest[] {
  const digests: ExpectedDigest[] = [];
  const add = (algorithm: string | undefined, hex: string | undefined) => {
    if (algorithm !== undefined && hex !== undefined && hex !== "") digests.push({ algorithm, hex: hex.toLowerCase() });
  };
  add("sha3-256", header.string(TAG.payloadSha3));
  add("sha512", header.string(TAG.payloadSha512));
  add(DIGEST_ALGORITHMS[header.number(TAG.payloadDigestAlgo) ?? 8], header.string(TAG.payloadDigest));
  return digests;
}

async function checkPayloadDigest(
  source: RandomAccess,
  file: RpmFile,
  options: VerifyPackageOptions,
  read: Payload | undefined,
): Promise<{ names: string[]; inHeader: boolean }> {
  const { headerEnd, size, name } = file;
  // All are in the same header: one correct digest proves as much as three.
  const expected = payloadDigestsOf(file).at(-1);
  if (expected) {
    const { algorithm, hex } = expected;
    const elsewhere = algorithm === "sha256" || algorithm === "sha512" ? options.hashRange : undefined;
    const actual =
      read?.digest(algorithm) ??
      (await (elsewhere
        ? elsewhere(algorithm as "sha256", headerEnd, size - headerEnd)
        : hashPayload(source, file, algorithm)));
    if (hex !== actual) throw wrongDigest(name, `payload ${algorithm}`, hex, actual);
    return { names: [`payload ${algorithm}`], inHeader: true };
  }
  const md5 = file.signature.bin(SIGNATURE_TAG.md5)?.toString("hex");
  if (md5 === undefined) return { names: [], inHeader: false };
  const actual = read?.digest("md5") ?? (await hashPayload(source, file, "md5"));
  if (md5 !== actual) throw wrongDigest(name, "package md5", md5, actual);
  return { names: ["package md5"], inHeader: false };
}

/** Payload digests cover the payload, the old MD5 header and payload. */
async function hashPayload(source: RandomAccess, file: RpmFile, algorithm: string): Promise<string> {
  const payload = new Payload(source, file, [algorithm]);
  for await (const _ of payload.withHeader());
  return payload.digest(algorithm) as string;
}

/** The signed bytes as a stream, hashed on the way, so an old package is read once for its signature and digest. */
class Payload {
  readonly #source: RandomAccess;
  readonly #file: RpmFile;
  readonly #hashes: Map<string, ReturnType<typeof createHash>>;
  #finished = false;

  constructor(source: RandomAccess, file: RpmFile, algorithms = [payloadDigestsOf(file).at(-1)?.algorithm ?? "md5"]) {
    this.#source = source;
    this.#file = file;
    this.#hashes = new Map(algorithms.map((it) => [it, createHash(it)]));
  }

  async *withHeader(): AsyncGenerator<Uint8Array> {
    const { header, headerEnd, size, name } = this.#file;
    this.#hashes.get("md5")?.update(header.bytes);
    yield header.bytes;
    for (let at = headerEnd; at < size; ) {
      const piece = await this.#source.read(at, Math.min(READ_BYTES, size - at));
      if (piece.length === 0) throw wrongDigest(name, "size", `${size} bytes`, `${at} bytes`);
      for (const hash of this.#hashes.values()) hash.update(piece);
      at += piece.length;
      yield piece;
    }
    this.#finished = true;
  }

  /** The digest, if everything was read with that algorithm. Can be called once. */
  digest(algorithm: string): string | undefined {
    return this.#finished ? this.#hashes.get(algorithm)?.digest("hex") : undefined;
  }
}

function wrongDigest(name: string, what: string, expected: string, actual: string): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_DIGEST",
    `cannot verify package "${name}": wrong ${what}: expected ${expected}, got ${actual}`,
    { path: name, expected, actual, hint: "the package is damaged; fetch it again, or report it upstream" },
  );
}
