/**
 * Starts the threads that will hash a bundle before the code that reads bundles is loaded: both take some fifty
 * milliseconds, and so they take them at the same time.
 */
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { HashPool } from "../io/hash-pool.ts";
import { volumeIndexOf } from "./volume-layout.ts";

/** More volumes than this do not change how many threads are worth starting. */
const ENOUGH_VOLUMES = 64;
/** A folder with more names than any bundle has is refused later. */
const MAX_NAMES = 20_000;

/**
 * A pool whose threads are starting, sized by the names and sizes in folders of a bundle; these are claims, and decide
 * about nothing else. Undefined if no volume is at the top of the folders. The caller closes it.
 */
export async function earlyPool(dirs: readonly string[]): Promise<HashPool | undefined> {
  let bytes = 0;
  let volumes = 0;
  for (const dir of dirs) {
    try {
      let names = 0;
      for await (const { name } of await opendir(dir)) {
        if (++names > MAX_NAMES || volumes >= ENOUGH_VOLUMES) break;
        if (volumeIndexOf(name) === undefined) continue;
        volumes++;
        bytes += (await lstat(join(dir, name))).size;
      }
    } catch {
      // Reported by whoever reads the bundle.
    }
  }
  if (volumes === 0) return undefined;
  const pool = HashPool.sizedFor(bytes);
  pool.start();
  return pool;
}
