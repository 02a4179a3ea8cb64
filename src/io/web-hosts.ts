/** Web answers of a release by host, from the paths of their bodies. */
import { GIT_INDEX } from "./git-index.ts";
import { WEB_INDEX } from "./web-index.ts";

/** The files below `web/HOST/`. */
export interface WebHost {
  /** Name of the folder: the host, with `_` before a port. */
  host: string;
  files: number;
  /** Bytes of all of them. */
  size: number;
}

/** Returns whether a path is that of a web answer's body or of a git repository's pack. */
export function isWebPath(path: string): boolean {
  return path.startsWith("web/") && path !== WEB_INDEX && path !== GIT_INDEX;
}

/** The hosts whose answers are among entries, sorted by name. */
export function webHosts(entries: Iterable<{ path: string; size: number }>): WebHost[] {
  const found = new Map<string, WebHost>();
  for (const { path, size } of entries) {
    if (!isWebPath(path)) continue;
    const host = path.split("/", 2)[1] ?? "";
    const known = found.get(host);
    if (known === undefined) found.set(host, { host, files: 1, size });
    else {
      known.files++;
      known.size += size;
    }
  }
  return [...found.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
}
