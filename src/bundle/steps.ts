/**
 * The order of work when a tar stream is read: runs of small entries are taken in one read, large entries one by one.
 * Headers, padding and the end of the archive are recomputed and compared, never parsed. docs/format.md, "Reading".
 */
import type { HashPool } from "../io/hash-pool.ts";
import type { RunResult } from "../io/hash-worker.ts";
import type { InventoryEntry } from "./inventory-types.ts";
import { END_BYTES, headerBytes, headerSize, paddedSize, writeHeader } from "./tar-layout.ts";
import type { VolumeSet } from "./volumes.ts";

/** An entry whose bytes are in the stream. */
export type PlacedEntry = InventoryEntry & { offset: number };

/** Entries up to this size are read in runs. */
const SMALL_BYTES = 1024 * 1024;
/** Approximate maximum length of a run. */
const RUN_BYTES = 4 * 1024 * 1024;

/** One piece of work: a run of small entries that follow each other without a gap, or one large entry. */
type Step = { entries: PlacedEntry[]; large: boolean };

/** A wrong byte of the frame (header, padding, end). */
interface Stray {
  /** Offset in the stream. */
  position: number;
}

/** First byte of an entry's header records. */
export function frameStart(entry: PlacedEntry): number {
  return entry.offset - headerSize(entry.path);
}

/** First byte after an entry's padding. */
export function frameEnd(entry: PlacedEntry): number {
  return entry.offset + paddedSize(entry.size);
}

/** Cuts entries, given in stream order, into steps. Gaps between them (omitted entries) end a run. */
export function* planSteps(entries: Iterable<PlacedEntry>): Generator<Step> {
  let run: PlacedEntry[] = [];
  let start = 0;
  let end = -1;
  for (const entry of entries) {
    const large = entry.size > SMALL_BYTES;
    if (run.length > 0 && (large || frameStart(entry) !== end || frameEnd(entry) - start > RUN_BYTES)) {
      yield { entries: run, large: false };
      run = [];
    }
    if (large) yield { entries: [entry], large: true };
    else {
      if (run.length === 0) start = frameStart(entry);
      run.push(entry);
      end = frameEnd(entry);
    }
  }
  if (run.length > 0) yield { entries: run, large: false };
}

/**
 * Reads one run in a thread of the pool. Returns a result per entry; `stray` there is an offset in the stream. With
 * `fileOf` each entry's content is written to a new file, unless the frame around it is wrong.
 */
export async function readRun(
  volumes: VolumeSet,
  entries: readonly PlacedEntry[],
  pool: HashPool,
  fileOf?: (entry: PlacedEntry) => string | undefined,
): Promise<RunResult[]> {
  const first = entries[0];
  const last = entries.at(-1);
  if (first === undefined || last === undefined) return [];
  const start = frameStart(first);
  const memory = takeMemory(pool, entries);
  const results = await pool.run({
    pieces: volumes.pieces(start, frameEnd(last) - start),
    headers: memory.subarray(0, writeHeaders(entries, memory)),
    frames: entries.map((entry) => ({
      header: headerSize(entry.path),
      size: entry.size,
      padded: paddedSize(entry.size),
      to: fileOf?.(entry),
    })),
  });
  spareMemory.get(pool)?.push(memory);
  return results.map((it) => (it.stray === undefined ? it : { ...it, stray: start + it.stray }));
}

/**
 * Memory for the headers of runs, which threads share and which is used again: copies in messages are garbage of 64 MiB
 * where there are many files.
 */
const spareMemory = new WeakMap<HashPool, Buffer[]>();

function takeMemory(pool: HashPool, entries: readonly PlacedEntry[]): Buffer {
  const spare = spareMemory.get(pool);
  if (spare === undefined) spareMemory.set(pool, []);
  let size = 0;
  for (const { path } of entries) size += headerSize(path);
  const known = spare?.pop();
  if (known !== undefined && known.length >= size) return known;
  return Buffer.from(new SharedArrayBuffer(Math.max(size, RUN_BYTES)));
}

/** Returns their length. */
function writeHeaders(entries: readonly PlacedEntry[], memory: Buffer): number {
  let at = 0;
  for (const it of entries) {
    const size = headerSize(it.path);
    memory.fill(0, at, at + size);
    at += writeHeader(it, memory.subarray(at, at + size));
  }
  return at;
}

/** Compares the header and the padding of one large entry; returns the first byte that differs. */
export async function checkFrame(volumes: VolumeSet, entry: PlacedEntry): Promise<Stray | undefined> {
  const start = frameStart(entry);
  const expected = headerBytes(entry);
  const header = await volumes.read(start, expected.length);
  const at = header.findIndex((byte, index) => byte !== expected[index]);
  if (at >= 0) return { position: start + at };
  return checkZeros(volumes, entry.offset + entry.size, frameEnd(entry));
}

/** Compares the end of the archive. */
export function checkEnd(volumes: VolumeSet): Promise<Stray | undefined> {
  return checkZeros(volumes, volumes.streamSize - END_BYTES, volumes.streamSize);
}

async function checkZeros(volumes: VolumeSet, from: number, to: number): Promise<Stray | undefined> {
  const bytes = await volumes.read(from, to - from);
  const at = bytes.findIndex((byte) => byte !== 0);
  return at < 0 ? undefined : { position: from + at };
}
