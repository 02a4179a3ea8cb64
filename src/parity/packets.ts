/**
 * Packets of PAR2 2.0 as bytes: "Parity Volume Set Specification 2.0" (2003), as `par2` writes and reads them. All
 * numbers are little endian. MD5 is what the format has: it finds damage, and proves nothing against a forger.
 */
import { hash } from "node:crypto";

/** What every packet begins with: magic, length, MD5 of the rest, recovery set, type. */
export const HEADER_BYTES = 64;
export const MAGIC = Buffer.from("PAR2\0PKT");
/** A recovery packet's header, and its exponent before the data. */
export const SLICE_HEADER_BYTES = HEADER_BYTES + 4;
/** Of a block in an IFSC packet: MD5 and CRC-32. */
export const BLOCK_SUM_BYTES = 20;
/** The format's limit: blocks of all files of a set, for each of which there is a constant. */
export const MAX_BLOCKS = 32_768;
/** Exponents are taken modulo 65535. */
export const MAX_RECOVERY_BLOCKS = 65_535;

export const PACKET_TYPES = {
  main: "PAR 2.0\0Main\0\0\0\0",
  file: "PAR 2.0\0FileDesc",
  blocks: "PAR 2.0\0IFSC\0\0\0\0",
  slice: "PAR 2.0\0RecvSlic",
  creator: "PAR 2.0\0Creator\0",
} as const;

/** Fixed, so that the same content gives the same bytes with every version. */
const CREATOR = "airferry, parity 1";

/** A file that a set protects. */
export interface ProtectedFile {
  name: string;
  size: number;
  /** MD5 of the whole, and of its first 16 KiB. */
  md5: Buffer;
  md5Of16k: Buffer;
  /** MD5 and CRC-32 of each block, the last one filled up with zeros. */
  sums: Buffer;
}

function md5(...parts: Uint8Array[]): Buffer {
  return hash("md5", Buffer.concat(parts), "buffer");
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Filled up with zeros to a multiple of four. */
function padded(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}

function packet(setId: Buffer, type: string, body: Buffer): Buffer {
  const rest = Buffer.concat([setId, Buffer.from(type, "latin1"), body]);
  return Buffer.concat([MAGIC, uint64(HEADER_BYTES + body.length), md5(rest), rest]);
}

/** The name of a file within a set: from its first bytes, its size and its name. */
export function fileIdOf({ name, size, md5Of16k }: Pick<ProtectedFile, "name" | "size" | "md5Of16k">): Buffer {
  return md5(md5Of16k, uint64(size), Buffer.from(name));
}

/** The order of files within a set: by id, as a number whose last byte counts most. */
export function compareFileIds(a: Buffer, b: Buffer): number {
  return Buffer.from(a).reverse().compare(Buffer.from(b).reverse());
}

/** All packets of a set but the recovery data. */
interface SetPackets {
  setId: Buffer;
  /** In the order in which the set counts their blocks. */
  files: ProtectedFile[];
  /** One after the other, as they are repeated in every file. */
  packets: Buffer;
}

/** Describes a set of files. `blockSize` is a multiple of four. */
export function setPackets(files: readonly ProtectedFile[], blockSize: number): SetPackets {
  const named = files.map((file) => ({ file, id: fileIdOf(file) })).sort((a, b) => compareFileIds(a.id, b.id));
  const main = Buffer.concat([uint64(blockSize), uint32(named.length), ...named.map((it) => it.id)]);
  const setId = md5(main);
  const described = named.flatMap(({ id, file }) => {
    const text = Buffer.concat([id, file.md5, file.md5Of16k, uint64(file.size), padded(file.name)]);
    return [packet(setId, PACKET_TYPES.file, text), packet(setId, PACKET_TYPES.blocks, Buffer.concat([id, file.sums]))];
  });
  const packets = [packet(setId, PACKET_TYPES.main, main), ...described];
  packets.push(packet(setId, PACKET_TYPES.creator, padded(CREATOR)));
  return { setId, files: named.map((it) => it.file), packets: Buffer.concat(packets) };
}

/** Bytes of {@link SetPackets.packets} for files of these names and numbers of blocks. */
export function setPacketsSize(files: readonly { name: string; blocks: number }[]): number {
  const main = HEADER_BYTES + 12 + 16 * files.length;
  const described = files.map(
    ({ name, blocks }) => 2 * HEADER_BYTES + 56 + padded(name).length + 16 + BLOCK_SUM_BYTES * blocks,
  );
  return described.reduce((sum, it) => sum + it, main + HEADER_BYTES + padded(CREATOR).length);
}

/** A recovery packet up to its data: the MD5 of the packet is still to be filled in, at byte 16. */
export function sliceHeader(setId: Buffer, exponent: number, blockSize: number): Buffer {
  const type = Buffer.from(PACKET_TYPES.slice, "latin1");
  const length = uint64(SLICE_HEADER_BYTES + blockSize);
  return Buffer.concat([MAGIC, length, Buffer.alloc(16), setId, type, uint32(exponent)]);
}

/**
 * The logarithms of the first `count` constants of blocks: the format takes those powers of two whose exponent has no
 * divisor in common with 65535.
 */
export function blockLogarithms(count: number): number[] {
  const found: number[] = [];
  for (let n = 1; found.length < count; n++) if (n % 3 && n % 5 && n % 17 && n % 257) found.push(n);
  return found;
}
