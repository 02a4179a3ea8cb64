/** What a pack writes into its lock: sizes and digests known only after download, and excluded packages. */

import type { Digest } from "../io/digest.ts";
import { maxBytesOf } from "../sources/artifact.ts";
import { sourceOf } from "../sources/kinds.ts";
import type { Lock } from "../sources/lock-document.ts";
import { writeLock } from "../sources/lock-document.ts";
import type { LockedArtifact } from "../sources/locked-artifact.ts";
import { artifactUrls } from "../sources/recorded-urls.ts";
import type { ItemFault } from "../sources/types.ts";
import type { PackJob } from "./job.ts";
import { planContext } from "./lay-out.ts";

/** Artifacts of unknown size are downloaded before the layout; pack copies them from the cache. */
export async function pinUnsized({ workspace, report }: PackJob, lock: Lock): Promise<Lock> {
  const entries = [];
  for (const entry of lock.entries) {
    // As a rule there is nothing to do, and then there need not be two of it.
    if (!entry.artifacts.some((it) => it.size === undefined && it.urls !== undefined)) {
      entries.push(entry);
      continue;
    }
    const artifacts = [];
    for (const artifact of entry.artifacts) {
      if (artifact.size !== undefined || artifact.urls === undefined) {
        artifacts.push(artifact);
        continue;
      }
      report(`fetching ${artifact.urls[0]} first: upstream does not send its size`);
      const { digest, size, etag } = await workspace.cache.download(
        workspace.fetcher,
        artifactUrls(artifact.urls, entry, workspace.manifest),
        { integrity: artifact.integrity, maxBytes: maxBytesOf(entry, workspace.manifest) },
      );
      const integrity = artifact.integrity ?? digest;
      artifacts.push({ ...artifact, size, integrity, ...(etag && { etag }) });
    }
    entries.push({ ...entry, artifacts });
  }
  return { ...lock, entries };
}

/** Writes what was pinned on first sight to the lock. A frozen lock has nothing left to pin. */
export async function savePins(
  { workspace, frozen }: PackJob,
  lock: Lock,
  digestAt: (path: string) => Digest | undefined,
): Promise<Lock> {
  const isOpen = (it: LockedArtifact) => it.integrity === undefined && it.kept === undefined;
  const entries = lock.entries.map((entry) =>
    entry.artifacts.some(isOpen)
      ? {
          ...entry,
          artifacts: entry.artifacts.map((artifact) => {
            const digest = isOpen(artifact) ? digestAt(artifact.path) : undefined;
            return digest === undefined ? artifact : { ...artifact, integrity: digest };
          }),
        }
      : entry,
  );
  const pinned = { ...lock, entries };
  if (!frozen) await writeLock(workspace.paths.lock, pinned);
  return pinned;
}

/** Removes quarantined packages from the lock: the plan is recomputed without them. */
export async function excludeFaults(
  { workspace, rpmSigner }: PackJob,
  lock: Lock,
  faults: readonly ItemFault[],
): Promise<Lock> {
  const byPath = new Map(faults.map((fault) => [fault.path, fault]));
  const entries = [];
  for (const entry of lock.entries) {
    const mine = entry.artifacts.flatMap((artifact) => byPath.get(artifact.path) ?? []);
    const source = mine.length > 0 ? await sourceOf(entry.kind) : undefined;
    entries.push(source?.exclude ? await source.exclude(entry, mine, planContext(workspace, lock, rpmSigner)) : entry);
  }
  const excluded = { ...lock, entries };
  await writeLock(workspace.paths.lock, excluded);
  return excluded;
}
