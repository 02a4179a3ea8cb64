/**
 * How much parity a set of files gets, in which blocks and files: follows from sizes alone, so that it can be planned
 * before there is any content. Pure functions. docs/format.md, "Parity".
 */
import { SLICE_HEADER_BYTES, setPacketsSize } from "./packets.ts";

/** About so many blocks protect a set: more find smaller damage, and cost in proportion. */
const BLOCKS = 2000;
/** Blocks are multiples of this: the sector of most media, and a multiple of the kernel's groups. */
const BLOCK_UNIT = 4096;
/** The description of the set is at the beginning, in the middle and at the end of each file. */
const COPIES = 3;
/** A recovery file is not divided below this. */
const MIN_FILE_BYTES = 1024 * 1024;

/** A recovery file. */
export interface ParityFile {
  name: string;
  size: number;
  /** First exponent of its recovery blocks, and how many there are. */
  from: number;
  count: number;
}

/** The parity of one set of files. */
export interface ParityLayout {
  files: readonly { name: string; size: number }[];
  blockSize: number;
  /** Of all files. */
  blocks: number;
  /** Recovery blocks: so many damaged blocks can be repaired. */
  recovery: number;
  /** The first is `<base>.par2`, further ones `<base>.vol<from>-<to>.par2`. */
  parity: ParityFile[];
}

/**
 * Lays out the parity of a set.
 * @param percent of the blocks, 1 to 100
 * @param base what the names of the recovery files begin with
 * @param largest bytes of a recovery file; where a block is larger, its file is too
 */
export function layOutParity(
  files: readonly { name: string; size: number }[],
  percent: number,
  base: string,
  largest: number,
): ParityLayout {
  const total = files.reduce((sum, it) => sum + it.size, 0);
  // Of many volumes each has two, so that no block is larger than a volume.
  const wanted = Math.max(BLOCKS, 2 * files.length);
  const blockSize = Math.max(1, Math.ceil(total / wanted / BLOCK_UNIT)) * BLOCK_UNIT;
  const described = files.map(({ name, size }) => ({ name, blocks: Math.ceil(size / blockSize) }));
  const blocks = described.reduce((sum, it) => sum + it.blocks, 0);
  const recovery = Math.max(1, Math.ceil((blocks * percent) / 100));
  const fixed = COPIES * setPacketsSize(described);
  const slice = SLICE_HEADER_BYTES + blockSize;
  const perFile = Math.max(1, Math.floor((Math.max(largest, MIN_FILE_BYTES) - fixed) / slice));
  const count = Math.max(1, Math.ceil(recovery / perFile));
  const parity = Array.from({ length: count }, (_, index): ParityFile => {
    const from = Math.floor((index * recovery) / count);
    const to = Math.floor(((index + 1) * recovery) / count);
    const digits = (value: number) => String(value).padStart(4, "0");
    const name = index === 0 ? `${base}.par2` : `${base}.vol${digits(from)}-${digits(to - 1)}.par2`;
    return { name, from, count: to - from, size: fixed + (to - from) * slice };
  });
  return { files, blockSize, blocks, recovery, parity };
}

/** The parts of a recovery file, in order: recovery blocks by exponent, `null` for the description of the set. */
export function partsOf({ from, count }: ParityFile): (number | null)[] {
  const slices = Array.from({ length: count }, (_, index) => from + index);
  const middle = Math.ceil(count / 2);
  return [null, ...slices.slice(0, middle), null, ...slices.slice(middle), null];
}
