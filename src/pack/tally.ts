/** Where the bytes of a bundle came from, over all rounds of one pack. */
import type { LaidItem } from "./lay-out.ts";

/** Bytes of all items of a bundle; the four add up to the sizes in its inventory. */
export interface Origins {
  /** From upstream, in this run. What was received in vain is not in it. */
  fetchedBytes: number;
  /** From this host: files that the manifest names, the download cache, the lock's folder, earlier or other items. */
  reusedBytes: number;
  /** In place since an interrupted run. */
  foundBytes: number;
  /** Made by this program. */
  generatedBytes: number;
}

/** Remembers how each item got its bytes. Whatever it was not told of was found. */
export class ByteTally {
  /** By path: behind so many bytes of an earlier run, from this host … */
  readonly #reused = new Map<string, number>();
  /** … or from upstream. An item is in the one that it was last told of. */
  readonly #fetched = new Map<string, number>();

  /** @param found bytes that were in place before */
  reused(path: string, found: number): void {
    this.#fetched.delete(path);
    this.#reused.set(path, found);
  }

  /** @param found bytes that were in place before */
  fetched(path: string, found: number): void {
    this.#reused.delete(path);
    this.#fetched.set(path, found);
  }

  of(items: readonly Pick<LaidItem, "path" | "size" | "source">[]): Origins {
    const origins = { fetchedBytes: 0, reusedBytes: 0, foundBytes: 0, generatedBytes: 0 };
    for (const { path, size, source } of items) {
      if (source.from === "generated") {
        origins.generatedBytes += size;
        continue;
      }
      const [reused, fetched] = [this.#reused.get(path), this.#fetched.get(path)];
      const found = reused ?? fetched ?? size;
      origins.foundBytes += found;
      if (reused !== undefined) origins.reusedBytes += size - found;
      else origins.fetchedBytes += size - found;
    }
    return origins;
  }
}
