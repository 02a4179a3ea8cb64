/** Opens the folder that a pack fills, if the disk has space for the rest. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { WorkFolder, workFolderName } from "../bundle/work-folder.ts";
import { verifySpace } from "../io/space.ts";
import type { PackJob } from "./job.ts";
import type { Plan } from "./lay-out.ts";
import { parityFiles, planParity } from "./pack-parity.ts";

/** Space for the inventory, signatures and journal besides the volumes. */
const SMALL_FILES_BYTES = 16 * 1024 * 1024;
/** What an item takes in them, and in the bill of materials. */
const ITEM_BYTES = 1024;

/**
 * Opens the folder that a plan is filled into, if there is space for the rest.
 * @throws {AirferryError} ERR_SPACE, ERR_BUSY, ERR_IO
 */
export async function openWork(job: PackJob, plan: Plan): Promise<AsyncDisposable & { folder: WorkFolder }> {
  const { out, pool, programs } = job;
  const recovery = parityFiles(planParity(plan, job));
  const written = await allocatedBytes(join(out, workFolderName(plan)), plan);
  await verifySpace("pack into", out, {
    bytes:
      Math.max(0, plan.streamSize - written) +
      SMALL_FILES_BYTES +
      plan.items.length * ITEM_BYTES +
      recovery.reduce((sum, it) => sum + it.size, 0) +
      programs.reduce((sum, it) => sum + it.size, 0),
    files: plan.volumes.length + recovery.length + 64,
    largest: [...plan.volumes, ...recovery].reduce((most, it) => Math.max(most, it.size), 0),
  });
  const folder = await WorkFolder.open(out, plan, pool);
  return { folder, [Symbol.asyncDispose]: () => folder.close() };
}

/** Bytes that the volumes of an interrupted pack already occupy on disk. */
async function allocatedBytes(dir: string, plan: Plan): Promise<number> {
  let bytes = 0;
  for (const { name } of plan.volumes)
    bytes += ((await stat(join(dir, name)).catch(() => undefined))?.blocks ?? 0) * 512;
  return bytes;
}
