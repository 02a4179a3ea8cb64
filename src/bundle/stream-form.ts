/**
 * A bundle as one tar archive, front to back: the order of its files, and their headers, which are compared and never
 * believed. docs/format.md, "A bundle in a stream".
 */
import type { BundleIdentity } from "./bundle-identity.ts";
import {
  COPIES_NAME,
  ENTRIES_NAME,
  FORMAT_NAME,
  isSpareName,
  isSpreadName,
  LOCK_NAME,
  MANIFEST_NAME,
  SIGNATURES_NAME,
  SUMS_NAME,
  TRUSTED_ROOT_NAME,
  VERIFY_NAME,
} from "./media-names.ts";
import { headerBytes } from "./tar-layout.ts";
import { volumeIndexOf } from "./volume-layout.ts";

export const BLOCK_BYTES = 512;

/** A file in the stream, by its header. */
export interface StreamMember {
  /** First segment of its path: the same for all files of a bundle. */
  folder: string;
  /** As in SHA256SUMS, or `SHA256SUMS`, or `signatures/NAME`. */
  name: string;
  /** Bytes. */
  size: number;
}

const PATH = /^([A-Za-z0-9][A-Za-z0-9._-]{0,99})\/((?:bin\/|signatures\/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99})$/;
/** Every header has these bytes from 257 to 344, and hardly anything else has them. */
export const HEADER_MARK = Buffer.from(`ustar\x0000${"\0".repeat(64)}${"0000000\0".repeat(2)}`, "latin1");
export const HEADER_MARK_AT = 257;
const BASE_256 = 0x80;

/** The folder of a bundle in a stream, as `pack` names it on disk. */
export function folderInStream({ stream, serial }: BundleIdentity): string {
  return `${stream}-${String(serial).padStart(6, "0")}`;
}

/** The header of a file in a stream. */
export function memberHeader({ folder, name, size }: StreamMember): Buffer {
  return headerBytes({ path: `${folder}/${name}`, size, mode: name.startsWith("bin/") ? "0755" : "0644" });
}

/** The file whose header these 512 bytes are; undefined unless they are exactly what {@link memberHeader} makes. */
export function parseMember(block: Buffer): StreamMember | undefined {
  if (block.length !== BLOCK_BYTES || block.compare(HEADER_MARK, 0, undefined, HEADER_MARK_AT, 345) !== 0)
    return undefined;
  const text = (from: number, to: number) => {
    const end = block.subarray(from, to).indexOf(0);
    return block.toString("latin1", from, end < 0 ? to : from + end);
  };
  const prefix = text(345, 500);
  const [, folder, name] = PATH.exec(prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`) ?? [];
  if (folder === undefined || name === undefined) return undefined;
  const size =
    block[124] === BASE_256
      ? Number(block.readBigUInt64BE(128))
      : Number.parseInt(block.toString("latin1", 124, 135), 8);
  if (!Number.isSafeInteger(size) || size < 0) return undefined;
  const member = { folder, name, size };
  return memberHeader(member).equals(block) ? member : undefined;
}

/** Where a listed file is in the stream: the head is sent twice. */
type Part = "head" | "content" | "programs";

export function partOf(name: string): Part {
  if (name.startsWith("bin/")) return "programs";
  return isSpreadName(name) ? "content" : "head";
}

const TEXTS = [COPIES_NAME, ENTRIES_NAME, FORMAT_NAME, LOCK_NAME, MANIFEST_NAME, TRUSTED_ROOT_NAME, VERIFY_NAME];

/** Whether a listed small file is only for people and stock tools: a bundle is taken from a stream without it. */
export function isTextInStream(name: string): boolean {
  return TEXTS.includes(name) || name.startsWith("airferry-v1.");
}

/** Whether a listed file is needed to follow a trust root: it comes before the other small ones. */
export function isTrustName(name: string): boolean {
  return name.startsWith("trust.");
}

/**
 * The names of a bundle in the order of the stream.
 * @param listed the names in SHA256SUMS, in its order
 * @param signatures the names in signatures/, sorted
 */
export function streamOrder(
  listed: readonly string[],
  signatures: readonly string[],
): { head: string[]; content: string[] } {
  const small = listed.filter((it) => partOf(it) === "head");
  const parity = new Map<string, string[]>();
  for (const name of listed.filter(isSpareName)) {
    const beside = /^data\.(\d{4})\./.exec(name)?.[1] ?? "";
    parity.set(beside, [...(parity.get(beside) ?? []), name]);
  }
  const volumes = listed.filter((it) => volumeIndexOf(it) !== undefined);
  const besides = volumes.map((it) => it.slice(-4));
  const apart = [...parity].filter(([beside]) => !besides.includes(beside)).flatMap(([, names]) => names);
  return {
    head: [
      SUMS_NAME,
      ...signatures.map((it) => `${SIGNATURES_NAME}/${it}`),
      ...small.filter(isTrustName),
      ...small.filter((it) => !isTrustName(it)),
    ],
    content: [
      ...volumes.flatMap((it) => [it, ...(parity.get(it.slice(-4)) ?? [])]),
      ...apart,
      ...listed.filter((it) => partOf(it) === "programs"),
    ],
  };
}
