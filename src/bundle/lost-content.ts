/**
 * What content is lost with volumes that are missing or damaged: the digests of entries, and, of large ones, which
 * pieces. For need files.
 */
import type { Digest } from "../io/digest.ts";
import type { HashPool } from "../io/hash-pool.ts";
import { hasPieces, PIECE_BYTES, type PieceRun, pieceCount, runsOf } from "../io/piece-digests.ts";
import type { StreamRange } from "./affected-entries.ts";
import type { Contents } from "./contents.ts";
import { narrowDamage } from "./damaged-pieces.ts";
import { streamEntriesBehind } from "./inventory.ts";

/** An entry's content that is on no medium as it was signed. */
interface LostContent {
  digest: Digest;
  size: number;
  /** Only these pieces; absent: all of it. */
  pieces?: PieceRun[];
}

/**
 * Finds what is lost with some volumes, of which every copy is bad, or there is none.
 * @param bad their indexes
 */
export async function lostContent(contents: Contents, bad: Iterable<number>, pool: HashPool): Promise<LostContent[]> {
  const { inventory, copies } = contents;
  const lost = new Map<Digest, { size: number; pieces: Set<number> }>();
  const add = ({ position, length }: StreamRange) => {
    for (const { digest, offset, size } of streamEntriesBehind(inventory, position)) {
      if (offset >= position + length) break;
      const [from, to] = [Math.max(offset, position), Math.min(offset + size, position + length)];
      if (from >= to) continue;
      const known = lost.get(digest) ?? { size, pieces: new Set() };
      lost.set(digest, known);
      const end = hasPieces(size) ? Math.ceil((to - offset) / PIECE_BYTES) : 1;
      for (let it = hasPieces(size) ? Math.floor((from - offset) / PIECE_BYTES) : 0; it < end; it++)
        known.pieces.add(it);
    }
  };
  for (const index of bad) {
    const whole = { position: index * inventory.volumeSize, length: inventory.volumes[index]?.size ?? 0 };
    const found: StreamRange[][] = [];
    for (const file of copies[index] ?? []) {
      const files = copies.map((it, at) => (at === index ? [file] : it));
      const damages = await narrowDamage([whole], { ...contents, copies: files }, pool);
      // All of it is what remains where nothing in it is wrong, or where it is all of one small entry.
      let inside = 0;
      for (const { offset, size } of streamEntriesBehind(inventory, whole.position)) {
        if (offset >= whole.position + whole.length || inside === 2) break;
        if (offset + size > whole.position) inside++;
      }
      found.push(inside === 1 ? damages : damages.filter((it) => it.length < whole.length));
    }
    const [first = [whole], ...others] = found;
    for (const range of first) for (const it of others.reduce((left, other) => overlaps(left, other), [range])) add(it);
  }
  return [...lost].map(([digest, { size, pieces }]) => {
    const isWhole = !hasPieces(size) || pieces.size === pieceCount(size);
    return { digest, size, ...(!isWhole && { pieces: runsOf([...pieces].sort((a, b) => a - b)) }) };
  });
}

/** What two lists of ranges have in common. */
function overlaps(some: readonly StreamRange[], others: readonly StreamRange[]): StreamRange[] {
  return some.flatMap((one) =>
    others.flatMap((other) => {
      const position = Math.max(one.position, other.position);
      const length = Math.min(one.position + one.length, other.position + other.length) - position;
      return length > 0 ? [{ position, length }] : [];
    }),
  );
}
