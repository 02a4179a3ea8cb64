/**
 * Narrows damage down: within a range of the stream that is known to be wrong, finds the pieces of large entries, and
 * the small entries, that differ from what was signed. Missing volumes are skipped.
 */
import { AirferryError } from "../errors.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { eachLimited } from "../io/limit.ts";
import { hasPieces, PIECE_BYTES, type PieceRun, pieceCount, pieceDigest, runsOf } from "../io/piece-digests.ts";
import type { StreamRange } from "./affected-entries.ts";
import type { Contents } from "./contents.ts";
import { streamEntriesBehind } from "./inventory.ts";
import type { PieceList } from "./piece-list.ts";
import { frameEnd, frameStart, type PlacedEntry, planSteps, readRun } from "./steps.ts";
import { piecesOf } from "./volume-layout.ts";
import { VolumeSet } from "./volumes.ts";

/** A range of the stream that differs from what was signed. */
export interface Damage extends StreamRange {
  /** Set when the medium could not be read there, or is malformed. */
  error?: AirferryError;
  /** Set when it is pieces of a large entry. */
  pieces?: { path: string; run: PieceRun };
}

/** So many pieces are read at once. */
const STEP_PIECES = 64;

/** Damage that cannot be narrowed down stays as it is. */
export async function narrowDamage(damages: readonly Damage[], contents: Contents, pool: HashPool): Promise<Damage[]> {
  const { inventory, copies, pieces } = contents;
  const wide = damages.filter((it) => it.length > 1);
  if (wide.length === 0) return [...damages];
  const volumes = VolumeSet.over(
    copies.map((it) => it[0]),
    inventory,
  );
  const isThere = (position: number, length: number) =>
    piecesOf(position, length, inventory.volumeSize).every((it) => volumes.file(it.volume) !== undefined);
  try {
    const found: Damage[] = damages.filter((it) => it.length <= 1);
    for (const damage of wide) {
      const inside: PlacedEntry[] = [];
      for (const it of streamEntriesBehind(inventory, damage.position)) {
        if (frameStart(it) >= damage.position + damage.length) break;
        inside.push(it);
      }
      const narrowed: Damage[] = [];
      const small = inside.filter(
        (it) => !hasPieces(it.size) && isThere(frameStart(it), frameEnd(it) - frameStart(it)),
      );
      // One small entry is not narrowed any further.
      if (inside.length > 1) narrowed.push(...(await wrongSmall(small, volumes, pool)));
      for (const entry of inside) {
        if (!hasPieces(entry.size)) continue;
        const wrong = await wrongPieces({ entry, damage, list: pieces?.list, volumes, pool }, isThere);
        for (const run of runsOf(wrong)) {
          const position = entry.offset + run.first * PIECE_BYTES;
          const length = Math.min(run.count * PIECE_BYTES, entry.offset + entry.size - position);
          narrowed.push({ position, length, pieces: { path: entry.path, run } });
        }
      }
      found.push(...(narrowed.length > 0 ? narrowed : [damage]));
    }
    return found.sort((a, b) => a.position - b.position);
  } finally {
    await volumes.close();
  }
}

async function wrongSmall(entries: readonly PlacedEntry[], volumes: VolumeSet, pool: HashPool): Promise<Damage[]> {
  const wrong: Damage[] = [];
  await eachLimited(planSteps(entries), pool.size + 1, async (step) => {
    try {
      const results = await readRun(volumes, step.entries, pool);
      for (const [index, { digest, stray }] of results.entries()) {
        const entry = step.entries[index];
        if (entry === undefined) continue;
        if (stray !== undefined) wrong.push({ position: stray, length: 1 });
        if (digest !== entry.digest) wrong.push({ position: entry.offset, length: entry.size });
      }
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      const [first] = step.entries;
      const last = step.entries.at(-1);
      if (first !== undefined && last !== undefined)
        wrong.push({ position: frameStart(first), length: frameEnd(last) - frameStart(first), error });
    }
  });
  return wrong;
}

/** Indexes of the wrong pieces of an entry within a range, in order. */
async function wrongPieces(
  {
    entry,
    damage,
    list,
    volumes,
    pool,
  }: { entry: PlacedEntry; damage: Damage; list: PieceList | undefined; volumes: VolumeSet; pool: HashPool },
  isThere: (position: number, length: number) => boolean,
): Promise<number[]> {
  const digests = await list?.of(entry.digest).catch(() => undefined);
  if (digests === undefined) return [];
  const first = Math.max(0, Math.floor((damage.position - entry.offset) / PIECE_BYTES));
  const end = Math.min(
    pieceCount(entry.size),
    Math.ceil((damage.position + damage.length - entry.offset) / PIECE_BYTES),
  );
  const sizeOf = (index: number) => Math.min(PIECE_BYTES, entry.size - index * PIECE_BYTES);
  const present: number[] = [];
  for (let it = first; it < end; it++) if (isThere(entry.offset + it * PIECE_BYTES, sizeOf(it))) present.push(it);
  const wrong: number[] = [];
  const check = async ({ first, count }: PieceRun): Promise<void> => {
    const position = entry.offset + first * PIECE_BYTES;
    const length = (count - 1) * PIECE_BYTES + sizeOf(first + count - 1);
    const hasher = pool.openPieces();
    try {
      for (const it of volumes.pieces(position, length)) await hasher.advance(it);
      const actual = await hasher.pieces();
      for (let it = 0; it < count; it++)
        if (Buffer.compare(pieceDigest(actual, it), pieceDigest(digests, first + it)) !== 0) wrong.push(first + it);
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      // Unreadable: where, only single pieces can tell.
      if (count === 1) wrong.push(first);
      else for (let it = 0; it < count; it++) await check({ first: first + it, count: 1 });
    } finally {
      hasher.discard();
    }
  };
  await eachLimited(inSteps(runsOf(present)), pool.size + 1, check);
  return wrong.sort((a, b) => a - b);
}

function* inSteps(runs: readonly PieceRun[]): Generator<PieceRun> {
  for (const { first, count } of runs)
    for (let done = 0; done < count; done += STEP_PIECES)
      yield { first: first + done, count: Math.min(STEP_PIECES, count - done) };
}
