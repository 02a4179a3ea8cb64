/** Locks `git:` of a `web:` entry: refs as they are now, and the pack in the folder of the lock. */
import { parseBytes } from "../io/format.ts";
import { gitUrl } from "../io/git-index.ts";
import { redactUrl } from "../io/redact.ts";
import { requestDigest } from "../manifest/request.ts";
import type { WebEntry } from "../manifest/schema.ts";
import { fetchGit } from "./git-fetch.ts";
import type { LockedOf } from "./lock-document.ts";
import type { LockedArtifact } from "./locked-artifact.ts";
import type { LockContext } from "./types.ts";

/** Largest pack, where the entry has no `max_size`: it is in memory as a whole. */
export const MAX_PACK_BYTES = 256 * 1024 * 1024;

type LockedWeb = LockedOf<"web">;

/**
 * Fetches one repository after another. Packs are numbered: `arrange()` of web-arrange.ts names them once all entries
 * are known. @throws {AirferryError} ERR_UPSTREAM*
 */
export async function lockGit(
  entry: WebEntry,
  urls: readonly string[],
  { fetcher, kept, report }: LockContext,
): Promise<LockedWeb> {
  const maxBytes = (entry.max_size && parseBytes(entry.max_size)) || MAX_PACK_BYTES;
  const git: NonNullable<LockedWeb["detail"]["git"]> = [];
  const artifacts: LockedArtifact[] = [];
  for (const [index, asked] of urls.entries()) {
    report(`fetching repository ${redactUrl(asked)}`);
    const { pack, ...found } = await fetchGit(asked.replace(/\/+$/, ""), fetcher, maxBytes);
    const url = gitUrl(asked);
    if (pack === undefined) git.push({ url, ...found });
    else {
      const path = `web/${index}`;
      const digest = await kept.put(pack);
      artifacts.push({ path, kept: digest, integrity: digest, size: pack.length, established: "first-sight" });
      git.push({ url, ...found, path });
    }
  }
  return { kind: "web", name: entry.name, request: requestDigest(entry), artifacts, detail: { answers: [], git } };
}
