/**
 * The digest of some bytes, one value from the manifest to the served byte: `algorithm:hex` in lower case, as OCI
 * writes it and people compare it. A string, so digests compare with ===, key maps, go into JSON unchanged and cost no
 * object each.
 *
 * Files use other forms, converted where they are read and written: bare hex (SHA256SUMS, inventory, journal, RPM
 * metadata) with {@link parseHex} and {@link hexOf}, SRI (manifest, lock, provenance) in integrity.ts.
 */
import { createHash, hash } from "node:crypto";

/** Algorithms that upstreams publish digests of. */
export type HashAlgorithm = "md5" | "sha1" | "sha224" | "sha256" | "sha384" | "sha512";

/** `algorithm:` and lower-case hex digits: a digest as upstream publishes it. */
export type AnyDigest = `${HashAlgorithm}:${string}`;

/** `sha256:` and 64 lower-case hex digits: the identity of everything whose bytes were read. */
export type Digest = `sha256:${string}`;

/** Digests of the same bytes, by algorithm: SHA-256 always. */
export type Digests = { sha256: Digest } & { [A in Exclude<HashAlgorithm, "sha256">]?: `${A}:${string}` };

const HEX_DIGITS: Readonly<Record<HashAlgorithm, number>> = {
  md5: 32,
  sha1: 40,
  sha224: 56,
  sha256: 64,
  sha384: 96,
  sha512: 128,
};
const SHA256 = /^sha256:[0-9a-f]{64}$/;
const HEX = /^[0-9a-f]+$/;

/** SHA-256 of no bytes. */
export const EMPTY_DIGEST: Digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** Returns whether a value is a {@link Digest}. */
export function isDigest(value: unknown): value is Digest {
  return typeof value === "string" && SHA256.test(value);
}

/** Returns whether a text names a {@link HashAlgorithm}, in lower case. */
function isHashAlgorithm(text: string): text is HashAlgorithm {
  return Object.hasOwn(HEX_DIGITS, text);
}

/** Reads `algorithm:hex` of any algorithm; undefined for anything else, upper-case digits too. */
export function parseDigest(text: string): AnyDigest | undefined {
  const colon = text.indexOf(":");
  return parseHex(text.slice(colon + 1), text.slice(0, Math.max(0, colon)));
}

/** Reads bare lower-case hex of SHA-256, or of the given algorithm; undefined for anything else. */
export function parseHex(hex: string): Digest | undefined;
export function parseHex(hex: string, algorithm: string): AnyDigest | undefined;
export function parseHex(hex: string, algorithm = "sha256"): AnyDigest | undefined {
  const fits = isHashAlgorithm(algorithm) && hex.length === HEX_DIGITS[algorithm] && HEX.test(hex);
  return fits ? named(algorithm, hex) : undefined;
}

/** The algorithm whose digests have this many hex digits. */
export function algorithmOfLength(digits: number): HashAlgorithm | undefined {
  return Object.keys(HEX_DIGITS)
    .filter(isHashAlgorithm)
    .find((it) => HEX_DIGITS[it] === digits);
}

export function algorithmOf(digest: AnyDigest): HashAlgorithm {
  return digest.slice(0, digest.indexOf(":")) as HashAlgorithm;
}

/** Only the hex digits. */
export function hexOf(digest: AnyDigest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** Digests bytes in memory, or a text as UTF-8: with the algorithm of `like`, by default SHA-256. */
export function digestOf(bytes: Uint8Array | string): Digest;
export function digestOf<D extends AnyDigest>(bytes: Uint8Array | string, like: D | undefined): D | Digest;
export function digestOf(bytes: Uint8Array | string, like?: AnyDigest): AnyDigest {
  const algorithm = like === undefined ? "sha256" : algorithmOf(like);
  return named(algorithm, hash(algorithm, bytes, "hex"));
}

const FORM = Buffer.from(`sha256:${"0".repeat(HEX_DIGITS.sha256)}`);

/** One text, and not the sum of two, which V8 keeps beside it: a bundle has 100,000 of them. */
function named(algorithm: HashAlgorithm, hex: string): AnyDigest {
  if (algorithm !== "sha256") return `${algorithm}:${hex}`;
  FORM.write(hex, "sha256:".length, "latin1");
  return FORM.toString("latin1") as Digest;
}

/** Digests bytes that are in memory with SHA-256 and `others`. */
export function digestsOf(bytes: Uint8Array, others: readonly HashAlgorithm[]): Digests {
  const more = others.filter((it) => it !== "sha256").map((it) => [it, `${it}:${hash(it, bytes, "hex")}`]);
  return { ...Object.fromEntries(more), sha256: digestOf(bytes) };
}

/** A running digest of bytes. */
export class RunningDigest {
  readonly #hashes: { algorithm: HashAlgorithm; hash: ReturnType<typeof createHash> }[];

  /** Computes SHA-256, and `others`. */
  constructor(others: readonly HashAlgorithm[] = []) {
    const algorithms = new Set<HashAlgorithm>(["sha256", ...others]);
    this.#hashes = [...algorithms].map((algorithm) => ({ algorithm, hash: createHash(algorithm) }));
  }

  update(bytes: Uint8Array): this {
    for (const it of this.#hashes) it.hash.update(bytes);
    return this;
  }

  /** The digests so far; more bytes may follow. */
  peek(): Digests {
    const digests = this.#hashes.map(({ algorithm, hash }) => [algorithm, `${algorithm}:${hash.copy().digest("hex")}`]);
    return Object.fromEntries(digests) as Digests;
  }

  /** The final SHA-256; no bytes may follow. */
  digest(): Digest {
    return this.digests().sha256;
  }

  /** The final digests; no bytes may follow. */
  digests(): Digests {
    const digests = this.#hashes.map(({ algorithm, hash }) => [algorithm, named(algorithm, hash.digest("hex"))]);
    return Object.fromEntries(digests) as Digests;
  }
}
