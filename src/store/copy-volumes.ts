/**
 * Imports the available volumes while others are still to come. Each volume is read once, hashed as a whole and checked
 * separately; small entries inside it become blobs at once, pieces of the others wait in the quarantine until all of
 * them are present, and are then hashed on this host's own disk.
 */
import { existsSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { frameEnd, frameStart, type PlacedEntry, planSteps } from "../bundle/steps.ts";
import { piecesOf, volumeName } from "../bundle/volume-layout.ts";
import { ioError, syncPath } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import type { RangeHasher } from "../io/hash-pool.ts";
import { eachLimited } from "../io/limit.ts";
import { type CopyContext, copyRun } from "./copy-entries.ts";
import { ContentDamage } from "./damage.ts";
import type { Incoming } from "./incoming.ts";

/** One volume to import. */
interface VolumeJob {
  index: number;
  size: number;
  /** Signed digest. */
  digest: Digest;
}

/**
 * Copies the parts of `entries` (stream order, one per digest) in the given volumes, then completes the entries whose
 * pieces are all present. Finished volumes are marked, so that no later run needs them.
 * @throws {ContentDamage} for a volume that differs from what was signed; {AirferryError} ERR_SPACE, ERR_IO, …
 */
export async function copyVolumes(
  entries: readonly PlacedEntry[],
  jobs: readonly VolumeJob[],
  context: CopyContext,
): Promise<void> {
  const { volumeSize } = context.volumes;
  const inOne = (it: PlacedEntry) =>
    Math.floor(frameStart(it) / volumeSize) === Math.floor((frameEnd(it) - 1) / volumeSize);
  // Each volume by itself: one entry may end where the volume does, and the next begin with the next volume.
  const byVolume = new Map<number, PlacedEntry[]>();
  for (const it of entries.filter(inOne)) {
    const index = Math.floor(frameStart(it) / volumeSize);
    const others = byVolume.get(index);
    if (others === undefined) byVolume.set(index, [it]);
    else others.push(it);
  }
  const inRuns = [...byVolume.values()].flatMap((it) => [...planSteps(it)]).filter((it) => !it.large);
  const runs = new Set(inRuns.flatMap((it) => it.entries));
  const pieces = entries.filter((it) => !runs.has(it) && !context.store.hasBlob(it.digest, it.size));
  // No volume has bytes of an empty one whose header crosses into the next.
  for (const it of pieces) if (it.size === 0) await touch(it, context);
  await eachLimited(jobs, context.pool.size, async (job) => {
    const from = job.index * volumeSize;
    const inside = (position: number) => position >= from && position < from + job.size;
    await copyVolume(
      job,
      inRuns.filter((it) => inside(frameStart(it.entries[0] as PlacedEntry))).map((it) => it.entries),
      pieces.filter((it) => it.size > 0 && it.offset < from + job.size && it.offset + it.size > from),
      context,
    );
  });
  await eachLimited(pieces, context.pool.size, (entry) => complete(entry, context));
}

/**
 * Volumes that were imported while the store had an entry which it lacks now: they are needed once more. `needed` has
 * one entry per digest.
 */
export function volumesAgain(
  needed: Iterable<PlacedEntry>,
  volumeSize: number,
  incoming: Pick<Incoming, "doneVolumes" | "piecesFile">,
): string[] {
  const again = new Set<string>();
  if (incoming.doneVolumes.size === 0) return [];
  for (const it of needed) {
    const first = volumeName(Math.floor(frameStart(it) / volumeSize));
    const done = (it.size === 0 ? [first] : volumesOf(it, volumeSize)).filter((name) => incoming.doneVolumes.has(name));
    // What came from them waits in the quarantine, or was a blob.
    if (done.length > 0 && !existsSync(incoming.piecesFile(it.digest))) for (const name of done) again.add(name);
  }
  return [...again];
}

/** Volumes that hold bytes of an entry. */
function volumesOf(entry: PlacedEntry, volumeSize: number): string[] {
  return piecesOf(entry.offset, entry.size, volumeSize).map((it) => volumeName(it.volume));
}

/** A stretch of a volume: a run of small entries, a piece of a large one, or a range that is only hashed. */
interface Stretch {
  from: number;
  to: number;
  run?: PlacedEntry[];
  entry?: PlacedEntry;
}

async function copyVolume(
  job: VolumeJob,
  runs: PlacedEntry[][],
  pieces: PlacedEntry[],
  context: CopyContext,
): Promise<void> {
  const { store, volumes, incoming, committer, pool } = context;
  const start = job.index * volumes.volumeSize;
  const end = start + job.size;
  const stretches: Stretch[] = [
    ...runs.map((run) => ({ from: frameStart(run[0] as PlacedEntry), to: frameEnd(run.at(-1) as PlacedEntry), run })),
    ...pieces.map((entry) => ({
      from: Math.max(start, entry.offset),
      to: Math.min(end, entry.offset + entry.size),
      entry,
    })),
  ].sort((a, b) => a.from - b.from);
  for (const it of pieces) await touch(it, context);
  const hasher = pool.open();
  try {
    let position = start;
    for (const stretch of stretches) {
      await hashOnly(hasher, context, position, stretch.from);
      position = stretch.to;
      if (stretch.entry !== undefined) await copyPiece(hasher, context, stretch as Required<Stretch>);
      else {
        await hashOnly(hasher, context, stretch.from, stretch.to);
        const run = (stretch.run ?? []).filter((it) => !store.hasBlob(it.digest, it.size));
        for (const step of planSteps(run)) await copyRun(step.entries, () => true, context);
      }
    }
    await hashOnly(hasher, context, position, end);
    const digest = await hasher.digest();
    if (digest !== job.digest) throw new ContentDamage(start, job.size);
  } finally {
    hasher.discard();
  }
  await committer.flush();
  for (const it of pieces) await syncPath(incoming.piecesFile(it.digest));
  await incoming.markDone(volumeName(job.index));
}

async function hashOnly(hasher: RangeHasher, { volumes }: CopyContext, from: number, to: number): Promise<void> {
  if (to > from) for (const piece of volumes.pieces(from, to - from)) await hasher.advance(piece);
}

async function copyPiece(
  hasher: RangeHasher,
  { volumes, incoming, progress, written }: CopyContext,
  { from, to, entry }: { from: number; to: number; entry: PlacedEntry },
): Promise<void> {
  let offset = from - entry.offset;
  for (const piece of volumes.pieces(from, to - from)) {
    const copyTo = { file: incoming.piecesFile(entry.digest), offset };
    await hasher.advance({ ...piece, copyTo }, (bytes) => {
      progress(bytes);
      written(bytes);
    });
    offset += piece.length;
  }
}

/** Makes sure that there is a file for the pieces of an entry, of which nothing is known from here on. */
async function touch({ digest }: PlacedEntry, { incoming }: Pick<CopyContext, "incoming">): Promise<void> {
  const file = incoming.piecesFile(digest);
  try {
    await rm(incoming.piecesNote(digest), { force: true });
    if (existsSync(file)) return;
    const handle = await open(file, "a", 0o600);
    await handle.close();
  } catch (error) {
    throw ioError("write", file, error);
  }
}

/** Turns an entry whose pieces are all on disk into a blob; does nothing while some are missing. */
async function complete(entry: PlacedEntry, { volumes, incoming, committer, pool }: CopyContext): Promise<void> {
  const needed = volumesOf(entry, volumes.volumeSize);
  if (!needed.every((it) => incoming.doneVolumes.has(it))) return;
  const file = incoming.piecesFile(entry.digest);
  const { digest } = await pool.hashFile(file, { length: entry.size });
  if (digest === entry.digest) return committer.addSynced(file, entry.digest);
  await rm(file, { force: true });
  await rm(incoming.piecesNote(entry.digest), { force: true });
  await incoming.forget(needed);
  throw new ContentDamage(entry.offset, entry.size, entry, digest);
}
