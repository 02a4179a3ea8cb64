/**
 * Digests of installation images whose vendor publishes them behind a login only, by file name, with where each comes from
 * (manifests/published-isos.json), so that nobody has to type one.
 */
import data from "../../manifests/published-isos.json" with { type: "json" };
import { type Digest, parseHex } from "../io/digest.ts";

/** One image of a vendor. */
export interface PublishedIso {
  /** File name as the vendor gives it. */
  name: string;
  digest: Digest;
  vendor: string;
  /** Where the digest is published, in words. */
  source: string;
}

/** The image that a vendor publishes under a file name; undefined for names that are not listed. */
export function publishedIso(name: string): PublishedIso | undefined {
  const found = data.isos.find((it) => it.name === name);
  const digest = found && parseHex(found.sha256);
  return digest && { name, digest, vendor: found.vendor, source: found.source };
}
