/** Digests of the files inside of ISOs: what recipes are made of, and what `data.files` lists. */
import type { FileInside, ListedIso } from "../bundle/file-list.ts";
import type { Digest } from "../io/digest.ts";
import type { HashPool } from "../io/hash-pool.ts";
import type { RangeJob } from "../io/hash-worker.ts";
import { eachLimited } from "../io/limit.ts";
import type { Extent } from "../io/types.ts";
import type { IsoFile } from "../sources/iso-files.ts";

/** A file of an ISO with its digest. */
export interface DigestedFile extends IsoFile {
  digest: Digest;
}

/** Hashes files of an ISO, in their order. `rangesOf` says where bytes of the ISO are on this host. */
export async function digestFiles(
  files: readonly IsoFile[],
  rangesOf: (extent: Extent) => Iterable<RangeJob>,
  pool: HashPool,
): Promise<DigestedFile[]> {
  const digests = new Map<IsoFile, Digest>();
  await eachLimited(files, 2 * (pool.size + 1), async (file) => {
    const ranges = file.extents.flatMap((it) => [...rangesOf(it)]);
    const [only, more] = ranges;
    if (only !== undefined && more === undefined) {
      digests.set(file, (await pool.hashFile(only.file, only)).digest);
      return;
    }
    const hasher = pool.open();
    try {
      await Promise.all(ranges.map((it) => hasher.advance(it)));
      digests.set(file, await hasher.digest());
    } finally {
      hasher.discard();
    }
  });
  return files.map((it) => ({ ...it, digest: digests.get(it) as Digest }));
}

/** The files that a list has of an ISO: those that are in one piece. */
export function listedIso(digest: Digest, size: number, files: readonly DigestedFile[]): ListedIso {
  const inOne = files.flatMap(({ digest, size, extents }): FileInside[] => {
    const [only, more] = extents;
    return only === undefined || more !== undefined ? [] : [{ digest, size, offset: only.offset }];
  });
  return { digest, size, files: inOne };
}
