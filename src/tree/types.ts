/** What takes over the contents of a tree: a pool of files, or the sources of a bucket's objects. */
import type { Digest } from "../io/digest.ts";
import type { RandomAccess } from "../io/types.ts";
import type { OpenBlob } from "../store/types.ts";

/** A file of the store. */
export interface StoredFile {
  digest: Digest;
  file: string;
  size: number;
  /** Opens the content of a store whose blobs are no files. */
  open?: (() => Promise<OpenBlob>) | undefined;
}

/** Where a file inside an image is: the image, which was taken over before, and the path in it. */
export interface InsideImage {
  iso: Digest;
  path: string;
}

/** The contents of a tree, by their digests. */
export interface TreeContents {
  /** Takes over a file of the store, unless it is here. */
  addFile(stored: StoredFile): Promise<void>;
  /** Takes over bytes, unless they are here; returns their digest. */
  addBytes(bytes: Uint8Array): Promise<Digest>;
  /** Takes over a file inside an image; returns its digest. */
  addAll(source: RandomAccess, from: InsideImage): Promise<Digest>;
  /** Whether a file inside an image that is known from an earlier run is here, or can be read from there. */
  has(digest: Digest, size: number, from: InsideImage): Promise<boolean>;
  /** Opens an image that was taken over; all of it was compared with its digest. The caller closes it. */
  openImage(digest: Digest): Promise<OpenBlob>;
  /** Whether a file of the store would have to be taken over. */
  lacks(stored: StoredFile): boolean;
}
