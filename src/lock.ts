/**
 * The verb `lock`: resolves exactly what a manifest means today, and pins it next to the manifest. Artifacts without a
 * published digest are downloaded to pin them; `pack` uses the same download.
 */
import { countEstablished, type EstablishedCounts } from "./io/established.ts";
import { type LeftOutRow, leftOutIn } from "./manifest/why.ts";
import { type Resolved, resolveManifest } from "./pack/resolve.ts";
import type { Workspace } from "./pack/workspace.ts";

interface LockOptions {
  /** Lock these again although their text is unchanged; empty: all. Absent: only what changed. */
  update?: readonly string[];
  report?: (line: string) => void;
  /** Called with bytes as they are downloaded. */
  progress?: (bytes: number) => void;
}

interface LockResult extends Resolved {
  /** Conditional dependencies that nothing in the bundle satisfies. */
  leftOut: LeftOutRow[];
  established: EstablishedCounts;
  artifacts: number;
  /** Bytes of all artifacts whose size is known, and how many have none yet. */
  size: number;
  unknownSizes: number;
}

/**
 * Updates the lock from the manifest and writes it next to the manifest.
 * @throws {AirferryError} ERR_UPSTREAM* (exit 4), ERR_MANIFEST_INVALID and ERR_USAGE (2)
 */
export async function lock(workspace: Workspace, options: LockOptions = {}): Promise<LockResult> {
  const resolved = await resolveManifest(workspace, { ...options, pinFirstSight: true });
  const artifacts = resolved.lock.entries.flatMap((it) => it.artifacts);
  return {
    ...resolved,
    leftOut: leftOutIn(resolved.lock),
    established: countEstablished(artifacts),
    artifacts: artifacts.length,
    size: artifacts.reduce((sum, it) => sum + (it.size ?? 0), 0),
    unknownSizes: artifacts.filter((it) => it.size === undefined).length,
  };
}
