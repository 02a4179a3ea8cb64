/**
 * A list of content that is wanted again, whole or by the piece: what a store lost, for whoever has a bundle with it.
 * docs/format.md, "Need files".
 */
import { writeAtomic } from "../io/atomic.ts";
import type { Digest } from "../io/digest.ts";
import type { PieceRun } from "../io/piece-digests.ts";

const NEED_MEDIA_TYPE = "application/vnd.airferry.need.v1+json";

/** Content that is wanted. */
export interface Need {
  digest: Digest;
  size: number;
  /** Only these pieces; absent: all. */
  pieces?: readonly PieceRun[];
}

/** Writes a need file, sorted by digest. */
export async function writeNeedFile(file: string, needs: readonly Need[]): Promise<void> {
  const blobs = [...needs]
    .sort((a, b) => (a.digest < b.digest ? -1 : 1))
    .map(({ digest, size, pieces }) => {
      const runs = pieces?.map(({ first, count }) => [first, count]);
      return JSON.stringify({ digest, size, ...(runs !== undefined && { pieces: runs }) });
    });
  const list = blobs.length === 0 ? "" : `\n${blobs.join(",\n")}\n`;
  await writeAtomic(file, `{"mediaType":"${NEED_MEDIA_TYPE}","blobs":[${list}]}\n`);
}
