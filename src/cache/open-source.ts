/** Opens a store for a command that reads it: a folder, or a store in a bucket through its cache. */
import { isS3Name } from "../s3/s3-target.ts";
import { openStore, type Store } from "../store/store.ts";
import type { CachedStore } from "./cached-store.ts";

/** Of a store in a bucket. */
export interface SourceOptions {
  /** Folder of the cache; default in the user's cache directory. */
  cache?: string | undefined;
  /** How much it may hold: `10GiB`. */
  cacheSize?: string | undefined;
}

/**
 * Opens a store by its name. The caller closes it.
 * @throws {AirferryError} as `openStore()`; ERR_USAGE, ERR_OBJECT_STORAGE
 */
export async function openSource(name: string, { cache, cacheSize }: SourceOptions): Promise<Store | CachedStore> {
  if (!isS3Name(name)) return openStore(name);
  const { openCachedStore } = await import("./cached-store.ts");
  return await openCachedStore(name, { cache, cacheSize });
}
