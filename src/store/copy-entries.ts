/**
 * Copies entries into a store in one pass over the volumes, all of which are available: each byte is read once, written
 * to its file and hashed from the same buffer. Small entries are copied in runs, large ones by one thread each, where
 * reading, hashing and writing overlap.
 */
import { existsSync, renameSync, statSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import type { PlacedEntries } from "../bundle/placed-entries.ts";
import { checkEnd, checkFrame, type PlacedEntry, planSteps, readRun } from "../bundle/steps.ts";
import type { VolumeSet } from "../bundle/volumes.ts";
import { ioError } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import { heapMayHaveGrown } from "../io/flat-memory.ts";
import type { HashPool } from "../io/hash-pool.ts";
import type { RangeJob } from "../io/hash-worker.ts";
import { eachLimited } from "../io/limit.ts";
import type { Committer } from "./committer.ts";
import { ContentDamage } from "./damage.ts";
import type { Incoming } from "./incoming.ts";
import type { Store } from "./store.ts";

/** Bytes passed to a thread at a time. */
const COPY_STEP_BYTES = 64 * 1024 * 1024;
/** Dirty pages are written back behind the copy in steps of this size, so that the final sync has little left to do. */
const SYNC_STEP_BYTES = 128 * 1024 * 1024;

/** Context of a copy. */
export interface CopyContext {
  store: Store;
  volumes: VolumeSet;
  incoming: Incoming;
  committer: Committer;
  pool: HashPool;
  /** Called with bytes of entries as they are copied. */
  progress: (bytes: number) => void;
  /** Called with bytes as they are written to disk. */
  written: (bytes: number) => void;
}

/**
 * Copies entries, given in stream order. If several have the same digest the first is written and the others are only
 * compared.
 * @throws {ContentDamage} at the first byte that differs from what was signed; {AirferryError} ERR_SPACE, ERR_IO, …
 */
export async function copyEntries(entries: PlacedEntries, context: CopyContext): Promise<void> {
  const { repeats } = entries;
  const writes = (it: PlacedEntry) => !repeats.has(it.offset);
  await eachLimited(planSteps(entries), context.pool.size + 1, (step) =>
    step.large
      ? copyLarge(step.entries[0] as PlacedEntry, writes(step.entries[0] as PlacedEntry), context)
      : copyRun(step.entries, writes, context),
  );
  const stray = await checkEnd(context.volumes);
  if (stray !== undefined) throw new ContentDamage(stray.position, 1);
}

/** Copies one run of small entries. */
export async function copyRun(
  entries: readonly PlacedEntry[],
  writes: (entry: PlacedEntry) => boolean,
  { volumes, incoming, committer, pool, progress, written }: CopyContext,
): Promise<void> {
  const fileOf = (it: PlacedEntry) => (writes(it) ? incoming.smallFile(it.digest) : undefined);
  const results = await readRun(volumes, entries, pool, fileOf);
  heapMayHaveGrown();
  for (const [index, { digest, stray }] of results.entries()) {
    const entry = entries[index] as PlacedEntry;
    if (stray !== undefined) throw new ContentDamage(stray, 1, entry);
    if (digest !== entry.digest) throw new ContentDamage(entry.offset, entry.size, entry, digest);
    progress(entry.size);
    if (!writes(entry)) continue;
    written(entry.size);
    await committer.add(incoming.smallFile(digest), digest, entry.size);
  }
}

async function copyLarge(entry: PlacedEntry, write: boolean, context: CopyContext): Promise<void> {
  const { volumes, incoming, committer } = context;
  const stray = await checkFrame(volumes, entry);
  if (stray !== undefined) throw new ContentDamage(stray.position, 1, entry);
  if (!write) return compareOnly(entry, context);
  const file = incoming.partFile(entry.digest);
  const pieces = incoming.piecesFile(entry.digest);
  // What a stream brought of it may be all.
  if (!existsSync(file) && existsSync(pieces)) {
    await rm(incoming.piecesNote(entry.digest), { force: true });
    renameSync(pieces, file);
  }
  const actual = await copyWhole(file, { size: entry.size, digest: entry.digest, jobs }, context);
  if (actual !== entry.digest) throw new ContentDamage(entry.offset, entry.size, entry, actual);
  committer.addSynced(file, entry.digest);

  function* jobs(position: number, length: number): Generator<RangeJob> {
    let to = position;
    for (const piece of volumes.pieces(entry.offset + position, length)) {
      yield { ...piece, copyTo: { file, offset: to } };
      to += piece.length;
    }
  }
}

/** What becomes one file: its bytes as jobs of a hasher, which write them there. */
interface CopySource {
  size: number;
  digest: Digest;
  /** Bytes to ask for at once, if fewer than 64 MiB: what has very many parts would take memory. */
  stepAt?(position: number): number;
  jobs(position: number, length: number): Iterable<RangeJob>;
}

/**
 * Writes a file behind what an earlier run left of it, and syncs it. If it is not what it should be in the end, it is
 * removed. Returns the digest of all of it.
 */
export async function copyWhole(
  file: string,
  source: CopySource,
  context: Pick<CopyContext, "pool" | "progress" | "written">,
): Promise<Digest> {
  let there = existsSync(file) ? statSync(file).size : 0;
  if (there > source.size) there = 0;
  let actual = await copyInto(file, there, source, context);
  if (actual !== source.digest && there > 0) {
    // A power loss may have torn an earlier run's data: copy all of it again.
    context.progress(-source.size);
    actual = await copyInto(file, 0, source, context);
  }
  if (actual !== source.digest) await rm(file, { force: true });
  return actual;
}

async function compareOnly(entry: PlacedEntry, { volumes, pool, progress }: CopyContext): Promise<void> {
  const hasher = pool.open();
  try {
    for (const piece of volumes.pieces(entry.offset, entry.size)) await hasher.advance(piece, progress);
    const digest = await hasher.digest();
    if (digest !== entry.digest) throw new ContentDamage(entry.offset, entry.size, entry, digest);
  } finally {
    hasher.discard();
  }
}

/**
 * Hashes the first `there` bytes of the file, copies the rest after them, syncs the file; returns the digest of
 * everything.
 */
async function copyInto(
  file: string,
  there: number,
  source: CopySource,
  { pool, progress, written }: Pick<CopyContext, "pool" | "progress" | "written">,
): Promise<Digest> {
  const handle = await open(file, there > 0 ? "r+" : "w", 0o600).catch((error: unknown) =>
    Promise.reject(ioError("write", file, error)),
  );
  const hasher = pool.open();
  let syncing: Promise<void> = Promise.resolve();
  try {
    await hasher.advance({ file, offset: 0, length: there }, progress);
    let unsynced = 0;
    // One step is always queued behind the running one, so that the thread never waits for this one.
    let before: Promise<unknown> = Promise.resolve();
    for (let position = there, length = 0; position < source.size; position += length) {
      length = Math.min(source.stepAt?.(position) ?? COPY_STEP_BYTES, COPY_STEP_BYTES, source.size - position);
      const told = (bytes: number) => {
        progress(bytes);
        written(bytes);
      };
      const step = Promise.all([...source.jobs(position, length)].map((job) => hasher.advance(job, told)));
      step.catch(() => undefined);
      await before;
      before = step;
      unsynced += length;
      if (unsynced >= SYNC_STEP_BYTES) {
        unsynced = 0;
        syncing = syncing.then(() => handle.datasync());
        syncing.catch(() => undefined);
      }
    }
    await before;
    const digest = await hasher.digest();
    await syncing;
    await handle.sync();
    return digest;
  } catch (error) {
    throw ioError("write", file, error);
  } finally {
    hasher.discard();
    await syncing.catch(() => undefined);
    await handle.close();
  }
}
