/** What a manifest asks for, entry by entry, and what of it a lock does not answer. No network. */
import type { Problem } from "../errors.ts";
import type { Kind } from "../io/types.ts";
import { filePathOf, imageName } from "../manifest/entry-names.ts";
import { requestDigest } from "../manifest/request.ts";
import type { Manifest } from "../manifest/schema.ts";
import type { Lock } from "../sources/lock-document.ts";
import { withCompanions } from "../sources/rpm/companion-entries.ts";

/** One entry with the digest of its text. */
export interface EntryRequest {
  kind: Kind;
  name: string;
  request: string;
}

/** Every entry of a manifest, in its order. */
export function requestsOf(manifest: Manifest): EntryRequest[] {
  const of = <E extends object>(kind: Kind, entries: readonly E[] | undefined, nameOf: (entry: E) => string) =>
    (entries ?? []).map((entry) => ({ kind, name: nameOf(entry), request: requestDigest(entry) }));
  return [
    ...of("iso", manifest.isos, (it) => it.name),
    ...of("rpm", withCompanions(manifest.rpms ?? []), (it) => it.name),
    ...of("file", manifest.files, filePathOf),
    ...of("image", manifest.images, imageName),
    ...of("web", manifest.web, (it) => it.name),
  ];
}

/** Every entry whose lock is missing, of another text, or without a digest; empty when the lock answers all of them. */
export function staleEntries(requests: readonly EntryRequest[], stream: string, lock: Lock | undefined): Problem[] {
  const problems: Problem[] = [];
  const stale = (path: string, message: string) => problems.push({ code: "ERR_LOCK_STALE", path, message });
  const locked = new Map((lock?.entries ?? []).map((entry) => [`${entry.kind} ${entry.name}`, entry]));
  for (const { kind, name, request } of requests) {
    const entry = locked.get(`${kind} ${name}`);
    if (entry === undefined) stale(`${kind} ${name}`, "is not in the lock");
    else if (entry.request !== request) stale(`${kind} ${name}`, "changed in the manifest since it was locked");
    else {
      for (const artifact of entry.artifacts) {
        if (artifact.integrity === undefined && artifact.kept === undefined)
          stale(artifact.path, "has no digest in the lock");
      }
    }
    locked.delete(`${kind} ${name}`);
  }
  for (const key of locked.keys()) stale(key, "is in the lock but no longer in the manifest");
  if (lock !== undefined && lock.stream !== stream) stale("stream", `was "${lock.stream}"`);
  return problems;
}
