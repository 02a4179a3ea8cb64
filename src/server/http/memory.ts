/**
 * A bounded cache of small blobs in memory, so that packages, metadata and image manifests are served without the file
 * system. Blobs never change, so an entry is never stale. Evicts roughly the least recently used ones first.
 */

/** Blobs up to this size are cached. */
export const MAX_CACHED_BLOB_BYTES = 128 * 1024;

/** A blob in memory. Holders of a reference must check `live` before using it: `bytes` is empty once it is evicted. */
export interface CachedBlob {
  bytes: Uint8Array;
  live: boolean;
  /** Set on each use; it then survives the next round of eviction. */
  used: boolean;
}

const NOTHING = new Uint8Array(0);

/** Blobs by the path of their file. */
export class BlobMemory {
  readonly #limit: number;
  readonly #entries = new Map<string, CachedBlob>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  get(path: string): CachedBlob | undefined {
    const cached = this.#entries.get(path);
    if (cached !== undefined) cached.used = true;
    return cached;
  }

  /** Caches bytes that no longer change, at most {@link MAX_CACHED_BLOB_BYTES} of them. */
  put(path: string, bytes: Uint8Array): CachedBlob {
    const known = this.#entries.get(path);
    if (known !== undefined) return known;
    const cached = { bytes, live: true, used: true };
    this.#entries.set(path, cached);
    this.#bytes += bytes.length;
    this.#shrink();
    return cached;
  }

  /** Second chance: an entry used since the last check moves to the end instead of being evicted. */
  #shrink(): void {
    for (const [path, cached] of this.#entries) {
      if (this.#bytes <= this.#limit) return;
      this.#entries.delete(path);
      if (cached.used) {
        cached.used = false;
        this.#entries.set(path, cached);
      } else {
        this.#bytes -= cached.bytes.length;
        cached.live = false;
        cached.bytes = NOTHING;
      }
    }
  }
}
