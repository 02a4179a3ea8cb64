/**
 * Digests of installation images that vendors publish only behind a login, by file name and with their source
 * (manifests/published-isos.json), so that nobody has to type them.
 */
import data from "../../manifests/published-isos.json" with { type: "json" };
import { type Digest, parseHex } from "../io/digest.ts";

/** One image of a vendor. */
export interface PublishedIso {
  /** The vendor's file name. */
  name: string;
  digest: Digest;
  vendor: string;
  /** Where the digest is published, as text. */
  source: string;
}

/** The image that a vendor publishes under a file name; undefined for unlisted names. */
export function publishedIso(name: string): PublishedIso | undefined {
  const found = data.isos.find((it) => it.name === name);
  const digest = found && parseHex(found.sha256);
  return digest && { name, digest, vendor: found.vendor, source: found.source };
}
