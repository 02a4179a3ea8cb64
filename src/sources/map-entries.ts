/** Locks entries, several at a time, reusing those whose manifest text did not change. */
import { mapLimited } from "../io/limit.ts";
import type { Kind } from "../io/types.ts";
import { requestDigest } from "../manifest/request.ts";
import type { LockedOf } from "./lock-document.ts";
import type { LockContext } from "./types.ts";

/** Entries resolved at once; the fetcher limits requests per host by itself. */
const LOCK_CONCURRENCY = 16;

/** Results come in the order of `entries`; the first error stops the others. */
export async function mapEntries<E extends object, K extends Kind>(
  kind: K,
  entries: readonly E[],
  nameOf: (entry: E) => string,
  context: LockContext<K>,
  lockOne: (entry: E) => Promise<LockedOf<K>>,
): Promise<LockedOf<K>[]> {
  return mapLimited(entries, LOCK_CONCURRENCY, async (entry) => {
    const name = nameOf(entry);
    const previous = context.previous.get(name);
    const same = previous?.request === requestDigest(entry) && !context.update(kind, name);
    const pinned = !context.pinFirstSight || previous?.artifacts.every((it) => it.integrity !== undefined);
    return previous !== undefined && same && pinned ? previous : lockOne(entry);
  });
}
