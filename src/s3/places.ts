/** What airferry keeps below prefixes of a bucket: each is known by one object, and none lies inside another. */
import { openBucket } from "./bucket.ts";
import type { S3Target } from "./s3-target.ts";

/** The object by which each is known, below its prefix. */
export const PLACE_KEYS = { store: "airferry-store.json", tree: ".airferry/tree.json" } as const;

/** A prefix, without slashes at its ends, and what is there. */
interface Place {
  kind: keyof typeof PLACE_KEYS;
  prefix: string;
}

/**
 * Looks for a place at the prefixes above that of a target, the shortest first. Whoever may read nothing there learns
 * nothing of it.
 * @param self look at the target's own prefix too, for these kinds
 */
export async function placeAbove(target: S3Target, self: readonly Place["kind"][] = []): Promise<Place | undefined> {
  const parts = target.prefix === "" ? [] : target.prefix.split("/");
  for (let count = 0; count <= parts.length; count++) {
    const prefix = parts.slice(0, count).join("/");
    const bucket = await openBucket({ ...target, prefix });
    try {
      for (const kind of count === parts.length ? self : (["store", "tree"] as const))
        if ((await bucket.head(PLACE_KEYS[kind]).catch(() => undefined)) !== undefined) return { kind, prefix };
    } finally {
      bucket.close();
    }
  }
  return undefined;
}
