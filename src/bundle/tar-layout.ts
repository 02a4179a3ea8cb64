/**
 * The position of every byte of the tar stream, and the bytes that are not content: headers, padding, end of archive.
 * All of it is a pure function of path, size and mode, so a reader recomputes headers and never parses tar from a
 * medium. docs/format.md, "The tar stream".
 */

/** tar's unit: headers are this long, content is padded to a multiple of it. */
const TAR_BLOCK_BYTES = 512;
/** 1980-01-01T00:00:00Z: the oldest time that FAT can hold and that GNU tar does not call implausible. */
export const TAR_MTIME = 315_532_800;
/** Two blocks of zeros end the archive. */
export const END_BYTES = 2 * TAR_BLOCK_BYTES;

const NAME_BYTES = 100;
const PREFIX_BYTES = 155;
/** From this size on, eleven octal digits are not enough, and base 256 is used. */
const MAX_OCTAL_SIZE = 8 ** 11;
const LONG_LINK = "././@LongLink";

/** What determines an entry's header. */
export interface TarItem {
  path: string;
  /** Bytes of content. */
  size: number;
  mode: "0644" | "0755";
}

/** Where an entry is in the stream. */
interface TarPlace {
  /** First byte of its header records. */
  headerOffset: number;
  /** First byte of its content: the inventory's `offset`. */
  offset: number;
}

/** Splits a path into ustar's prefix and name: the longest prefix that fits; undefined when none does. */
function splitPath(path: Buffer): { prefix: Buffer | undefined; name: Buffer } | undefined {
  if (path.length <= NAME_BYTES) return { prefix: undefined, name: path };
  for (let slash = Math.min(PREFIX_BYTES, path.length - 2); slash > 0; slash--) {
    if (path[slash] !== 0x2f) continue;
    if (path.length - slash - 1 > NAME_BYTES) return undefined;
    return { prefix: path.subarray(0, slash), name: path.subarray(slash + 1) };
  }
  return undefined;
}

/**
 * The name field after a long-name record: the first 100 bytes, without a slash at the end, since some readers treat a
 * name that ends in one as a directory before they look at the record.
 */
function cutName(path: Buffer): Buffer {
  return path.subarray(0, path[NAME_BYTES - 1] === 0x2f ? NAME_BYTES - 1 : NAME_BYTES);
}

/** Length of the header records of a path: 512, or more with a GNU long-name record. */
export function headerSize(path: string): number {
  const bytes = Buffer.byteLength(path);
  if (bytes <= NAME_BYTES || splitPath(Buffer.from(path)) !== undefined) return TAR_BLOCK_BYTES;
  return TAR_BLOCK_BYTES + paddedSize(bytes + 1) + TAR_BLOCK_BYTES;
}

/** Size rounded up to whole blocks. */
export function paddedSize(size: number): number {
  return Math.ceil(size / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
}

interface Fields {
  name: Buffer;
  prefix: Buffer | undefined;
  mode: number;
  size: number;
  type: "0" | "L";
}

function octal(header: Buffer, value: number, at: number, length: number): void {
  header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
}

/** Fills one block, which must be zeros. */
function fillBlock(header: Buffer, { name, prefix, mode, size, type }: Fields): void {
  name.copy(header, 0, 0, NAME_BYTES);
  octal(header, mode, 100, 8);
  octal(header, 0, 108, 8);
  octal(header, 0, 116, 8);
  if (size < MAX_OCTAL_SIZE) octal(header, size, 124, 12);
  else {
    header[124] = 0x80;
    header.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(header, TAR_MTIME, 136, 12);
  header.write(`        ${type}`, 148, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  octal(header, 0, 329, 8);
  octal(header, 0, 337, 8);
  prefix?.copy(header, 345);
  let sum = 0;
  for (let at = 0; at < TAR_BLOCK_BYTES; at++) sum += header[at] as number;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

/** Returns the header records that stand before an entry's content. The path is taken as it is, see entry-paths.ts. */
export function headerBytes(item: TarItem): Buffer {
  const header = Buffer.alloc(headerSize(item.path));
  writeHeader(item, header);
  return header;
}

/** Writes the header records of an entry to the start of `to`, which must be zeros there; returns their length. */
export function writeHeader({ path, size, mode }: TarItem, to: Buffer): number {
  let at = 0;
  const next = (length: number) => {
    at += length;
    return to.subarray(at - length, at);
  };
  const bytes = Buffer.from(path);
  const bits = mode === "0755" ? 0o755 : 0o644;
  const split = splitPath(bytes);
  if (split === undefined) {
    const long = { name: Buffer.from(LONG_LINK), prefix: undefined, mode: 0o644, size: bytes.length + 1 };
    fillBlock(next(TAR_BLOCK_BYTES), { ...long, type: "L" });
    bytes.copy(next(paddedSize(bytes.length + 1)));
  }
  const { name, prefix } = split ?? { name: cutName(bytes), prefix: undefined };
  fillBlock(next(TAR_BLOCK_BYTES), { name, prefix, mode: bits, size, type: "0" });
  return at;
}

/**
 * Places entries one after the other in the order given.
 * Returns a place per item, in the same order, and the length of the whole stream with its end of archive.
 */
export function layOut(items: Iterable<TarItem>): { places: TarPlace[]; streamSize: number } {
  const places: TarPlace[] = [];
  const streamSize = placeEach(items, (_, headerOffset, offset) => places.push({ headerOffset, offset }));
  return { places, streamSize };
}

/** The same for many items: calls back with the place of each, and returns the length of the stream. */
export function placeEach<I extends TarItem>(
  items: Iterable<I>,
  place: (item: I, headerOffset: number, offset: number) => void,
): number {
  let position = 0;
  for (const item of items) {
    const offset = position + headerSize(item.path);
    place(item, position, offset);
    position = offset + paddedSize(item.size);
  }
  return position + END_BYTES;
}
