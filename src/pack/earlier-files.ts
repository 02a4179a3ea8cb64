/** Which files are inside of ISOs, as the bundles that were packed before list them. */
import { join } from "node:path";
import { type ListedIso, parseFileList } from "../bundle/file-list.ts";
import { MAX_FILES_BYTES, MAX_SUMS_BYTES } from "../bundle/format-limits.ts";
import { FILES_NAME, SUMS_NAME } from "../bundle/media-names.ts";
import { parseSums } from "../bundle/sums.ts";
import { type Digest, digestOf } from "../io/digest.ts";
import { throwIfAborted } from "../io/limit.ts";
import { readSmall } from "../io/safe-open.ts";
import { earlierReleases } from "./earlier-releases.ts";

/**
 * Looks ISOs up in the bundles under a folder, the newest first, until `isWanted` is satisfied: it is asked for each
 * that is listed and not found yet. Lists that are missing or not as they were signed are ignored.
 */
export async function earlierIsos(
  out: string,
  isWanted: (digest: Digest, size: number) => boolean,
): Promise<Map<Digest, ListedIso>> {
  const found = new Map<Digest, ListedIso>();
  for (const { folder } of (await earlierReleases(out)).reverse()) {
    throwIfAborted();
    try {
      const { lines } = parseSums(await readSmall(join(folder, SUMS_NAME), MAX_SUMS_BYTES));
      const digest = lines.find((it) => it.name === FILES_NAME)?.digest;
      if (digest === undefined) continue;
      const bytes = await readSmall(join(folder, FILES_NAME), MAX_FILES_BYTES);
      if (digestOf(bytes) !== digest) continue;
      const isNew = (it: Digest, size: number) => !found.has(it) && isWanted(it, size);
      for (const it of parseFileList(bytes, isNew)) found.set(it.digest, it);
    } catch {
      // Without the list its ISOs are not known inside; their digests still are.
      throwIfAborted();
    }
  }
  return found;
}
