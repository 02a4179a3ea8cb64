/** The parity of a bundle: its amount and places, which can be planned, and its files once the volumes are filled. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { SpreadFile } from "../bundle/finish.ts";
import { volumeName } from "../bundle/volume-layout.ts";
import { releaseMemory } from "../io/flat-memory.ts";
import { runToEnd } from "../io/limit.ts";
import { createParity } from "../parity/create-parity.ts";
import { layOutParity, type ParityLayout } from "../parity/parity-layout.ts";
import { ParityPool } from "../parity/parity-pool.ts";

/** What `--parity` and `--parity-set` ask for, in percent of the blocks. */
export interface ParityShares {
  /** For each volume by itself. */
  parity?: number | undefined;
  /** For all volumes together. */
  paritySet?: number | undefined;
}

/** What the names of the recovery files of all volumes begin with. */
const SET_BASE = "data.set";

/** A set of recovery files; `beside` is the index of the volume that it belongs to. */
interface PlannedParity {
  layout: ParityLayout;
  beside?: number;
}

/** Bytes of the recovery files of one volume. */
export function parityBeside(volumeSize: number, percent: number): number {
  const { parity } = layOutParity([{ name: volumeName(0), size: volumeSize }], percent, "", Number.POSITIVE_INFINITY);
  return parity.reduce((sum, it) => sum + it.size, 0);
}

/** The parity of volumes. */
export function planParity(
  { volumes, volumeSize }: { volumes: readonly { name: string; size: number }[]; volumeSize: number },
  { parity, paritySet }: ParityShares,
): PlannedParity[] {
  return [
    ...(parity === undefined ? [] : volumes).map((it, beside) => ({
      layout: layOutParity([it], parity ?? 0, it.name.replace("tar.", ""), volumeSize),
      beside,
    })),
    ...(paritySet === undefined || volumes.length === 0
      ? []
      : [{ layout: layOutParity(volumes, paritySet, SET_BASE, volumeSize) }]),
  ];
}

/** Names and sizes of all recovery files. */
export function parityFiles(planned: readonly PlannedParity[]): { name: string; size: number }[] {
  return planned.flatMap(({ layout }) => layout.parity.map(({ name, size }) => ({ name, size })));
}

/**
 * Writes the recovery files of a filled folder beside its volumes, not synced. What a failure leaves is removed.
 * @param progress called with bytes of the volumes as they are read, each three times, and the total
 * @throws {AirferryError} ERR_SPACE, ERR_FILE_TOO_LARGE, ERR_IO
 */
export async function writeParity(
  dir: string,
  planned: readonly PlannedParity[],
  progress: (done: number, total: number) => void = () => undefined,
): Promise<SpreadFile[]> {
  if (planned.length === 0) return [];
  // Whatever filled the volumes is not needed any more.
  releaseMemory();
  const pool = new ParityPool();
  // Twice of it for checksums.
  const total = 3 * planned.flatMap(({ layout }) => layout.files).reduce((sum, it) => sum + it.size, 0);
  let done = 0;
  const files: SpreadFile[] = [];
  try {
    for (const { layout, beside } of planned) {
      const digests = await createParity(layout, {
        pathOf: (name) => join(dir, name),
        dir,
        pool,
        progress: (bytes) => {
          done += bytes;
          progress(Math.min(done, total), total);
        },
      });
      files.push(...digests.map((it) => ({ ...it, ...(beside !== undefined && { beside }) })));
    }
  } catch (error) {
    await runToEnd(async () => {
      for (const { name } of parityFiles(planned)) await rm(join(dir, name), { force: true });
    });
    throw error;
  } finally {
    await pool.close();
  }
  return files;
}
