/**
 * Good volumes from whatever is there: another copy, good blocks of several copies, and parity. A volume is written
 * under a name that readers ignore, hashed, and only then gets its own.
 */
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { affectedEntries } from "../bundle/affected-entries.ts";
import type { Inventory, InventoryVolume } from "../bundle/inventory-types.ts";
import { ioError, syncPath } from "../io/atomic.ts";
import { plural } from "../io/format.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { runToEnd } from "../io/limit.ts";
import { type HeldLock, takeLock } from "../io/process-lock.ts";
import type { ParityPool } from "../parity/parity-pool.ts";
import { type ParitySet, readParity } from "../parity/read-parity.ts";
import { type BlockDamage, type FileCopy, findBlocks, rebuild } from "../parity/rebuild.ts";
import { clear, TEMPORARY } from "./listed-files.ts";
import { mergeContent } from "./merge-content.ts";
import type { RepairJob } from "./open-repair.ts";

/** What became of a volume that was not good. */
export interface VolumeRepair {
  name: string;
  /**
   * `repaired`: written; `repairable`: it would be; `missing`: on none of the media, and not written; `lost`:
   * damaged, and nothing repairs it.
   */
  state: "repaired" | "repairable" | "missing" | "lost";
  /** What repairs it: another whole copy, blocks of recovery files, or entries and pieces of damaged copies. */
  by: "copy" | "blocks" | "pieces" | null;
  /** Blocks of it that are damaged in every copy; null: no recovery file describes it. */
  damagedBlocks: number | null;
  /** Recovery blocks that were found for it. */
  recoveryBlocks: number;
  /** What is wrong, and which entries it concerns. */
  message: string;
  /** The new file. */
  file: string | null;
  /** Of a missing one: another copy of the bundle that has a good one. */
  other?: string;
}

interface RepairOptions {
  hashes: HashPool;
  pool: ParityPool;
  /** Where the new file of a volume goes; undefined: nothing is written. */
  placeOf: (index: number) => string | undefined;
  /** Whether nothing is to be written, but all to be tried. */
  isTrial: boolean;
  progress: (bytes: number) => void;
}

/** Held while files of a folder are written: what one process has hashed, another must not replace. */
const LOCK = `${TEMPORARY}lock`;
/** Blocks of recovery files are no larger than a volume, or than this. */
const MAX_PADDED_BLOCK = 16 * 1024 * 1024;

interface Needy {
  index: number;
  volume: InventoryVolume;
  copies: FileCopy[];
  repair: VolumeRepair;
}

/**
 * Repairs the volumes that have no good copy in the bundle's own folders.
 * @param goodOf a good copy of a volume anywhere; undefined if there is none
 * @param needed indexes of the volumes to write
 */
export async function repairVolumes(
  job: RepairJob,
  needed: readonly number[],
  goodOf: ReadonlyMap<number, string>,
  options: RepairOptions,
): Promise<VolumeRepair[]> {
  const needy = needed.map((index) => needyVolume(job, index));
  const good = new Map(goodOf);
  for (const it of needy) {
    const from = good.get(it.index);
    if (from === undefined) continue;
    it.repair.by = "copy";
    await write([it], options, async (targets) => {
      const to = targets.get(it.volume.name) ?? "";
      await options.pool.run({ type: "copy", from: [{ file: from, offset: 0, length: it.volume.size }], to });
      return true;
    });
  }
  const left = () => needy.filter((it) => it.repair.state === "lost" || it.repair.state === "missing");
  if (left().length === 0) return needy.map((it) => it.repair);
  // Sets of one volume first: what they repair, a set of all need not.
  const sets = (await readParity(job.parity, options.pool)).sort((a, b) => a.files.length - b.files.length);
  for (const set of sets) await repairBySet(job, set, left(), good, options);
  for (const it of left()) if (it.copies.length + job.donors.length > 0) await repairByContent(job, it, good, options);
  return needy.map((it) => it.repair);
}

function needyVolume({ copies, loose, contents }: RepairJob, index: number): Needy {
  const { inventory } = contents;
  const volume = inventory.volumes[index] as InventoryVolume;
  const own = copies[index] ?? [];
  const read = own.filter((it) => it.size > 0);
  const whole = { position: index * inventory.volumeSize, length: volume.size };
  return {
    index,
    volume,
    copies: [...read, ...loose.filter((it) => it.index === undefined || it.index === index)],
    repair: {
      name: volume.name,
      state: own.length === 0 ? "missing" : "lost",
      by: null,
      damagedBlocks: null,
      recoveryBlocks: 0,
      message: `"${volume.name}" is ${own.length === 0 ? "missing" : "damaged"}; touches ${affectedEntries(inventory, whole, [whole])}`,
      file: null,
    },
  };
}

async function repairBySet(
  { contents, files }: RepairJob,
  set: ParitySet,
  left: readonly Needy[],
  good: Map<number, string>,
  options: RepairOptions,
): Promise<void> {
  const { inventory } = contents;
  // The rest of a block behind a file's end is hashed as zeros: a claim of petabytes would never end.
  if (set.blockSize > Math.max(MAX_PADDED_BLOCK, (inventory.volumes[0]?.size ?? 0) + 3)) return;
  // Names in a recovery file are compared and never used; a volume of another size is none.
  const sizes = new Map(set.files.map((it) => [it.name, it.size]));
  const indexes = new Map(
    inventory.volumes.flatMap(({ name, size }, index) => (sizes.get(name) === size ? [[name, index]] : [])),
  );
  const own = left.filter((it) => indexes.has(it.volume.name));
  if (own.length === 0) return;
  const copiesOf = (name: string): readonly FileCopy[] => {
    const index = indexes.get(name);
    const other = files.get(name);
    if (index === undefined) return other === undefined ? [] : [other];
    const path = good.get(index);
    if (path !== undefined) return [{ path, size: inventory.volumes[index]?.size ?? 0, good: true }];
    return left.find((it) => it.index === index)?.copies ?? [];
  };
  const damage = await findBlocks(set, copiesOf, options.pool, options.progress);
  for (const it of own) {
    it.repair.damagedBlocks = damage.damagedIn(it.volume.name);
    it.repair.recoveryBlocks = set.slices.length;
    it.repair.message = messageOf(it, damage, inventory);
    if (damage.isRepairable) it.repair.by = "blocks";
  }
  if (!damage.isRepairable) return;
  await write(own, options, (targets) => rebuild(damage, targets, options.pool, options.progress));
  for (const { index, repair } of own) {
    if (repair.state === "repaired" || repair.state === "repairable") good.set(index, repair.file ?? "");
    else repair.by = null;
  }
}

/** Takes each entry, and each piece of a large one, from a copy that has it. */
async function repairByContent(
  job: RepairJob,
  needy: Needy,
  good: ReadonlyMap<number, string>,
  options: RepairOptions,
): Promise<void> {
  const { repair, index, copies } = needy;
  const merge = async (target: string | undefined) => {
    const copiesOf = (volume: number) => {
      const path = good.get(volume);
      const others = volume === index ? copies : (job.copies[volume] ?? []);
      return path === undefined || path === "" ? others.map((it) => it.path) : [path];
    };
    const lost = await mergeContent(job, index, { copiesOf, target, progress: options.progress });
    if (lost.length > 0) repair.message += `; good in no copy: ${lost.join(", ")}`;
    return lost.length === 0;
  };
  if (options.isTrial) {
    if (await merge(undefined)) repair.state = "repairable";
  } else await write([needy], options, (targets) => merge(targets.get(needy.volume.name)));
  if (repair.state === "repairable" || repair.state === "repaired") repair.by = "pieces";
}

/** Which blocks are damaged, how many can be repaired, and which entries it concerns. */
function messageOf(
  { volume, index }: Needy,
  { set, places, damaged, damagedIn }: BlockDamage,
  inventory: Inventory,
): string {
  const { blockSize } = set;
  const own = damagedIn(volume.name);
  const first = set.files.find((it) => it.name === volume.name)?.firstBlock ?? 0;
  const whole = { position: index * inventory.volumeSize, length: volume.size };
  const bad = places
    .slice(first, first + Math.ceil(volume.size / blockSize))
    .flatMap((it, at) => (it === undefined ? [{ position: whole.position + at * blockSize, length: blockSize }] : []));
  const others = damaged > own ? `, ${damaged - own} of other files` : "";
  const recovery = plural(set.slices.length, "recovery block");
  return `"${volume.name}": ${plural(own, "damaged block")}${others}, ${recovery}; touches ${affectedEntries(inventory, whole, bad)}`;
}

/** Writes volumes by `fill`, and gives those their names whose digest is right. */
async function write(
  volumes: readonly Needy[],
  { hashes, placeOf, isTrial, progress }: RepairOptions,
  fill: (targets: ReadonlyMap<string, string>) => Promise<boolean>,
): Promise<void> {
  if (isTrial) {
    for (const { repair } of volumes) repair.state = "repairable";
    return;
  }
  const jobs = volumes.flatMap((it) => {
    const target = placeOf(it.index);
    return target === undefined
      ? []
      : [{ ...it, target, temporary: join(dirname(target), `${TEMPORARY}${it.volume.name}`) }];
  });
  let at = jobs[0]?.target ?? "";
  const locks: HeldLock[] = [];
  let written: typeof jobs = [];
  try {
    for (const folder of new Set(jobs.map((it) => dirname(it.target))))
      locks.push(await takeLock(join(folder, LOCK), folder));
    written = jobs;
    for (const { volume, target, temporary } of jobs) {
      at = target;
      await makeEmpty(temporary, volume.size);
    }
    if (jobs.length === 0 || !(await fill(new Map(jobs.map((it) => [it.volume.name, it.temporary]))))) return;
    for (const { volume, repair, target, temporary } of jobs) {
      at = target;
      const { digest } = await hashes.hashFile(temporary, { progress });
      if (digest !== volume.digest) {
        repair.message += `; what was rebuilt is not what was signed: expected ${volume.digest}, got ${digest}`;
        continue;
      }
      await syncPath(temporary);
      await clear(target);
      await rename(temporary, target);
      await syncPath(dirname(target));
      repair.state = "repaired";
      repair.file = target;
    }
  } catch (error) {
    throw ioError("repair", at, error);
  } finally {
    await runToEnd(async () => {
      for (const { temporary } of written) await rm(temporary, { force: true });
      for (const it of locks) await it.release();
    });
  }
}

async function makeEmpty(file: string, size: number): Promise<void> {
  await rm(file, { force: true });
  const handle = await open(file, "wx", 0o644);
  try {
    await handle.truncate(size);
  } finally {
    await handle.close();
  }
}
