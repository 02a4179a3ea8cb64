/**
 * repomd.xml: the index of a repository's metadata, with size and checksum of each record. Parsed strictly, since
 * everything else depends on it. No I/O.
 */
import { AirferryError } from "../errors.ts";
import { type AnyDigest, parseHex } from "../io/digest.ts";
import { child, childrenOf, childText, parseXml } from "./xml.ts";
import { invalidXml } from "./xml-error.ts";

/** Largest repomd.xml that is read. */
export const MAX_REPOMD_BYTES = 256 * 1024;
/** Largest compressed and largest uncompressed metadata file that is read. */
export const MAX_METADATA_BYTES = 1024 ** 3;
const MAX_OPEN_METADATA_BYTES = 4 * 1024 ** 3;
const MIB = 1024 ** 2;
/** By type of record, where less is enough: Fedora's uncompressed primary.xml has 200 MB, its comps.xml 2,
 * RHEL's modules.yaml 10, its updateinfo.xml 100. */
const MAX_OPEN_BYTES: [type: RegExp, bytes: number][] = [
  [/^primary/, 1024 * MIB],
  [/^group/, 64 * MIB],
  [/^modules/, 128 * MIB],
  [/^updateinfo/, 1024 * MIB],
  [/^productid/, MIB],
];

/** Largest uncompressed document of a type of record. */
export function maxOpenBytes(type: string): number {
  return MAX_OPEN_BYTES.find(([pattern]) => pattern.test(type))?.[1] ?? MAX_OPEN_METADATA_BYTES;
}
const MAX_RECORDS = 200;

/** One `<data>` of repomd.xml. */
export interface RepomdRecord {
  /** primary, filelists, other, group, modules, … */
  type: string;
  /** As upstream wrote it, entities resolved; relative to the repository or to `base`. */
  href: string;
  /** `xml:base` of its location. */
  base?: string;
  checksum: AnyDigest;
  openChecksum?: AnyDigest;
  size?: number;
  openSize?: number;
}

export interface Repomd {
  revision: string;
  /** Clients read the first of a type: zypper ignores others, dnf refuses any that differ. */
  records: RepomdRecord[];
}

/**
 * Reads a checksum type and value; `sha` is sha1. Undefined when the type is unknown or the value has another length.
 */
export function parseChecksum(type: string | undefined, value: string | undefined): AnyDigest | undefined {
  const algorithm = type === "sha" ? "sha1" : type?.toLowerCase();
  return parseHex(value?.trim().toLowerCase() ?? "", algorithm ?? "");
}

/**
 * Parses repomd.xml.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID, naming `name` and the record
 */
export function parseRepomd(bytes: Uint8Array, name: string): Repomd {
  if (bytes.length > MAX_REPOMD_BYTES) {
    throw new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot read "${name}": too large: expected at most ${MAX_REPOMD_BYTES} bytes, got ${bytes.length}`,
      { path: name },
    );
  }
  const root = parseXml(bytes, name);
  if (root.name !== "repomd") throw invalidXml(name, `expected <repomd>, got <${root.name}>`);
  const records: RepomdRecord[] = [];
  for (const data of childrenOf(root, "data")) {
    const type = data.attributes.type;
    const fail = (fault: string) => invalidXml(name, `${fault} in record "${type ?? "?"}"`);
    if (type === undefined || !/^[A-Za-z0-9_.-]{1,64}$/.test(type)) throw fail("no usable type");
    const location = child(data, "location");
    const href = location?.attributes.href;
    if (href === undefined || href === "") throw fail("no location");
    const sum = child(data, "checksum");
    const checksum = parseChecksum(sum?.attributes.type, sum?.text);
    if (checksum === undefined) {
      throw fail(`unknown or malformed checksum (${sum?.attributes.type ?? "no type"} "${sum?.text.trim() ?? ""}")`);
    }
    const open = child(data, "open-checksum");
    const openChecksum = open && parseChecksum(open.attributes.type, open.text);
    if (open && openChecksum === undefined) throw fail("unknown or malformed open-checksum");
    const base = location?.attributes["xml:base"];
    const size = parseSize(childText(data, "size"));
    const openSize = parseSize(childText(data, "open-size"));
    if (size === null || openSize === null) throw fail("malformed size");
    if (records.some((it) => it.type === type && it.href === href && it.base === base)) continue;
    records.push({
      type,
      href,
      ...(base !== undefined && { base }),
      checksum,
      ...(openChecksum && { openChecksum }),
      ...(size !== undefined && { size }),
      ...(openSize !== undefined && { openSize }),
    });
    if (records.length > MAX_RECORDS) throw invalidXml(name, `more than ${MAX_RECORDS} records`);
  }
  if (!records.some((it) => it.type === "primary")) throw invalidXml(name, "no primary record");
  return { revision: childText(root, "revision") ?? "", records };
}

/** Digits to a number; undefined when absent or empty, null when it is not one. */
function parseSize(text: string | undefined): number | undefined | null {
  if (text === undefined || text === "") return undefined;
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}
