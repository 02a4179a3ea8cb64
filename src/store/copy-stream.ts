/** Copies entries into a store from a stream, as far as they come. */
import type { LooseBytes, StreamPart } from "../bundle/bundle-stream.ts";
import type { Inventory } from "../bundle/inventory-types.ts";
import type { PieceList } from "../bundle/piece-list.ts";
import { frameEnd, frameStart, type PlacedEntry } from "../bundle/steps.ts";
import { piecesOf, volumeName } from "../bundle/volume-layout.ts";
import { runToEnd } from "../io/limit.ts";
import { PIECE_BYTES } from "../io/piece-digests.ts";
import type { CopyContext } from "./copy-entries.ts";
import { type LostContent, StreamTaker } from "./take-stream.ts";

/**
 * Takes what comes until everything is there or the bundle ends, and returns the rest. What is good stays,
 * also after a failure.
 * @param entries in stream order, one per digest
 * @throws {AirferryError} ERR_SPACE, ERR_IO, …
 */
export async function copyStream(
  parts: AsyncIterable<StreamPart | LooseBytes>,
  entries: readonly PlacedEntry[],
  {
    streamSize,
    pieces,
    ...context
  }: Pick<CopyContext, "incoming" | "committer" | "pool" | "progress" | "written"> & {
    streamSize: number;
    volumeSize: number;
    pieces: PieceList | undefined;
  },
): Promise<LostContent[]> {
  const { committer } = context;
  const taker = new StreamTaker(entries, { ...context, pieces });
  try {
    await taker.begin();
    for await (const part of parts) {
      if (!("bytes" in part)) {
        await taker.search(part);
        continue;
      }
      await taker.take(part);
      // Whoever sends it again and again has no end.
      if (part.position + part.bytes.length === streamSize) await taker.flush();
      if (taker.isComplete) break;
    }
    const lost = await taker.settle();
    await committer.finish();
    return lost;
  } catch (error) {
    await taker.close();
    await runToEnd(() => committer.finish()).catch(() => undefined);
    throw error;
  }
}

/** How many bytes of content did not come. */
export function bytesLost(lost: readonly LostContent[]): number {
  return lost.reduce((sum, { entry, pieces }) => {
    if (pieces === undefined) return sum + entry.size;
    return sum + pieces.reduce((bytes, it) => bytes + rangeOf(it, entry.size).length, 0);
  }, 0);
}

/** Names of the volumes that have it, in order. */
export function volumesLost(lost: readonly LostContent[], { volumeSize }: Pick<Inventory, "volumeSize">): string[] {
  const indexes = new Set<number>();
  const add = (position: number, length: number) => {
    for (const it of piecesOf(position, length, volumeSize)) indexes.add(it.volume);
  };
  for (const { entry, pieces } of lost) {
    if (pieces === undefined) add(frameStart(entry), frameEnd(entry) - frameStart(entry));
    for (const it of pieces ?? []) {
      const { from, length } = rangeOf(it, entry.size);
      add(entry.offset + from, length);
    }
  }
  return [...indexes].sort((a, b) => a - b).map(volumeName);
}

function rangeOf({ first, count }: { first: number; count: number }, size: number): { from: number; length: number } {
  const from = first * PIECE_BYTES;
  return { from, length: Math.min(size, from + count * PIECE_BYTES) - from };
}
