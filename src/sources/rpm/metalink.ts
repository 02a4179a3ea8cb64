/**
 * Metalink and mirrorlist files: where a repository is, and which repomd.xml it should have. See mirrormanager's
 * metalinks.
 */
import { AirferryError } from "../../errors.ts";
import { type AnyDigest, algorithmOf } from "../../io/digest.ts";
import { parseChecksum } from "../../rpm/repomd.ts";
import { childrenOf, readXml, type XmlElement } from "../../rpm/xml.ts";
import { invalidXml } from "../../rpm/xml-error.ts";
import { baseOf } from "./location.ts";

const MAX_MIRRORS = 100;

export interface Mirrors {
  /** Base URLs, see `baseOf`, best first. */
  bases: string[];
  /** Accepted digests of repomd.xml: the current one and earlier ones (alternates), in one algorithm. Empty: any. */
  repomds: AnyDigest[];
}

/** Base and query of a mirror's repomd.xml. */
const REPOMD_URL = /^(https?:\/\/[^\s?#]+\/)repodata\/repomd\.xml(\?[^\s#]*)?$/;
const STRENGTH = ["sha512", "sha384", "sha256", "sha224", "sha1", "md5"];

/**
 * Reads a metalink, with pauses.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID when it names no repomd.xml with a checksum, or no usable mirror
 */
export async function parseMetalink(bytes: Uint8Array, name: string): Promise<Mirrors> {
  const root = await readXml(bytes, name);
  const file = childrenOf(childrenOf(root, "files")[0], "file").find((it) => it.attributes.name === "repomd.xml");
  if (root.name !== "metalink" || file === undefined) throw invalidXml(name, "not a metalink of a repomd.xml");
  const alternates = childrenOf(childrenOf(file, "alternates")[0], "alternate");
  const hashes = [file, ...alternates].flatMap(hashesOf);
  const strongest = STRENGTH.find((type) => hashes.some((it) => algorithmOf(it) === type));
  const repomds = hashes.filter((it) => algorithmOf(it) === strongest);
  if (repomds.length === 0) throw invalidXml(name, "no usable hash of repomd.xml");
  const urls = childrenOf(childrenOf(file, "resources")[0], "url")
    .map((it) => ({ url: it.text.trim(), preference: Number(it.attributes.preference ?? 0) || 0 }))
    .filter(({ url }) => REPOMD_URL.test(url))
    .sort((a, b) => b.preference - a.preference);
  const bases = urls.map(({ url }) => baseOf(url.replace(REPOMD_URL, "$1$2"))).slice(0, MAX_MIRRORS);
  if (bases.length === 0) throw invalidXml(name, "no mirror with http or https");
  return { bases, repomds };
}

function hashesOf(element: XmlElement): AnyDigest[] {
  return childrenOf(childrenOf(element, "verification")[0], "hash").flatMap(
    (it) => parseChecksum(it.attributes.type?.replace("-", ""), it.text) ?? [],
  );
}

/** Some lists are metalinks under another name; dnf also detects them by content. */
export function looksLikeMetalink(bytes: Uint8Array): boolean {
  return /<metalink\b/.test(Buffer.from(bytes.subarray(0, 4096)).toString("latin1"));
}

/**
 * Reads a mirrorlist: one base URL a line, `#` comments. @throws {AirferryError} ERR_UPSTREAM_INVALID when none is
 * usable
 */
export function parseMirrorlist(bytes: Uint8Array, name: string): Mirrors {
  const bases = Buffer.from(bytes)
    .toString("utf8")
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => /^https?:\/\/\S+$/.test(line))
    .map(baseOf)
    .slice(0, MAX_MIRRORS);
  if (bases.length === 0) {
    throw new AirferryError("ERR_UPSTREAM_INVALID", `cannot read "${name}": no mirror: expected URLs, one per line`, {
      path: name,
    });
  }
  return { bases, repomds: [] };
}
