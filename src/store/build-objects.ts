/**
 * Builds an entry that a bundle does not carry in object storage: ranges of other blobs are read, hashed together and
 * written in one pass. docs/format.md, "Recipes".
 */
import type { Recipe, RecipeSource } from "../bundle/recipe-list.ts";
import type { Digest } from "../io/digest.ts";
import type { Bucket } from "../s3/bucket.ts";
import { PartBuffers, upload } from "../s3/s3-upload.ts";
import { blobKey } from "./layout.ts";

/** Small ranges that follow each other in a source are read at once. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** Sources of which a window is in memory. */
const WINDOWS = 8;

interface BuildContext {
  /** Whether a blob was found to be damaged: all of it is written, whatever the storage says of what it has. */
  isSuspect?: (digest: Digest) => boolean;
  progress(bytes: number): void;
  written(bytes: number): void;
}

/**
 * Builds one entry whose sources are all in the bucket. False: what they give does not have its digest, and nothing was
 * written.
 * @throws {AirferryError} ERR_OBJECT_STORAGE, ERR_SPACE; ERR_NOT_FOUND when a source is gone
 */
export async function buildObject(
  recipe: Recipe,
  bucket: Bucket,
  { isSuspect, progress, written }: BuildContext,
): Promise<boolean> {
  const { size, digest } = recipe;
  const windows = new SourceWindows(bucket);
  const end = await upload(
    bucket,
    blobKey(digest),
    {
      size,
      digest,
      isSuspect: isSuspect?.(digest) === true,
      fill: async (position, into) => {
        let at = 0;
        for (const { source, offset, length } of recipe.ranges(position, into.length)) {
          if (source === undefined) into.fill(0, at, at + length);
          else await windows.read(source, offset, into.subarray(at, at + length));
          at += length;
        }
      },
      progress: (bytes, sent) => {
        progress(bytes);
        if (sent) written(bytes);
      },
    },
    new PartBuffers(),
  );
  return end.is !== "differs";
}

/** Reads ranges of blobs with few requests where they are near to each other. */
class SourceWindows {
  readonly #bucket: Bucket;
  readonly #windows = new Map<Digest, { start: number; bytes: Buffer }>();

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
  }

  async read({ digest, size }: RecipeSource, offset: number, into: Buffer): Promise<void> {
    for (let at = 0; at < into.length; ) {
      const from = offset + at;
      const found = this.#windows.get(digest);
      if (found !== undefined && from >= found.start && from < found.start + found.bytes.length) {
        at += found.bytes.copy(into, at, from - found.start);
        continue;
      }
      this.#windows.delete(digest);
      const bytes = await this.#bucket.range(blobKey(digest), from, Math.min(WINDOW_BYTES, size - from));
      for (const oldest of this.#windows.keys()) {
        if (this.#windows.size < WINDOWS) break;
        this.#windows.delete(oldest);
      }
      this.#windows.set(digest, { start: from, bytes });
    }
  }
}
