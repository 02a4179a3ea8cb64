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
  /** By path: from this host, or fetched; a number: fetched behind so many bytes of an earlier run. */
  readonly #ways = new Map<string, "reused" | number>();

  reused(path: string): void {
    this.#ways.set(path, "reused");
  }

  /** @param found bytes that were in place before */
  fetched(path: string, found: number): void {
    this.#ways.set(path, found);
  }

  of(items: readonly LaidItem[]): Origins {
    const origins = { fetchedBytes: 0, reusedBytes: 0, foundBytes: 0, generatedBytes: 0 };
    for (const { path, size, source } of items) {
      const way = this.#ways.get(path);
      if (source.from === "generated") origins.generatedBytes += size;
      else if (way === "reused") origins.reusedBytes += size;
      else {
        origins.foundBytes += way ?? size;
        origins.fetchedBytes += size - (way ?? size);
      }
    }
    return origins;
  }
}
