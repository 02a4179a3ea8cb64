/**
 * Volume descriptors of an ISO 9660 image: the sectors from 16 to the terminator (ECMA-119, 8). Finds the primary
 * descriptor, an optional Joliet one, and reports clearly when an image is UDF only.
 */
import type { RandomAccess } from "../io/types.ts";
import { isoFault } from "./fault.ts";

/** Sectors are 2048 bytes whatever the logical block size is. */
export const SECTOR_BYTES = 2048;
const FIRST_DESCRIPTOR = 16;
const MAX_DESCRIPTORS = 64;

/** One primary or supplementary volume descriptor, with the fields a reader needs. */
export interface VolumeDescriptor {
  /** Byte offset of the descriptor in the image. */
  offset: number;
  /** Logical block size in bytes: 512, 1024 or 2048. */
  blockSize: number;
  /** Size according to the volume; the file may be longer. */
  volumeBytes: number;
  volumeId: string;
  /** The 34 bytes of the root directory's record. */
  rootRecord: Uint8Array;
  rootOffset: number;
}

interface Volumes {
  primary: VolumeDescriptor;
  joliet?: VolumeDescriptor;
  /** The image also has a UDF file system. */
  udf: boolean;
}

const latin1 = new TextDecoder("latin1");
const utf16be = new TextDecoder("utf-16be");

/**
 * Reads the volume descriptors. Reads at most 64 sectors.
 * @throws {AirferryError} ERR_ISO_INVALID with the offset: not ISO 9660, UDF only, or a descriptor that contradicts
 *   itself
 * @see ECMA-119, sections 8.4 and 8.5
 */
export async function readVolumes(image: RandomAccess, label: string): Promise<Volumes> {
  let primary: VolumeDescriptor | undefined;
  let joliet: VolumeDescriptor | undefined;
  let udf = false;
  let ended = false;
  const start = FIRST_DESCRIPTOR * SECTOR_BYTES;
  const area = await image.read(start, Math.min(MAX_DESCRIPTORS * SECTOR_BYTES, Math.max(0, image.size - start)));
  for (let at = 0; at + SECTOR_BYTES <= area.length; at += SECTOR_BYTES) {
    const sector = area.subarray(at, at + SECTOR_BYTES);
    const offset = start + at;
    const id = latin1.decode(sector.subarray(1, 6));
    if (id === "NSR02" || id === "NSR03") udf = true;
    if (id === "BEA01" || id === "NSR02" || id === "NSR03" || id === "BOOT2") continue;
    if (id !== "CD001" || ended) {
      if (ended || id === "TEA01") break;
      if (at === 0) {
        throw isoFault(label, offset, "not an ISO 9660 image", { expected: '"CD001"', actual: printable(id) });
      }
      throw isoFault(label, offset, "bad volume descriptor", { expected: '"CD001"', actual: printable(id) });
    }
    const type = sector[0];
    if (type === 255) ended = true;
    else if (type === 1) primary ??= descriptor(sector, offset, label, latin1);
    else if (type === 2 && isJoliet(sector)) joliet ??= descriptor(sector, offset, label, utf16be);
  }
  if (primary === undefined) {
    if (udf) {
      throw isoFault(label, start, "the image is UDF only, and only ISO 9660 is read", {
        expected: "a primary volume descriptor",
        hint: "carry the image under /isos/NAME.iso; its content cannot be served",
      });
    }
    throw isoFault(label, start, "not an ISO 9660 image", {
      expected: "a primary volume descriptor",
      actual: area.length < SECTOR_BYTES ? `${image.size} bytes in all` : "none",
    });
  }
  if (!ended && !udf && area.length >= MAX_DESCRIPTORS * SECTOR_BYTES) {
    throw isoFault(label, start + area.length, "no end of the volume descriptors", {
      expected: `a terminator within ${MAX_DESCRIPTORS} sectors`,
    });
  }
  return joliet === undefined ? { primary, udf } : { primary, joliet, udf };
}

/** Joliet announces itself with an escape sequence for UCS-2 level 1, 2 or 3 (Joliet Specification, SVD). */
function isJoliet(sector: Uint8Array): boolean {
  const [percent, slash, level = 0] = sector.subarray(88, 91);
  return percent === 0x25 && slash === 0x2f && [0x40, 0x43, 0x45].includes(level);
}

function descriptor(
  sector: Uint8Array,
  offset: number,
  label: string,
  text: { decode(bytes: Uint8Array): string },
): VolumeDescriptor {
  const view = new DataView(sector.buffer, sector.byteOffset, sector.byteLength);
  const blockSize = view.getUint16(128, true);
  if (blockSize !== 512 && blockSize !== 1024 && blockSize !== 2048) {
    throw isoFault(label, offset + 128, "bad logical block size", {
      expected: "512, 1024 or 2048",
      actual: String(blockSize),
    });
  }
  return {
    offset,
    blockSize,
    volumeBytes: view.getUint32(80, true) * blockSize,
    volumeId: text.decode(sector.subarray(40, 72)).replace(/[\0 ]+$/, ""),
    rootRecord: sector.slice(156, 190),
    rootOffset: offset + 156,
  };
}

function printable(text: string): string {
  return JSON.stringify(text);
}
