/**
 * How the tar stream is cut into volumes: sizes by medium, names, and which pieces of which volumes a range of the
 * stream covers. Pure functions. docs/format.md, "Volumes".
 */
import { AirferryError } from "../errors.ts";
import { parseBytes } from "../io/format.ts";
import { MIN_VOLUME_BYTES, VOLUME_UNIT_BYTES } from "./format-limits.ts";

const MIB = 1024 * 1024;
/** FAT32 holds files up to 4 GiB - 1 byte; 4095 MiB is the largest round size below. */
const DEFAULT_VOLUME_BYTES = 4095 * MIB;
/**
 * Reserved on a medium for the small files, the programs of two architectures (208 MiB) and the file system itself. The
 * same whether there are programs or not: the same lock gives the same volumes.
 */
const MEDIUM_RESERVE_BYTES = 320 * MIB;

/** Usable bytes of media. A `fat32` medium is one volume. */
const MEDIA = new Map([
  ["dvd", 4_700_372_992],
  ["dvd-dl", 8_543_666_176],
  ["bd25", 25_025_314_816],
  ["bd50", 50_050_629_632],
  ["bd100", 100_103_356_416],
]);

/** How to cut: the size of a volume and how many fit on one medium. */
interface VolumeCut {
  volumeSize: number;
  volumesPerMedium: number;
}

/**
 * Parses `--volume-size`: `fat32`, `dvd`, `dvd-dl`, `bd25`, `bd50`, `bd100`, or a size such as `700MiB`, `4GB`, `1G`
 * (binary) or plain bytes. A medium larger than 4 GiB gets several equal volumes, so each fits on any file system.
 * @param beside bytes on the same medium for each volume of a size, for parity
 * @throws {AirferryError} ERR_USAGE
 */
export function parseVolumeSize(text: string, beside: (volumeSize: number) => number = () => 0): VolumeCut {
  const lower = text.trim().toLowerCase();
  if (lower === "fat32") return { volumeSize: DEFAULT_VOLUME_BYTES, volumesPerMedium: 1 };
  const capacity = MEDIA.get(lower);
  if (capacity !== undefined) {
    const usable = capacity - MEDIUM_RESERVE_BYTES;
    const volumesPerMedium = Math.ceil(usable / (DEFAULT_VOLUME_BYTES + beside(DEFAULT_VOLUME_BYTES)));
    let volumeSize = Math.floor(usable / volumesPerMedium / MIB) * MIB;
    while ((volumeSize + beside(volumeSize)) * volumesPerMedium > usable) volumeSize -= MIB;
    return { volumeSize, volumesPerMedium };
  }
  const size = parseBytes(lower);
  if (size === undefined || size < MIN_VOLUME_BYTES) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot read volume size "${text}": expected ${["fat32", ...MEDIA.keys()].join(", ")} or a size of at least ${MIN_VOLUME_BYTES} bytes`,
      { hint: "for example: --volume-size bd25, --volume-size 700MiB" },
    );
  }
  // 700 MB is no whole number of blocks: a volume is not larger than what was asked for.
  return { volumeSize: size - (size % VOLUME_UNIT_BYTES), volumesPerMedium: 1 };
}

/** Begins the names of volumes, and no other name. */
export const VOLUME_PREFIX = "data.tar.";

/** Name of volume `index`, counting from 0: `data.tar.0000`. */
export function volumeName(index: number): string {
  return `${VOLUME_PREFIX}${String(index).padStart(4, "0")}`;
}

const VOLUME_NAME = /^data\.tar\.(\d{4})$/;

/** Returns the index of a volume by its name, undefined for any other name. */
export function volumeIndexOf(name: string): number | undefined {
  const digits = VOLUME_NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** Sizes of all volumes: equal except the last. */
export function volumeSizes(streamSize: number, volumeSize: number): number[] {
  const count = Math.ceil(streamSize / volumeSize);
  return Array.from({ length: count }, (_, index) => Math.min(volumeSize, streamSize - index * volumeSize));
}

/** A piece of one volume. */
interface VolumePiece {
  /** Index of the volume. */
  volume: number;
  /** First byte inside that volume. */
  offset: number;
  length: number;
}

/** Returns the pieces of volumes that a range of the stream covers, in order; none for an empty range. */
export function piecesOf(position: number, length: number, volumeSize: number): VolumePiece[] {
  const pieces: VolumePiece[] = [];
  let at = position;
  const end = position + length;
  while (at < end) {
    const volume = Math.floor(at / volumeSize);
    const offset = at - volume * volumeSize;
    const size = Math.min(end - at, volumeSize - offset);
    pieces.push({ volume, offset, length: size });
    at += size;
  }
  return pieces;
}

const NUMBERS = /^\d{1,4}(?:-\d{1,4})?(?:,\d{1,4}(?:-\d{1,4})?)*$/;

/** Numbers of volumes as people write them: `1,7-9`. Undefined for anything else. */
export function parseVolumeNumbers(text: string): Set<number> | undefined {
  if (!NUMBERS.test(text)) return undefined;
  const numbers = new Set<number>();
  for (const range of text.split(",")) {
    const [from = 0, to = from] = range.split("-").map(Number);
    if (to < from) return undefined;
    for (let it = from; it <= to; it++) numbers.add(it);
  }
  return numbers;
}

/** The numbers of volumes by their names, given in order, as {@link parseVolumeNumbers} reads them. */
export function volumeNumbers(names: readonly string[]): string {
  const runs: { from: number; to: number }[] = [];
  for (const it of names.map((name) => volumeIndexOf(name) ?? 0)) {
    const last = runs.at(-1);
    if (last !== undefined && last.to + 1 === it) last.to = it;
    else runs.push({ from: it, to: it });
  }
  return runs.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(",");
}
