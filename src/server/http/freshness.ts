/**
 * How long caches between this server and its clients may answer by themselves. What a digest names never changes; what
 * moves with a release is asked for each time, which an ETag makes cheap. See RFC 9111, section 5.2 and docs/caches.md.
 */
import { type Digest, hexOf } from "../../io/digest.ts";
import type { ServerRequest } from "./context.ts";

/** Content of a URL that has the digest of its bytes in it. */
export const IMMUTABLE = "public, max-age=31536000, immutable";
/** What the next release may have changed: a cache asks each time whether it did. */
export const REVALIDATED = "no-cache";
/**
 * Large content under names of its own: that another release has other content under the same name is rare, but nothing
 * forbids it. Until a cache asks again, the old one may come from it.
 */
const BRIEF = "public, max-age=10";

/** What an answer depends on that has the server's address in it. */
export const ADDRESS_VARY = "Host, X-Forwarded-Host, X-Forwarded-Proto";

/** Names that say what else there is, or what it should be. */
const MOVING =
  /(?:^|\/)(?:\.?treeinfo|\.discinfo|media\.repo|CHECKSUM|SHA\d+SUMS|PULP_MANIFEST)$|\.(?:sha\d+(?:sum)?|asc|sig)$/i;
/** Metadata whose name begins with a checksum. */
const CHECKSUM_NAMED = /^[0-9a-f]{40,128}-/;

/**
 * The Cache-Control of the content of a path. With its digest, names that have it in them are found; those with other
 * checksums are not compared, and so not for ever.
 */
export function freshnessOf(path: string, digest?: Digest): string {
  // By far the most requests.
  if (path.endsWith(".rpm")) return BRIEF;
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (path.startsWith("images/")) return path.startsWith("images/blobs/") ? IMMUTABLE : REVALIDATED;
  if (digest !== undefined && name.startsWith(hexOf(digest))) return IMMUTABLE;
  if (path.startsWith("keys/") || MOVING.test(path)) return REVALIDATED;
  if (path.includes("/repodata/") && !CHECKSUM_NAMED.test(name)) return REVALIDATED;
  return BRIEF;
}

/** The same for an answer that only who has logged in may get: shared caches would give it to everybody. */
export function asGuarded(cacheControl: string, { isGuarded }: Pick<ServerRequest, "isGuarded">): string {
  if (isGuarded !== true) return cacheControl;
  return cacheControl.startsWith("public") ? cacheControl.replace("public", "private") : `private, ${cacheControl}`;
}
