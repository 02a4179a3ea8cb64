/**
 * One RPM header (index and data) and the package file around it: lead, signature header, main header, payload. Strict
 * about counts, offsets and ends, since everything read later trusts them. Values are decoded on demand. See rpm's
 * docs/manual/format_header.md.
 */
import { AirferryError } from "../errors.ts";
import type { RandomAccess } from "../io/types.ts";
import { SIGNATURE_TAG, TAG, TYPE, TYPE_BYTES } from "./header-tags.ts";

/** Bytes of the lead. */
const LEAD_BYTES = 96;
/** Magic, reserved bytes, two counts. */
const INTRO_BYTES = 16;
const ENTRY_BYTES = 16;
/** rpm's own limit. */
const MAX_ENTRIES = 65_535;
/** A quarter of what rpm accepts; the largest real headers (kernel sources, texlive) have some 20 MB. */
const MAX_DATA_BYTES = 64 * 1024 * 1024;
const MAX_SIGNATURE_ENTRIES = 1024;
const MAX_SIGNATURE_DATA_BYTES = 64 * 1024 * 1024;
/** Enough for lead and both headers of nearly all packages. */
export const FIRST_READ_BYTES = 32 * 1024;

interface IndexEntry {
  type: number;
  offset: number;
  count: number;
}

/** A header in memory. Unknown tags are kept; a missing tag reads as undefined or []. */
export class RpmHeader {
  /** The whole header, from its magic bytes: what header digests and signatures cover. */
  readonly bytes: Buffer;
  readonly #entries = new Map<number, IndexEntry>();
  readonly #data: Buffer;
  /** Strings still possible: each takes at least a byte, and no two tags share theirs. */
  #stringsLeft: number;

  /**
   * Checks the index against the data.
   * @param bytes exactly the header; `fail` throws, given a reason and an offset within the header
   */
  constructor(bytes: Buffer, fail: (reason: string, offset: number) => never) {
    this.bytes = bytes;
    const count = bytes.readUInt32BE(8);
    const dataStart = INTRO_BYTES + count * ENTRY_BYTES;
    this.#data = bytes.subarray(dataStart);
    this.#stringsLeft = this.#data.length;
    for (let at = INTRO_BYTES; at < dataStart; at += ENTRY_BYTES) {
      const tag = bytes.readUInt32BE(at);
      const entry = {
        type: bytes.readUInt32BE(at + 4),
        offset: bytes.readUInt32BE(at + 8),
        count: bytes.readUInt32BE(at + 12),
      };
      const fault = this.#faultOf(entry);
      if (fault !== undefined) fail(`${fault} in tag ${tag}`, at);
      if (this.#entries.has(tag)) fail(`tag ${tag} twice`, at);
      this.#entries.set(tag, entry);
    }
  }

  #faultOf({ type, offset, count }: IndexEntry): string | undefined {
    const size = TYPE_BYTES[type];
    if (size === undefined) return `unknown type ${type}`;
    if (count === 0 && type !== TYPE.null) return "no values";
    if (offset > this.#data.length || count > this.#data.length) return "a value outside the data";
    if (size > 0) {
      if (offset % size !== 0 && type !== TYPE.bin) return "a misaligned value";
      return offset + count * size > this.#data.length ? "a value outside the data" : undefined;
    }
    if (type === TYPE.string && count !== 1) return "a string with a count";
    if (type !== TYPE.null) this.#stringsLeft -= count;
    if (this.#stringsLeft < 0) return "more strings than fit";
    // Strings follow each other, a NUL byte after each.
    for (let at = offset, left = count; left > 0 && type !== TYPE.null; left--) {
      const end = this.#data.indexOf(0, at);
      if (end < 0) return "a string without end";
      at = end + 1;
    }
    return undefined;
  }

  /** Returns whether the tag is present. */
  has(tag: number): boolean {
    return this.#entries.has(tag);
  }

  /** Type and number of values of a tag. */
  shapeOf(tag: number): { type: number; count: number } | undefined {
    return this.#entries.get(tag);
  }

  /** The first string of a tag; for translated texts, the untranslated one. */
  string(tag: number): string | undefined {
    const entry = this.#entries.get(tag);
    if (!entry || !isText(entry.type)) return undefined;
    return decodeText(this.#data.subarray(entry.offset, this.#data.indexOf(0, entry.offset)));
  }

  /** All strings of a tag, in order. */
  strings(tag: number): string[] {
    const entry = this.#entries.get(tag);
    if (!entry || !isText(entry.type)) return [];
    const found: string[] = [];
    for (let at = entry.offset; found.length < entry.count; ) {
      const end = this.#data.indexOf(0, at);
      found.push(decodeText(this.#data.subarray(at, end)));
      at = end + 1;
    }
    return found;
  }

  /** The first number of a tag. Of 64-bit values, those beyond 2^53 lose digits. */
  number(tag: number): number | undefined {
    return this.numbers(tag)[0];
  }

  /** All numbers of a tag, unsigned, in order. */
  numbers(tag: number): number[] {
    const entry = this.#entries.get(tag);
    if (!entry) return [];
    const { type, offset, count } = entry;
    switch (type) {
      case TYPE.char:
      case TYPE.int8:
        return Array.from(this.#data.subarray(offset, offset + count));
      case TYPE.int16:
        return Array.from({ length: count }, (_, i) => this.#data.readUInt16BE(offset + i * 2));
      case TYPE.int32:
        return Array.from({ length: count }, (_, i) => this.#data.readUInt32BE(offset + i * 4));
      case TYPE.int64:
        return Array.from({ length: count }, (_, i) => Number(this.#data.readBigUInt64BE(offset + i * 8)));
      default:
        return [];
    }
  }

  /** The bytes of a binary tag, a view. */
  bin(tag: number): Buffer | undefined {
    const entry = this.#entries.get(tag);
    if (entry?.type !== TYPE.bin) return undefined;
    return this.#data.subarray(entry.offset, entry.offset + entry.count);
  }
}

function isText(type: number): boolean {
  return type === TYPE.string || type === TYPE.stringArray || type === TYPE.i18nString;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8, or else ISO 8859-1, which old packages use and createrepo_c assumes. */
export function decodeText(bytes: Buffer): string {
  if (bytes.length < 64 && isAscii(bytes)) return bytes.toString("latin1");
  try {
    return UTF8.decode(bytes);
  } catch {
    return bytes.toString("latin1");
  }
}

function isAscii(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) if ((bytes[i] as number) > 0x7f) return false;
  return true;
}

/** What a package file consists of. Offsets count from its first byte. */
export interface RpmFile {
  /** Name for messages. */
  name: string;
  size: number;
  /** Package format by the lead's major version: 3 or 4 (v4 and v6 packages look alike there). */
  leadVersion: number;
  signature: RpmHeader;
  header: RpmHeader;
  /** Where the main header starts and where it ends: `rpm:header-range`. The payload starts at its end. */
  headerStart: number;
  headerEnd: number;
}

/**
 * Reads lead and both headers of a package. Reads at most the headers' size, and never more than the file has.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID with file, offset and reason
 */
export async function readRpmFile(source: RandomAccess, name: string): Promise<RpmFile> {
  const first = asBuffer(await source.read(0, Math.min(FIRST_READ_BYTES, source.size)));
  const read = async (position: number, length: number): Promise<Buffer> => {
    if (position + length > source.size) throw invalidRpm(name, source.size, "it ends early");
    if (position + length <= first.length) return first.subarray(position, position + length);
    const bytes = asBuffer(await source.read(position, length));
    if (bytes.length !== length) throw invalidRpm(name, position + bytes.length, "it ends early");
    return bytes;
  };
  const lead = await read(0, LEAD_BYTES);
  if (lead.readUInt32BE(0) !== 0xedabeedb)
    throw invalidRpm(name, 0, "not an RPM package: the lead has the wrong magic");
  const leadVersion = lead[4] as number;
  if (leadVersion < 3 || leadVersion > 6) throw invalidRpm(name, 4, `unknown package version ${leadVersion}`);
  const signatureType = lead.readUInt16BE(78);
  if (signatureType !== 5) throw invalidRpm(name, 78, `unknown signature type ${signatureType}`);

  const signature = await readHeader(read, LEAD_BYTES, name, "signature header", {
    entries: MAX_SIGNATURE_ENTRIES,
    data: MAX_SIGNATURE_DATA_BYTES,
  });
  const headerStart = LEAD_BYTES + Math.ceil(signature.bytes.length / 8) * 8;
  const header = await readHeader(read, headerStart, name, "header", { entries: MAX_ENTRIES, data: MAX_DATA_BYTES });
  requireRegion(header, name, headerStart);
  return {
    name,
    size: source.size,
    leadVersion,
    signature,
    header,
    headerStart,
    headerEnd: headerStart + header.bytes.length,
  };
}

async function readHeader(
  read: (position: number, length: number) => Promise<Buffer>,
  start: number,
  name: string,
  what: string,
  limits: { entries: number; data: number },
): Promise<RpmHeader> {
  const intro = await read(start, INTRO_BYTES);
  if (intro.readUInt32BE(0) !== 0x8eade801) throw invalidRpm(name, start, `the ${what} has the wrong magic`);
  const entries = intro.readUInt32BE(8);
  const data = intro.readUInt32BE(12);
  if (entries === 0 || entries > limits.entries) throw invalidRpm(name, start + 8, `${entries} entries in the ${what}`);
  if (data > limits.data) throw invalidRpm(name, start + 12, `${data} bytes of data in the ${what}`);
  const bytes = await read(start, INTRO_BYTES + entries * ENTRY_BYTES + data);
  return new RpmHeader(bytes, (reason, offset) => {
    throw invalidRpm(name, start + offset, `${reason} of the ${what}`);
  });
}

/**
 * A region, if present, must hold the whole header: rpm takes its end from the region's trailer, so anything beyond
 * would be data that no signature covers.
 */
function requireRegion(header: RpmHeader, name: string, start: number): void {
  const trailer = header.bin(TAG.headerImmutable);
  if (!trailer) {
    if (header.has(TAG.headerImmutable)) throw invalidRpm(name, start + INTRO_BYTES, "a region of the wrong type");
    return;
  }
  const { bytes } = header;
  const entries = bytes.readUInt32BE(8);
  const firstTag = bytes.readUInt32BE(INTRO_BYTES);
  if (firstTag !== TAG.headerImmutable || trailer.length !== ENTRY_BYTES) {
    throw invalidRpm(name, start + INTRO_BYTES, "a malformed region");
  }
  const regionEntries = -trailer.readInt32BE(8) / ENTRY_BYTES;
  const end = bytes.readUInt32BE(INTRO_BYTES + 8) + ENTRY_BYTES;
  if (trailer.readUInt32BE(0) !== TAG.headerImmutable || regionEntries !== entries || end !== bytes.readUInt32BE(12)) {
    throw invalidRpm(name, start + INTRO_BYTES, "a region that is not the whole header");
  }
}

/** True for a source package. */
export function isSourcePackage({ header }: Pick<RpmFile, "header">): boolean {
  return header.has(TAG.sourcePackage) || !header.has(TAG.sourceRpm);
}

/** Size of the uncompressed payload, from wherever this package version stores it. */
export function archiveSizeOf({ header, signature }: Pick<RpmFile, "header" | "signature">): number {
  return (
    header.number(TAG.archiveSize) ??
    signature.number(SIGNATURE_TAG.payloadSize) ??
    header.number(TAG.longArchiveSize) ??
    signature.number(SIGNATURE_TAG.longArchiveSize) ??
    0
  );
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The error for a package that is damaged or hostile. */
export function invalidRpm(name: string, offset: number, reason: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read package "${name}": ${reason}, at byte ${offset}`, {
    path: name,
    hint: "the package is damaged; fetch it again, or report it upstream",
  });
}
