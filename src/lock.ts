/**
 * The verb `lock`: resolves exactly what a manifest means today, and pins it next to the manifest. Artifacts without a
 * published digest are downloaded to pin them; `pack` uses the same download.
 */
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
}

/**
 * Updates the lock from the manifest and writes it next to the manifest.
 * @throws {AirferryError} ERR_UPSTREAM* (exit 4), ERR_MANIFEST_INVALID and ERR_USAGE (2)
 */
export async function lock(workspace: Workspace, options: LockOptions = {}): Promise<LockResult> {
  const resolved = await resolveManifest(workspace, { ...options, pinFirstSight: true });
  return { ...resolved, leftOut: leftOutIn(resolved.lock) };
}
