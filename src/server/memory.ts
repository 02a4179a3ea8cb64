/**
 * A bounded cache of small blobs in memory, so that packages, metadata and image manifests are answered without the
 * file system. Blobs never change, so an entry is never stale. Least recently used ones go first, roughly.
 */

/** Blobs up to this size are kept. */
export const MAX_CACHED_BLOB_BYTES = 128 * 1024;

interface Cached {
  bytes: Uint8Array;
  used: boolean;
}

/** Blobs by the path of their file. */
export class BlobMemory {
  readonly #limit: number;
  readonly #entries = new Map<string, Cached>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  get(path: string): Uint8Array | undefined {
    const cached = this.#entries.get(path);
    if (cached === undefined) return undefined;
    cached.used = true;
    return cached.bytes;
  }

  put(path: string, bytes: Uint8Array): void {
    if (bytes.length > MAX_CACHED_BLOB_BYTES || this.#entries.has(path)) return;
    this.#entries.set(path, { bytes, used: false });
    this.#bytes += bytes.length;
    this.#shrink();
  }

  /** Second chance: an entry used since it was last looked at moves to the end instead of leaving. */
  #shrink(): void {
    for (const [path, cached] of this.#entries) {
      if (this.#bytes <= this.#limit) return;
      this.#entries.delete(path);
      if (cached.used) {
        cached.used = false;
        this.#entries.set(path, cached);
      } else {
        this.#bytes -= cached.bytes.length;
      }
    }
  }
}
