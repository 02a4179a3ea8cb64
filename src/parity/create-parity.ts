/**
 * Writes the recovery files of a set: stock PAR2 2.0, the same bytes for the same files every time. Two passes over the
 * files, one for checksums and one for the recovery blocks, in columns: memory does not grow with the files.
 */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { ioError } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import {
  BLOCK_SUM_BYTES,
  blockLogarithms,
  type ProtectedFile,
  SLICE_HEADER_BYTES,
  setPackets,
  sliceHeader,
} from "./packets.ts";
import { type ParityFile, type ParityLayout, partsOf } from "./parity-layout.ts";
import type { ParityPool } from "./parity-pool.ts";
import type { ColumnJob, ParityRange } from "./parity-worker.ts";

/** Checksums of one job: enough to be worth a message. */
const HASH_JOB_BYTES = 256 * 1024 * 1024;

interface CreateOptions {
  /** Where the files of the layout are. */
  pathOf: (name: string) => string;
  /** Where recovery files are written; those of these names are overwritten. */
  dir: string;
  pool: ParityPool;
  /** Called with bytes of the files as they are read; each is read three times. */
  progress?: ((bytes: number) => void) | undefined;
}

/**
 * Creates the recovery files of a layout, not synced. Returns them with their digests.
 * @throws {AirferryError} ERR_SPACE, ERR_FILE_TOO_LARGE, ERR_SIZE_MISMATCH, ERR_IO
 */
export async function createParity(
  layout: ParityLayout,
  options: CreateOptions,
): Promise<{ name: string; digest: Digest }[]> {
  const { dir, pool } = options;
  const set = setPackets(await describe(layout, options), layout.blockSize);
  for (const { name, size } of layout.parity) await makeFile(join(dir, name), size);
  await computeSlices(layout, set.files, set.packets.length, options);
  const digests: { name: string; digest: Digest }[] = [];
  await pool.each(layout.parity, async (it, run) => {
    const parts = partsOf(it).flatMap((part) =>
      part === null ? [set.packets] : [sliceHeader(set.setId, part, layout.blockSize), part],
    );
    const { sha256 } = await run({ type: "seal", file: join(dir, it.name), parts, blockSize: layout.blockSize });
    digests.push({ name: it.name, digest: `sha256:${sha256}` });
  });
  return digests.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Checksums of every file. */
async function describe(layout: ParityLayout, options: CreateOptions): Promise<ProtectedFile[]> {
  const { blockSize } = layout;
  const described = layout.files.map(({ name, size }) => {
    const sums = Buffer.alloc(Math.ceil(size / blockSize) * BLOCK_SUM_BYTES);
    return { name, size, md5: Buffer.alloc(16), md5Of16k: Buffer.alloc(16), sums };
  });
  const each = Math.max(1, Math.floor(HASH_JOB_BYTES / blockSize));
  const jobs = described.flatMap((file) => {
    const blocks = file.sums.length / BLOCK_SUM_BYTES;
    const ranges = Array.from({ length: Math.ceil(blocks / each) }, (_, index) => index * each);
    return [{ file, from: -1, to: -1 }, ...ranges.map((from) => ({ file, from, to: Math.min(blocks, from + each) }))];
  });
  await options.pool.each(jobs, async ({ file, from, to }, run) => {
    const { name, size } = file;
    const place = options.pathOf(name);
    if (from < 0) {
      const { whole } = await run({ type: "whole", file: place, size });
      file.md5 = Buffer.from(whole?.md5 ?? []);
      file.md5Of16k = Buffer.from(whole?.md5Of16k ?? []);
      options.progress?.(size);
    } else {
      const { sums } = await run({ type: "blocks", file: place, size, blockSize, from, to });
      file.sums.set(sums ?? [], from * BLOCK_SUM_BYTES);
      options.progress?.(Math.min(size, to * blockSize) - from * blockSize);
    }
  });
  return described;
}

/** Puts the data of all recovery blocks to its place. */
async function computeSlices(
  layout: ParityLayout,
  files: readonly ProtectedFile[],
  fixed: number,
  { dir, pool, pathOf, progress }: CreateOptions,
): Promise<void> {
  const { blockSize } = layout;
  const logs = blockLogarithms(layout.blocks);
  const blocks = files
    .flatMap(({ name, size }) =>
      Array.from({ length: Math.ceil(size / blockSize) }, (_, index) => ({
        file: pathOf(name),
        start: index * blockSize,
        end: Math.min(size, (index + 1) * blockSize),
      })),
    )
    .map((it, index) => ({ ...it, log: logs[index] as number }));
  const slices = layout.parity.flatMap((it) =>
    slicesOf(it, blockSize, fixed).map((at) => ({ file: join(dir, it.name), at })),
  );
  const exponents = slices.map((_, index) => index);
  await pool.each(pool.columns(blockSize, slices.length), async ({ offset, width }, run) => {
    const inputs: ColumnJob["inputs"] = blocks
      .map(({ file, start, end, log }) => {
        const from = start + offset;
        return { file, offset: from, length: Math.min(width, end - from), log };
      })
      .filter((it) => it.length > 0);
    const outputs: ParityRange[] = slices.map(({ file, at }) => ({ file, offset: at + offset, length: width }));
    await run({ type: "column", width, inputs, exponents, initial: undefined, matrix: undefined, outputs });
    progress?.(inputs.reduce((sum, it) => sum + it.length, 0));
  });
}

/** Where in a recovery file the data of its blocks begins, in the order of exponents. */
function slicesOf(file: ParityFile, blockSize: number, fixed: number): number[] {
  let position = 0;
  return partsOf(file).flatMap((part) => {
    const start = position + SLICE_HEADER_BYTES;
    position += part === null ? fixed : SLICE_HEADER_BYTES + blockSize;
    return part === null ? [] : [start];
  });
}

async function makeFile(file: string, size: number): Promise<void> {
  try {
    const handle = await open(file, "w", 0o644);
    try {
      await handle.truncate(size);
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw ioError("make", file, error);
  }
}
