/** Paths of the files that belong to a manifest. */
import { basename, dirname, join } from "node:path";

/** Paths that belong to a manifest: lock, blobs of the lock, state of its stream. */
export function pathsOf(manifestFile: string): { baseDir: string; lock: string; kept: string; state: string } {
  const baseDir = dirname(manifestFile);
  const stem = join(baseDir, basename(manifestFile).replace(/\.(ya?ml|json)$/, ""));
  return { baseDir, lock: `${stem}.lock.json`, kept: `${stem}.lock.d`, state: `${stem}.state.json` };
}
