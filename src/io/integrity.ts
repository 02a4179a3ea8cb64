/**
 * What some bytes are expected to be: digests of one or several algorithms. In files (manifest, lock, provenance) it is an SRI
 * string, `sha256-<base64>`, as npm and browsers write it; here it is converted, and nowhere else.
 * @see W3C Subresource Integrity, 3.5 "The integrity attribute"
 */
import ssri from "ssri";
import {
  type AnyDigest,
  algorithmOf,
  type Digest,
  type Digests,
  type HashAlgorithm,
  isDigest,
  parseHex,
} from "./digest.ts";

/**
 * One or several digests with a blank between them: of every algorithm one has to be right. As text it is what people
 * compare, and two expectations are the same when their texts are. One of SHA-256 alone is a {@link Digest}.
 */
export type Integrity = AnyDigest | `${AnyDigest} ${string}`;

/** The one form that nearly every lock has, and by the 100,000. */
const ONE_SHA256 = /^sha256-[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** Reads an SRI string; undefined when nothing in it is a digest of an algorithm that is checked here. */
export function parseIntegrity(sri: string): Integrity | undefined {
  if (ONE_SHA256.test(sri)) return `sha256:${Buffer.from(sri.slice(7), "base64").toString("hex")}`;
  const parsed = ssri.parse(sri) as unknown as Record<string, { digest: string }[]> | null;
  const digests = Object.entries(parsed ?? {}).flatMap(([algorithm, claims]) =>
    claims.map((it) => parseHex(Buffer.from(it.digest, "base64").toString("hex"), algorithm)),
  );
  return joinDigests(digests.filter((it) => it !== undefined));
}

/** Tells whether {@link parseIntegrity} takes an SRI string. */
export function isIntegrity(sri: string): boolean {
  return ONE_SHA256.test(sri) || parseIntegrity(sri) !== undefined;
}

/** The SRI string of an expectation. */
export function formatIntegrity(integrity: Integrity): string {
  return digestsIn(integrity)
    .map((it) => `${algorithmOf(it)}-${Buffer.from(it.slice(it.indexOf(":") + 1), "hex").toString("base64")}`)
    .join(" ");
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

/** The algorithms that have to be computed to check it. */
export function algorithmsIn(integrity: Integrity | undefined): HashAlgorithm[] {
  return integrity === undefined ? [] : [...new Set(digestsIn(integrity).map(algorithmOf))];
}

/** Tells whether bytes with these digests are what was expected: every algorithm that is named, not only the strongest. */
export function isExpected(integrity: Integrity, digests: Digests): boolean {
  if (isDigest(integrity)) return integrity === digests.sha256;
  const wanted = digestsIn(integrity);
  return algorithmsIn(integrity).every((it) => wanted.some((digest) => digest === digests[it]));
}
