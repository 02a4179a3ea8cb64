/**
 * What some bytes are expected to be: digests of one or several algorithms, from the parse of manifest or lock on. In
 * these files, and in the provenance of an inventory, it is an SRI string, `sha256-<base64>`, as npm and browsers write
 * it: it is converted here, where they are read and written.
 * @see W3C Subresource Integrity, 3.5 "The integrity attribute"
 */
import ssri from "ssri";
import {
  type AnyDigest,
  algorithmOf,
  type Digest,
  type Digests,
  type HashAlgorithm,
  hexOf,
  isDigest,
  parseHex,
} from "./digest.ts";
import type { Established } from "./types.ts";

/**
 * One or several digests separated by spaces: one of every algorithm must match. Two expectations are equal when their
 * texts are. One of SHA-256 alone is a {@link Digest}.
 */
export type Integrity = AnyDigest | `${AnyDigest} ${string}`;

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** The form in nearly every lock, up to 100,000 times: read and written without objects. */
const ONE_SHA256 = /^sha256-[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** Reads an SRI string; undefined when it has no digest of a supported algorithm. */
export function parseIntegrity(sri: string): Integrity | undefined {
  if (ONE_SHA256.test(sri)) return parseHex(Buffer.from(sri.slice(7), "base64").toString("hex"));
  return joinDigests(sri.split(/\s+/).flatMap((it) => parseToken(it) ?? []));
}

/**
 * Reads an SRI string that is exactly what {@link formatIntegrity} writes, but for white space: nothing in it is
 * ignored.
 */
export function parseWholeIntegrity(sri: string): Integrity | undefined {
  const integrity = parseIntegrity(sri);
  const whole = sri.trim().replace(/\s+/g, " ");
  return integrity !== undefined && formatIntegrity(integrity) === whole ? integrity : undefined;
}

/** One digest; options are ignored, which no version of the specification gives a meaning. */
function parseToken(token: string): AnyDigest | undefined {
  const hash = ssri.parse(token, { single: true });
  // ssri takes any text for base64.
  return hash !== null && BASE64.test(hash.digest) ? parseHex(hash.hexDigest(), hash.algorithm) : undefined;
}

/** The SRI string of an expectation. */
export function formatIntegrity(integrity: Integrity): string {
  return isOne(integrity) ? formatToken(integrity) : digestsIn(integrity).map(formatToken).join(" ");
}

function formatToken(digest: AnyDigest): string {
  const hex = hexOf(digest);
  return isDigest(digest)
    ? `sha256-${Buffer.from(hex, "hex").toString("base64")}`
    : ssri.fromHex(hex, algorithmOf(digest)).toString();
}

function isOne(integrity: Integrity): integrity is AnyDigest {
  return !integrity.includes(" ");
}

/** All of them together; undefined when there are none. */
export function joinDigests(digests: readonly AnyDigest[]): Integrity | undefined {
  return digests.length === 0 ? undefined : (digests.join(" ") as Integrity);
}

/** The digests one by one. */
export function digestsIn(integrity: Integrity): AnyDigest[] {
  return integrity.split(" ") as AnyDigest[];
}

/** The SHA-256 among them. */
export function sha256In(integrity: Integrity | undefined): Digest | undefined {
  if (integrity === undefined || isDigest(integrity)) return integrity;
  return digestsIn(integrity).find(isDigest);
}

/** The algorithms needed to check it. */
export function algorithmsIn(integrity: Integrity | undefined): HashAlgorithm[] {
  return integrity === undefined ? [] : [...new Set(digestsIn(integrity).map(algorithmOf))];
}

/** Returns whether these digests match the expectation: every named algorithm, not only the strongest. */
export function isExpected(integrity: Integrity, digests: Digests): boolean {
  return isDigest(integrity) ? integrity === digests.sha256 : wrongAlgorithms(integrity, digests).length === 0;
}

/**
 * Both sides of a digest that is wrong, as people compare them: of SHA-256 where that is wrong, else of the first
 * algorithm that is. Undefined when all are right.
 */
export function mismatchOf(integrity: Integrity, digests: Digests): { expected: string; actual: string } | undefined {
  const wrong = wrongAlgorithms(integrity, digests);
  const algorithm = wrong.find((it) => it === "sha256") ?? wrong[0];
  if (algorithm === undefined) return undefined;
  const wanted = digestsIn(integrity).filter((it) => algorithmOf(it) === algorithm);
  return { expected: wanted.join(" or "), actual: digests[algorithm] ?? "none" };
}

function wrongAlgorithms(integrity: Integrity, digests: Digests): HashAlgorithm[] {
  const wanted = digestsIn(integrity);
  return algorithmsIn(integrity).filter((it) => !wanted.some((digest) => digest === digests[it]));
}

const PUBLISHED: readonly Established[] = ["manifest", "upstream-signed", "upstream-checksum"];

/**
 * Which algorithm the digest had that was given or published: the first of those expected, SHA-256 where nothing else
 * is known.
 */
export function publishedAlgorithm(established: Established, integrity?: Integrity): { algorithm?: HashAlgorithm } {
  if (!PUBLISHED.includes(established)) return {};
  return { algorithm: algorithmsIn(integrity)[0] ?? "sha256" };
}
