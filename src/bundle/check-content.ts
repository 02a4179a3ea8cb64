/**
 * Hashes everything in a bundle and reports where it is damaged: by volume, offset and affected entries. If all volumes
 * are available, entries are hashed; otherwise each available volume is hashed as a whole.
 */
import { AirferryError, type Problem } from "../errors.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { eachLimited } from "../io/limit.ts";
import { describePieces } from "../io/piece-digests.ts";
import { affectedEntries, type StreamRange } from "./affected-entries.ts";
import type { Contents } from "./contents.ts";
import { mismatch } from "./contents.ts";
import { type Damage, narrowDamage } from "./damaged-pieces.ts";
import { printableName } from "./entry-paths.ts";
import { streamEntries } from "./inventory.ts";
import type { InventoryVolume } from "./inventory-types.ts";
import { INVENTORY_NAME } from "./media-names.ts";
import { checkEnd, checkFrame, frameEnd, frameStart, type PlacedEntry, planSteps, readRun } from "./steps.ts";
import { piecesOf } from "./volume-layout.ts";
import { VolumeSet } from "./volumes.ts";

/**
 * The bytes that {@link checkContent} reports of a good bundle: large files, entries in the stream, and the volumes
 * that are hashed as such, since there are several copies or not all volumes.
 */
export function bytesToCheck({ inventory, copies, large }: Contents): number {
  const complete = copies.every((it) => it.length > 0);
  const spare = copies.map((it, index) => (it.length - (complete ? 1 : 0)) * (inventory.volumes[index]?.size ?? 0));
  const { entries } = inventory;
  const carried = complete ? entries.streamOrder.reduce((sum, it) => sum + entries.sizeAt(it), 0) : 0;
  return [...large.map((it) => it.size), ...spare].reduce((sum, it) => sum + it, carried);
}

/** Bytes that {@link checkSpare} reports. */
export function spareBytes({ spare }: Contents): number {
  return spare.flatMap((it) => it.files).reduce((sum, it) => sum + it.size, 0);
}

/**
 * Hashes what the bundle does without, such as parity: names of which no file is there, and of which one is damaged,
 * with what is wrong. Neither is a problem of the bundle.
 */
export async function checkSpare(
  { spare }: Contents,
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<{ missing: string[]; damaged: { name: string; message: string }[] }> {
  const damaged: { name: string; message: string }[] = [];
  for (const { name, digest, files } of spare) {
    for (const { file, size } of files) {
      const problem = await checkLargeFile({ file, name, size, digest }, pool, progress);
      if (problem !== undefined) damaged.push({ name, message: problem.message });
    }
  }
  return { missing: spare.filter((it) => it.files.length === 0).map((it) => it.name), damaged };
}

/** Returns every problem found; `progress` is called with bytes as they are hashed. */
export async function checkContent(
  contents: Contents,
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<Problem[]> {
  const { inventory, copies } = contents;
  const problems: Problem[] = [];
  const checkLargeFiles = async () => {
    for (const it of contents.large) {
      const problem = await checkLargeFile(it, pool, progress);
      if (problem !== undefined) problems.push(problem);
    }
  };
  const complete = copies.every((it) => it.length > 0);
  const spare = copies.flatMap((files, index) => files.slice(complete ? 1 : 0).map((file) => ({ file, index })));
  const suspects = new Map<string, { index: number; damages: Damage[] }>();
  if (complete) {
    const files = copies.map((it) => it[0]);
    const volumes = VolumeSet.over(files, inventory);
    try {
      let found: Damage[] = [];
      const findAll = async () => {
        found = await findDamage(volumes, streamEntries(inventory), pool, progress);
        found = await narrowDamage(found, contents, pool);
      };
      // Beside each other: the first thread to start would keep all others waiting.
      await eachLimited([findAll, checkLargeFiles], 2, (work) => work());
      for (const damage of found) {
        for (const { volume } of piecesOf(damage.position, damage.length, inventory.volumeSize)) {
          const file = files[volume] as string;
          const known = suspects.get(file)?.damages;
          if (known === undefined) suspects.set(file, { index: volume, damages: [damage] });
          else known.push(damage);
        }
      }
    } finally {
      await volumes.close();
    }
  } else await checkLargeFiles();
  const damages = [...suspects.values()].flatMap((it) => it.damages);
  for (const { file, index } of spare) suspects.set(file, { index, damages: [] });
  const bad: Problem[] = [];
  await eachLimited(suspects, pool.size, async ([file, suspect]) => {
    const reportBytes = suspect.damages.length === 0 ? progress : () => undefined;
    const problem = await checkVolume(contents, file, suspect, pool, reportBytes);
    if (problem !== undefined) bad.push(problem);
  });
  if (damages.length > 0 && bad.length === 0) bad.push(disagreement(damages));
  return [...problems, ...bad.sort((a, b) => (a.path < b.path ? -1 : 1))];
}

/** Hashes one small file that is too large for memory (bin/, BOM.html); undefined when it is good. */
export async function checkLargeFile(
  { file, name, digest }: Contents["large"][number],
  pool: HashPool,
  progress: (bytes: number) => void = () => undefined,
): Promise<Problem | undefined> {
  try {
    const actual = (await pool.hashFile(file, { progress })).digest;
    return actual === digest ? undefined : mismatch(file, name, digest, actual);
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    return { code: error.code, path: name, message: error.message };
  }
}

/**
 * Finds the volumes responsible for a range of the stream that differs from what was signed: hashes those that it
 * spans. Returns at least one problem.
 */
export async function locateDamage(contents: Contents, damage: StreamRange, pool: HashPool): Promise<Problem[]> {
  const problems: Problem[] = [];
  const damages = await narrowDamage([damage], contents, pool);
  for (const { volume } of piecesOf(damage.position, damage.length, contents.inventory.volumeSize)) {
    const file = contents.copies[volume]?.[0];
    if (file === undefined) continue;
    const problem = await checkVolume(contents, file, { index: volume, damages }, pool, () => undefined);
    if (problem !== undefined) problems.push(problem);
  }
  return problems.length > 0 ? problems : [disagreement([damage])];
}

/**
 * Every volume is as signed, but something in it was wrong: the medium reads differently each time, or the packer is
 * faulty.
 */
function disagreement(damages: Damage[]): Problem {
  const error = damages.find((it) => it.error)?.error;
  if (error !== undefined) return { code: error.code, path: error.path ?? "", message: error.message };
  const message = "the volumes are as signed, but their content does not match the inventory";
  return { code: "ERR_BUNDLE_INVALID", path: INVENTORY_NAME, message };
}

/** One pass over the whole stream. */
async function findDamage(
  volumes: VolumeSet,
  entries: Iterable<PlacedEntry>,
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<Damage[]> {
  const damages: Damage[] = [];
  const add = (damage: Damage) => {
    damages.push(damage);
  };
  await eachLimited(planSteps(entries), pool.size + 1, async (step) => {
    const first = step.entries[0] as PlacedEntry;
    const last = step.entries.at(-1) as PlacedEntry;
    try {
      if (step.large) await checkLarge(volumes, first, pool, progress, add);
      else {
        const results = await readRun(volumes, step.entries, pool);
        for (const [index, { digest, stray }] of results.entries()) {
          const entry = step.entries[index] as PlacedEntry;
          if (stray !== undefined) add({ position: stray, length: 1 });
          if (digest !== entry.digest) add({ position: entry.offset, length: entry.size });
          progress(entry.size);
        }
      }
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      add({ position: frameStart(first), length: frameEnd(last) - frameStart(first), error });
    }
  });
  try {
    const stray = await checkEnd(volumes);
    if (stray !== undefined) add({ position: stray.position, length: 1 });
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    add({ position: volumes.streamSize - 1, length: 1, error });
  }
  return damages.sort((a, b) => a.position - b.position);
}

async function checkLarge(
  volumes: VolumeSet,
  entry: PlacedEntry,
  pool: HashPool,
  progress: (bytes: number) => void,
  add: (damage: Damage) => void,
): Promise<void> {
  const stray = await checkFrame(volumes, entry);
  if (stray !== undefined) add({ position: stray.position, length: 1 });
  const hasher = pool.open();
  try {
    for (const piece of volumes.pieces(entry.offset, entry.size)) await hasher.advance(piece, progress);
    const digest = await hasher.digest();
    if (digest !== entry.digest) add({ position: entry.offset, length: entry.size });
  } finally {
    hasher.discard();
  }
}

/** Hashes one copy of one volume; undefined when it is good. */
async function checkVolume(
  contents: Contents,
  file: string,
  { index, damages }: { index: number; damages: Damage[] },
  pool: HashPool,
  progress: (bytes: number) => void,
): Promise<Problem | undefined> {
  const { inventory } = contents;
  const { name, size, digest } = inventory.volumes[index] as InventoryVolume;
  const whole = { position: index * inventory.volumeSize, length: size };
  // Of a volume whose neighbours are missing only that is known; of another copy, that it is not the one that was read.
  const places = async () => {
    if (damages.length > 0) return damages;
    const copies = contents.copies.map((it, at) => (at === index ? [file] : it));
    return (await narrowDamage([whole], { ...contents, copies }, pool)).filter((it) => it.length < size);
  };
  const told = (found: readonly Damage[]) => {
    const where = found.length === 0 ? "" : `; damaged in ${placesIn(whole, found)}`;
    return `${where}; touches ${affectedEntries(inventory, whole, found.length === 0 ? [whole] : found)}`;
  };
  try {
    const actual = (await pool.hashFile(file, { progress })).digest;
    if (actual === digest) return undefined;
    const problem = mismatch(file, name, digest, actual);
    return { ...problem, message: `${problem.message}${told(await places())}` };
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    return { code: error.code, path: name, message: `${error.message}${told(await places())}` };
  }
}

/** `bytes A to B` of the volume, for the first few damaged ranges; B is the first byte after it. */
function placesIn(volume: StreamRange, damages: readonly Damage[]): string {
  const inside = damages.filter(
    (it) => it.position < volume.position + volume.length && it.position + it.length > volume.position,
  );
  const shown = inside.slice(0, 3).map((it) => {
    const from = Math.max(0, it.position - volume.position);
    const to = Math.min(volume.length, it.position + it.length - volume.position);
    if (it.pieces === undefined) return it.length === 1 ? `byte ${from}` : `bytes ${from} to ${to}`;
    return `bytes ${from} to ${to} (${describePieces([it.pieces.run])} of "${printableName(it.pieces.path, 120)}")`;
  });
  return `${shown.join(", ")}${inside.length > shown.length ? ` and ${inside.length - shown.length} more places` : ""}`;
}
