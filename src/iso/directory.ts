/**
 * Parses directory records of ISO 9660 (ECMA-119, 9.1) to entries, with names from Rock Ridge, Joliet or the plain
 * identifier. Everything is checked: lengths, names, extents against the size of the image.
 */
import { Pace } from "../io/pace.ts";
import type { Extent } from "../io/types.ts";
import { byteAt, u32 } from "./bytes.ts";
import { isoFault } from "./fault.ts";
import { decodeName, parseSystemUse, type ReadContinuation, type RockRidge } from "./susp.ts";
import type { IsoDirectoryEntry, IsoKind, IsoTree } from "./types.ts";
import { SECTOR_BYTES } from "./volume.ts";

const FLAG_DIRECTORY = 0x02;
const FLAG_ASSOCIATED = 0x04;
const FLAG_MORE_EXTENTS = 0x80;
/** More extents than a file of 16 TiB needs. */
const MAX_EXTENTS = 4096;
/** Thirty times the largest real directory. */
const MAX_RECORDS = 200_000;
/** Records between checks of the time. */
const RECORDS_AT_ONCE = 500;

/** Shared by all directories of one image. */
export interface DirectoryContext {
  label: string;
  tree: IsoTree;
  blockSize: number;
  /** Bytes of the image file. */
  imageSize: number;
  /** Bytes at the start of each System Use area that do not belong to SUSP. */
  suspSkip: number;
  readContinuation: ReadContinuation;
}

/** A record's fixed part and the offsets of its variable parts. */
interface DirectoryRecord {
  /** Offset in the image. */
  offset: number;
  flags: number;
  extent: Extent;
  mtime: number | undefined;
  identifier: Uint8Array;
  systemUse: Uint8Array;
  systemUseOffset: number;
  interleaved: boolean;
}

/** An entry, with what its directory must still resolve. */
export interface RawEntry extends IsoDirectoryEntry {
  /** CL: the real location of the directory. Its size is in its own first record. */
  childBlock?: number;
  /** RE: listed where its CL is, not here. */
  relocated?: boolean;
}

const utf16be = new TextDecoder("utf-16be");
const latin1 = new TextDecoder("latin1");

/**
 * Reads one record at `at` in `bytes`, at offset `base` of the image.
 * @throws {AirferryError} ERR_ISO_INVALID when it does not fit in its sector or its parts do not fit in it
 * @see ECMA-119, section 9.1
 */
export function parseRecord(bytes: Uint8Array, at: number, base: number, context: DirectoryContext): DirectoryRecord {
  const { label } = context;
  const offset = base + at;
  const length = bytes[at] ?? 0;
  const room = Math.min(bytes.length, at - (at % SECTOR_BYTES) + SECTOR_BYTES) - at;
  if (length < 34 || length > room) {
    throw isoFault(label, offset, "bad directory record length", {
      expected: `34 to ${Math.min(room, 255)}`,
      actual: String(length),
    });
  }
  const nameLength = byteAt(bytes, at + 32);
  if (nameLength === 0 || 33 + nameLength > length) {
    throw isoFault(label, offset + 32, "bad name length", {
      expected: `1 to ${length - 33}`,
      actual: String(nameLength),
    });
  }
  const systemUseAt = 33 + nameLength + (nameLength % 2 === 0 ? 1 : 0);
  return {
    offset,
    flags: byteAt(bytes, at + 25),
    extent: {
      offset: (u32(bytes, at + 2) + byteAt(bytes, at + 1)) * context.blockSize,
      size: u32(bytes, at + 10),
    },
    mtime: recordTime(bytes, at + 18),
    identifier: bytes.subarray(at + 33, at + 33 + nameLength),
    systemUse: bytes.subarray(at + Math.min(systemUseAt, length), at + length),
    systemUseOffset: offset + systemUseAt,
    interleaved: bytes[at + 26] !== 0 || bytes[at + 27] !== 0,
  };
}

/**
 * Parses the records of one directory into entries, in the order of the image, without `.` and `..`.
 * Records of several extents become one entry. `base` is the offset of the directory's bytes in the image.
 * @throws {AirferryError} ERR_ISO_INVALID with the offset of the record that is wrong
 */
export async function parseDirectory(bytes: Uint8Array, base: number, context: DirectoryContext): Promise<RawEntry[]> {
  const entries: RawEntry[] = [];
  const names = new Set<string>();
  const pace = new Pace((fault) => isoFault(context.label, base, fault));
  let count = 0;
  let open: RawEntry | undefined;
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] === 0) {
      // The rest of a sector that was too short for the next record.
      at += SECTOR_BYTES - (at % SECTOR_BYTES);
      continue;
    }
    const record = parseRecord(bytes, at, base, context);
    at += byteAt(bytes, at);
    if (++count > MAX_RECORDS) {
      throw isoFault(context.label, record.offset, "too many records in a directory", {
        expected: `at most ${MAX_RECORDS}`,
      });
    }
    if (count % RECORDS_AT_ONCE === 0 && pace.isDue) await pace.rest();
    if (isDotRecord(record) || record.flags & FLAG_ASSOCIATED) continue;
    let rock: RockRidge | undefined;
    if (context.tree === "rock-ridge") {
      const skipped = record.systemUse.subarray(context.suspSkip);
      const parsed = parseSystemUse(
        skipped,
        record.systemUseOffset + context.suspSkip,
        context.label,
        context.blockSize,
        context.readContinuation,
      );
      rock = parsed instanceof Promise ? await parsed : parsed;
    }
    const more = (record.flags & FLAG_MORE_EXTENTS) !== 0;
    const entry = toEntry(record, rock, context);
    if (open !== undefined) {
      if (open.name !== entry.name || entry.kind !== "file") {
        throw isoFault(context.label, record.offset, "file cut short", {
          expected: `another extent of ${JSON.stringify(open.name)}`,
          actual: JSON.stringify(entry.name),
        });
      }
      if (open.extents.length >= MAX_EXTENTS) {
        throw isoFault(context.label, record.offset, "too many extents", { expected: `at most ${MAX_EXTENTS}` });
      }
      open.extents.push(...entry.extents);
      open.size += entry.size;
      if (entry.unreadable !== undefined) open.unreadable = entry.unreadable;
    } else {
      if (names.has(entry.name)) {
        // Plain names have versions, newest first: the first counts.
        if (context.tree === "iso9660") continue;
        throw isoFault(context.label, record.offset, `the name ${JSON.stringify(entry.name)} occurs twice`);
      }
      names.add(entry.name);
      entries.push(entry);
      open = entry;
    }
    if (!more) open = undefined;
  }
  if (open !== undefined) {
    throw isoFault(context.label, base + bytes.length, "file cut short", {
      expected: `another extent of ${JSON.stringify(open.name)}`,
      actual: "the end of the directory",
    });
  }
  return entries;
}

function toEntry(record: DirectoryRecord, rock: RockRidge | undefined, context: DirectoryContext): RawEntry {
  const kind = kindOf(record, rock);
  const name = entryName(record, rock, context);
  const { extent } = record;
  const entry: RawEntry = {
    name,
    kind,
    size: kind === "symlink" || kind === "special" ? 0 : extent.size,
    extents: [],
    recordOffset: record.offset,
  };
  if (record.mtime !== undefined) entry.mtime = record.mtime;
  if (rock?.mode !== undefined) entry.mode = rock.mode & 0o7777;
  if (rock?.link !== undefined) entry.link = rock.link;
  if (rock?.compressed !== undefined) entry.unreadable = `compressed inside the image (zisofs, ${rock.compressed})`;
  if (rock?.brokenLink) entry.unreadable = "a symbolic link that was truncated when the image was created";
  if (record.interleaved) entry.unreadable = "interleaved with other files";
  if (rock?.childBlock !== undefined) entry.childBlock = rock.childBlock;
  if (rock?.relocated) entry.relocated = true;
  if (entry.size > 0 && rock?.childBlock === undefined) {
    if (extent.offset + extent.size > context.imageSize) {
      throw isoFault(context.label, record.offset, `extent of ${JSON.stringify(name)} outside the image`, {
        expected: `an end at ${context.imageSize} or before`,
        actual: String(extent.offset + extent.size),
      });
    }
    entry.extents.push(extent);
  }
  return entry;
}

function kindOf(record: DirectoryRecord, rock: RockRidge | undefined): IsoKind {
  if (record.flags & FLAG_DIRECTORY || rock?.childBlock !== undefined) return "directory";
  if (rock?.link !== undefined || rock?.brokenLink) return "symlink";
  const type = (rock?.mode ?? 0) & 0o170000;
  return type === 0 || type === 0o100000 ? "file" : type === 0o120000 ? "symlink" : "special";
}

/** `.` and `..` are recorded as the single bytes 0 and 1. */
function isDotRecord(record: DirectoryRecord): boolean {
  const [first = 0, second] = record.identifier;
  return second === undefined && first <= 1;
}

function entryName(record: DirectoryRecord, rock: RockRidge | undefined, context: DirectoryContext): string {
  let name: string;
  if (rock?.name !== undefined) name = decodeName(rock.name);
  else if (context.tree === "joliet") name = withoutVersion(utf16be.decode(record.identifier));
  else name = withoutVersion(latin1.decode(record.identifier)).replace(/\.$/, "");
  if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
    throw isoFault(context.label, record.offset, "bad name", {
      expected: "a name without '/' and NUL, not '.' or '..'",
      actual: JSON.stringify(name),
    });
  }
  return name;
}

function withoutVersion(name: string): string {
  return name.replace(/;[0-9]{1,5}$/, "");
}

/** The seven bytes of a recording date: years since 1900, …, quarters of an hour from UTC. */
function recordTime(bytes: Uint8Array, at: number): number | undefined {
  const month = byteAt(bytes, at + 1);
  if (month === 0) return undefined;
  const year = 1900 + byteAt(bytes, at);
  const utc = Date.UTC(
    year,
    month - 1,
    byteAt(bytes, at + 2),
    byteAt(bytes, at + 3),
    byteAt(bytes, at + 4),
    byteAt(bytes, at + 5),
  );
  return Math.trunc(utc / 1000) - ((byteAt(bytes, at + 6) << 24) >> 24) * 15 * 60;
}
