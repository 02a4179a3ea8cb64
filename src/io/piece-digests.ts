/**
 * Pieces of content: SHA-256 of every MiB of it, so that damage is found, and repaired, by the MiB. docs/format.md,
 * "Pieces".
 */

/** Length of a piece; the last one of a file may be shorter. */
export const PIECE_BYTES = 1024 * 1024;
/** Length of the digest of one piece. */
export const PIECE_DIGEST_BYTES = 32;

/** Whether content of this size has digests of its pieces. Smaller content is one piece, and its digest says all. */
export function hasPieces(size: number): boolean {
  return size > PIECE_BYTES;
}

export function pieceCount(size: number): number {
  return Math.ceil(size / PIECE_BYTES);
}

/** The digest of one piece, in a list of them. */
export function pieceDigest(list: Uint8Array, index: number): Uint8Array {
  return list.subarray(index * PIECE_DIGEST_BYTES, (index + 1) * PIECE_DIGEST_BYTES);
}

/** Consecutive pieces. */
export interface PieceRun {
  /** From 0. */
  first: number;
  count: number;
}

/** Indexes in order as runs. */
export function runsOf(indexes: Iterable<number>): PieceRun[] {
  const runs: PieceRun[] = [];
  for (const index of indexes) {
    const last = runs.at(-1);
    if (last !== undefined && last.first + last.count === index) last.count++;
    else runs.push({ first: index, count: 1 });
  }
  return runs;
}

/** Names pieces for people, counted from 0: `piece 3`, `pieces 3 to 5, 9`. */
export function describePieces(runs: readonly PieceRun[], shown = 3): string {
  const total = runs.reduce((sum, it) => sum + it.count, 0);
  const named = runs
    .slice(0, shown)
    .map(({ first, count }) => (count === 1 ? String(first) : `${first} to ${first + count - 1}`));
  const more = runs.length > shown ? ` and ${runs.length - shown} more places` : "";
  return `${total === 1 ? "piece" : "pieces"} ${named.join(", ")}${more}`;
}
