/**
 * Rebuilds files of a set: good blocks from any copy, the others from recovery blocks. In columns of all blocks, so
 * that memory does not grow with the files. Whoever calls compares the result with a signed SHA-256.
 */
import { BLOCK_SUM_BYTES, blockLogarithms } from "./packets.ts";
import type { ParityPool } from "./parity-pool.ts";
import type { ColumnJob, ParityRange } from "./parity-worker.ts";
import type { ParitySet } from "./read-parity.ts";

/** Of one job of checksums. */
const HASH_JOB_BYTES = 256 * 1024 * 1024;
/** The equations of more blocks would take minutes and much memory. */
const MAX_REBUILT_BLOCKS = 4096;
/** Exponents that do not suffice together are rare, and only where some are missing. */
const MAX_CHOICES = 16;

/** In larger blocks nothing is searched for: a thread would need twice as much memory. */
const MAX_SEARCHED_BLOCK = 32 * 1024 * 1024;

/** A copy of a file of the set, which may be damaged or short. */
export interface FileCopy {
  path: string;
  size: number;
  /** It is known to be as it should be: its blocks need not be looked at. */
  good?: boolean;
}

/** What can be done about the damage. */
export interface BlockDamage {
  set: ParitySet;
  /** Where each block is good; undefined: it must be rebuilt. */
  places: (ParityRange | undefined)[];
  /** How many must be. */
  damaged: number;
  /** Of `name`, how many must be. */
  damagedIn: (name: string) => number;
  /** Whether there are enough recovery blocks. */
  isRepairable: boolean;
}

/**
 * Looks for the good blocks of all files of a set.
 * @param copiesOf files that may have the content of a file, best first; none if it is missing
 * @param progress called with bytes as they are hashed
 * @throws {AirferryError} ERR_IO when a copy cannot be opened; what cannot be read counts as damaged
 */
export async function findBlocks(
  set: ParitySet,
  copiesOf: (name: string) => readonly FileCopy[],
  pool: ParityPool,
  progress: (bytes: number) => void = () => undefined,
): Promise<BlockDamage> {
  const places = new Array<ParityRange | undefined>(set.blocks).fill(undefined);
  const each = Math.max(1, Math.floor(HASH_JOB_BYTES / set.blockSize));
  const jobs: { file: ParitySet["files"][number]; copy: FileCopy; from: number; to: number }[] = [];
  for (const file of set.files) {
    const blocks = file.sums.length / BLOCK_SUM_BYTES;
    const copies = copiesOf(file.name);
    const good = copies.find((it) => it.good === true && it.size === file.size);
    if (good !== undefined) {
      for (let at = 0; at < blocks; at++) places[file.firstBlock + at] = rangeOf(set, file, good.path, at);
      continue;
    }
    for (const copy of copies) {
      const there = Math.min(blocks, Math.ceil(copy.size / set.blockSize));
      for (let from = 0; from < there; from += each) jobs.push({ file, copy, from, to: Math.min(there, from + each) });
    }
  }
  const inPlace = new Map<FileCopy, Set<number>>();
  await pool.each(jobs, async ({ file, copy, from, to }, run) => {
    const { size, firstBlock } = file;
    const { sums } = await run({ type: "blocks", file: copy.path, size, blockSize: set.blockSize, from, to });
    const found = Buffer.from(sums ?? []);
    for (let at = from; at < to; at++) {
      const expected = file.sums.subarray(at * BLOCK_SUM_BYTES, (at + 1) * BLOCK_SUM_BYTES);
      const start = (at - from) * BLOCK_SUM_BYTES;
      if (found.compare(expected, 0, BLOCK_SUM_BYTES, start, start + BLOCK_SUM_BYTES) !== 0) continue;
      places[firstBlock + at] ??= rangeOf(set, file, copy.path, at);
      inPlace.set(copy, (inPlace.get(copy) ?? new Set()).add(at));
    }
    progress(Math.min(copy.size, to * set.blockSize) - from * set.blockSize);
  });
  for (const file of set.files)
    for (const copy of copiesOf(file.name)) await findMoved(set, file, copy, inPlace.get(copy), places, pool);
  const damaged = places.filter((it) => it === undefined).length;
  return {
    set,
    places,
    damaged,
    damagedIn: (name) => {
      const file = set.files.find((it) => it.name === name);
      const end = (file?.firstBlock ?? 0) + (file?.sums.length ?? 0) / BLOCK_SUM_BYTES;
      return places.slice(file?.firstBlock ?? 0, end).filter((it) => it === undefined).length;
    },
    isRepairable: damaged <= Math.min(set.slices.length, MAX_REBUILT_BLOCKS),
  };
}

/**
 * Looks for blocks that are not at their places, since bytes are missing before them, or there are more. Only where a
 * copy is damaged for longer than a block.
 */
async function findMoved(
  { blockSize }: ParitySet,
  file: ParitySet["files"][number],
  copy: FileCopy,
  inPlace: ReadonlySet<number> = new Set(),
  places: (ParityRange | undefined)[],
  pool: ParityPool,
): Promise<void> {
  const blocks = file.sums.length / BLOCK_SUM_BYTES;
  const sumOf = (block: number) => file.sums.slice(block * BLOCK_SUM_BYTES, (block + 1) * BLOCK_SUM_BYTES);
  const lost = Array.from({ length: blocks }, (_, block) => block).filter(
    (block) => places[file.firstBlock + block] === undefined && (block + 1) * blockSize <= file.size,
  );
  if (lost.length === 0 || blockSize > MAX_SEARCHED_BLOCK) return;
  const wanted = lost.map((block) => ({ block, sum: sumOf(block) }));
  for (const { from, to } of gapsIn(inPlace, blocks, blockSize, copy.size)) {
    const { moved } = await pool.run({ type: "search", file: copy.path, from, to, blockSize, wanted });
    for (const { block, offset } of moved ?? []) {
      const range = { file: copy.path, offset, length: blockSize, to: block * blockSize };
      places[file.firstBlock + block] ??= range;
    }
  }
}

/** Where a copy has something else than the blocks that should be there, for longer than a block. */
function gapsIn(
  inPlace: ReadonlySet<number>,
  blocks: number,
  blockSize: number,
  size: number,
): { from: number; to: number }[] {
  const gaps: { from: number; to: number }[] = [];
  let from = 0;
  const end = (to: number) => {
    if (to - from > blockSize) gaps.push({ from, to });
  };
  for (let block = 0; block < blocks; block++) {
    if (!inPlace.has(block)) continue;
    end(block * blockSize);
    from = (block + 1) * blockSize;
  }
  end(size);
  return gaps;
}

/**
 * Writes files of the set to `targets`: by name, files of their full size. Only for damage that is repairable. Returns
 * false if these recovery blocks do not suffice after all.
 * @param progress called with bytes of the set as they are read
 * @throws {AirferryError} ERR_SPACE, ERR_SIZE_MISMATCH when a copy changes meanwhile, ERR_IO
 */
export async function rebuild(
  { set, places }: BlockDamage,
  targets: ReadonlyMap<string, string>,
  pool: ParityPool,
  progress: (bytes: number) => void = () => undefined,
): Promise<boolean> {
  await pool.each(set.files, async (file, run) => {
    const to = targets.get(file.name);
    const own = places.slice(file.firstBlock, file.firstBlock + file.sums.length / BLOCK_SUM_BYTES);
    if (to !== undefined) await run({ type: "copy", from: joined(own), to });
  });
  const missing = places.flatMap((it, index) => (it === undefined ? [index] : []));
  if (missing.length === 0) return true;
  const logs = blockLogarithms(set.blocks);
  const solved = await solve(
    set,
    missing.map((it) => logs[it] as number),
    pool,
  );
  if (solved === undefined) return false;
  const { slices, matrix } = solved;
  const { blockSize } = set;
  const outputsOf = missing.map((block) => targetOf(set, block, targets));
  await pool.each(pool.columns(blockSize, 2 * missing.length), async ({ offset, width }, run) => {
    const inColumn = (it: ParityRange) => ({
      file: it.file,
      offset: it.offset + offset,
      length: Math.min(width, it.length - offset),
    });
    const inputs: ColumnJob["inputs"] = places.flatMap((it, index) => {
      const range = it && inColumn(it);
      return range === undefined || range.length <= 0 ? [] : [{ ...range, log: logs[index] as number }];
    });
    const outputs = outputsOf.map((it) => {
      const range = it && inColumn(it);
      return range === undefined || range.length <= 0 ? undefined : range;
    });
    const initial = slices.map((it) => inColumn({ ...it, length: blockSize }));
    const exponents = slices.map((it) => it.exponent);
    await run({ type: "column", width, inputs, exponents, initial, matrix, outputs });
    progress(inputs.reduce((sum, it) => sum + it.length, 0));
  });
  return true;
}

/** Chooses recovery blocks, and solves their equations for the missing blocks. */
async function solve(
  { slices }: ParitySet,
  logs: number[],
  pool: ParityPool,
): Promise<{ slices: ParitySet["slices"]; matrix: Uint16Array } | undefined> {
  for (let skip = 0; skip < MAX_CHOICES && skip + logs.length <= slices.length; skip++) {
    const chosen = slices.slice(skip, skip + logs.length);
    const { matrix } = await pool.run({ type: "invert", logs, exponents: chosen.map((it) => it.exponent) });
    if (matrix === undefined) continue;
    // Not copied into the message of each column.
    const shared = new Uint16Array(new SharedArrayBuffer(matrix.byteLength));
    shared.set(matrix);
    return { slices: chosen, matrix: shared };
  }
  return undefined;
}

function rangeOf(set: ParitySet, file: ParitySet["files"][number], path: string, block: number): ParityRange {
  const offset = block * set.blockSize;
  return { file: path, offset, length: Math.min(set.blockSize, file.size - offset) };
}

/** Where a rebuilt block goes. */
function targetOf(set: ParitySet, block: number, targets: ReadonlyMap<string, string>): ParityRange | undefined {
  const file = set.files.findLast((it) => it.firstBlock <= block && it.size > 0);
  const path = file && targets.get(file.name);
  return path === undefined
    ? undefined
    : rangeOf(set, file as ParitySet["files"][number], path, block - (file?.firstBlock ?? 0));
}

function shiftOf({ offset, to = offset }: ParityRange): number {
  return to - offset;
}

/** Ranges of the same file that follow each other, as one. */
function joined(ranges: readonly (ParityRange | undefined)[]): ParityRange[] {
  const found: ParityRange[] = [];
  for (const it of ranges) {
    const last = found.at(-1);
    if (it === undefined) continue;
    const isNext = last?.file === it.file && last.offset + last.length === it.offset;
    if (isNext && shiftOf(last) === shiftOf(it)) last.length += it.length;
    else found.push({ ...it });
  }
  return found;
}
