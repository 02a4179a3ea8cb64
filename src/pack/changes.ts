/** The changes between a lock and the previous one, as text. */
import type { Kind } from "../io/types.ts";
import type { LockedEntry, LockedImageEntry } from "../sources/lock-document.ts";
import type { LockedArtifact } from "../sources/locked-artifact.ts";

/** One difference between the lock before and after. */
export interface LockChange {
  kind: Kind;
  name: string;
  /** Path in the bundle; absent when the whole entry came or went. */
  path?: string;
  change: "added" | "removed" | "changed";
  before?: string;
  after?: string;
}

/** What changed, artifact by artifact, in the order of the new lock; removed ones last. */
export function changesBetween(before: readonly LockedEntry[], after: readonly LockedEntry[]): LockChange[] {
  const changes: LockChange[] = [];
  // As a rule nothing changed, and entries are reused as they are.
  if (before.length === after.length && after.every((it, index) => it === before[index])) return changes;
  const old = new Map(before.map((entry) => [`${entry.kind} ${entry.name}`, entry]));
  const say = (it: Part) => `${it.integrity ?? "unpinned"}${it.size === undefined ? "" : ` (${it.size} bytes)`}`;
  for (const entry of after) {
    const { kind, name } = entry;
    const earlier = old.get(`${kind} ${name}`);
    old.delete(`${kind} ${name}`);
    if (earlier === undefined) {
      changes.push({ kind, name, change: "added" });
      continue;
    }
    if (entry.kind === "image" && earlier.kind === "image") {
      const [was, is] = [describeImages(earlier), describeImages(entry)];
      // Blobs by digest mean nothing to people.
      if (lockedBytes(earlier) !== lockedBytes(entry))
        changes.push({ kind, name, change: "changed", before: was, after: is });
      continue;
    }
    const paths = new Map(partsOf(earlier).map((artifact) => [artifact.path, artifact]));
    for (const artifact of partsOf(entry)) {
      const was = paths.get(artifact.path);
      paths.delete(artifact.path);
      if (was === undefined) changes.push({ kind, name, path: artifact.path, change: "added", after: say(artifact) });
      else if (say(was) !== say(artifact)) {
        changes.push({ kind, name, path: artifact.path, change: "changed", before: say(was), after: say(artifact) });
      }
    }
    for (const [path, was] of paths) changes.push({ kind, name, path, change: "removed", before: say(was) });
  }
  for (const { kind, name } of old.values()) changes.push({ kind, name, change: "removed" });
  return changes;
}

type Part = Pick<LockedArtifact, "path" | "integrity" | "size">;

/** Artifacts, and the documents that were read for them. */
function partsOf(entry: LockedEntry): readonly Part[] {
  if ((entry.kind !== "iso" && entry.kind !== "file") || entry.documents === undefined) return entry.artifacts;
  return [...entry.artifacts, ...entry.documents.map(({ path, kept, size }) => ({ path, integrity: kept, size }))];
}

/** The digests of an entry's images, and how many referrers they have. */
function describeImages({ detail }: LockedImageEntry): string {
  return detail.images
    .map(({ digest, referrers }) => `${digest}${referrers.length === 0 ? "" : ` and ${referrers.length} about it`}`)
    .join(", ");
}

/** All content of an entry, whatever its order. */
function lockedBytes({ artifacts }: LockedEntry): string {
  return artifacts
    .map(({ path, integrity }) => `${path} ${integrity}`)
    .sort()
    .join("\n");
}
