/**
 * The verb `lock`: finds out what exactly a manifest means today, and pins it beside the manifest. What nobody published a digest
 * of is downloaded to pin it; `pack` uses the same download.
 */
import { keepHeapSmall } from "./io/flat-memory.ts";
import { type LeftOutRow, leftOutIn } from "./manifest/why.ts";
import { type Resolved, resolveManifest } from "./pack/resolve.ts";
import type { Workspace } from "./pack/workspace.ts";

interface LockOptions {
  /** Lock these again although their text is the same; empty: all. Absent: only what changed. */
  update?: readonly string[];
  report?: (line: string) => void;
  /** Told bytes as they are downloaded. */
  progress?: (bytes: number) => void;
}

interface LockResult extends Resolved {
  /** Conditional dependencies that nothing in the bundle satisfies. */
  leftOut: LeftOutRow[];
}

/**
 * Brings the lock up to date with the manifest and writes it beside it.
 * @throws {AirferryError} ERR_UPSTREAM* (exit 4), ERR_MANIFEST_INVALID and ERR_USAGE (2)
 */
export async function lock(workspace: Workspace, options: LockOptions = {}): Promise<LockResult> {
  keepHeapSmall();
  const resolved = await resolveManifest(workspace, { ...options, pinFirstSight: true });
  return { ...resolved, leftOut: leftOutIn(resolved.lock) };
}
