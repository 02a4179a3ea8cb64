/**
 * The cache of a store that is elsewhere, in a bucket: a folder laid out as a store, with the records of its current
 * releases, and of its blobs those parts that were asked for. Types only.
 *
 * ```
 * CACHE/
 *   airferry-cache.json            {"cacheVersion":1,"of":"s3://…"}
 *   releases/…                     as in the bucket: current releases, checked by their digests
 *   blobs/sha256/ab/<64 hex>       chunks: blobs of at most 1 MiB, and pieces of larger ones, named by their digests
 *   lists/<64 hex>                 digests of the pieces of a blob whose own list is lost: all of it was read
 * ```
 */
import type { Digest } from "../io/digest.ts";
import type { RangeSink } from "../s3/range-connections.ts";
import type { SharedMemory } from "./piece-memory.ts";

/** A small object, as it was read. */
export interface ObjectBytes {
  bytes: Buffer;
  etag: string;
}

/**
 * The objects of a store, by their keys below the store's place: `releases/s/current`. Each call ends within its time
 * limits, and throws ERR_OBJECT_STORAGE for a bucket that does not answer, or refuses.
 */
export interface BucketObjects {
  /** The store's name, without secrets. */
  readonly name: string;
  /**
   * Reads a small object; undefined when there is none, `unchanged` when it still has the given ETag.
   * @throws {AirferryError} ERR_SIZE_LIMIT when it is over `maxBytes`
   */
  read(
    key: string,
    options: { maxBytes: number; etag?: string | undefined },
  ): Promise<ObjectBytes | "unchanged" | undefined>;
  /** Names directly below a key that ends in a slash: of objects, and of folders with a slash; at most `limit`. */
  list(prefix: string, limit: number): Promise<string[]>;
  /**
   * Streams bytes from `start` up to `end` (exclusive, default: its end) to `take`, which is awaited. Returns the size
   * of the whole object; undefined when there is none. Bytes are right up to where it throws.
   */
  stream(
    key: string,
    options: { start?: number; end?: number | undefined; maxBytes: number },
    take: (bytes: Buffer) => Promise<void> | undefined,
  ): Promise<number | undefined>;
  /**
   * Reads bytes from `start` up to `end` (exclusive) into memory that the receiver gives, without a copy where that
   * goes. Returns the size of the whole object, of which the end may come before `end`; undefined when there is none.
   * Bytes are right up to where it throws.
   */
  receive(key: string, range: { start: number; end: number }, into: RangeSink): Promise<number | undefined>;
  /** A URL that gives the object to whoever has it, for so many seconds. */
  presign(key: string, seconds: number): Promise<string>;
  /** Ends all connections. */
  close(): void;
}

/** What is asked of the thread that fills the cache. Plain data. */
export type CacheOrder =
  /** What is known of a blob? A small one is there then. */
  | { kind: "open"; digest: Digest }
  /** Bring these pieces, and begin to bring as many more. */
  | { kind: "pieces"; digest: Digest; first: number; count: number; ahead: number }
  /** A chunk is damaged: remove it. */
  | { kind: "discard"; chunk: Digest }
  /** A URL at which clients get the blob from the bucket itself, unless it is known to be damaged there. */
  | { kind: "presign"; digest: Digest };

/** What is known of a blob. */
export interface BlobFacts {
  size: number;
  /** Absent: it is one chunk. */
  pieces?: BlobPieceFacts;
}

/** What is known of the pieces of a blob, in memory that all threads share. */
export interface BlobPieceFacts {
  /** Their digests: several lists when releases differ. */
  lists: readonly Uint8Array[];
  /** When the files of pieces changed that were found right, by piece: milliseconds; 0: nobody compared it. */
  right: Float64Array;
  /** When pieces were last asked for; 0: never. */
  asked: Float64Array;
  /** Where pieces are before they are files. */
  memory: SharedMemory;
}

/** The answer to an order: facts for `open`, the URL for `presign` if there is one to give. */
export type CacheAnswer = BlobFacts | { url: string } | undefined;

/**
 * Asks the thread that fills the cache.
 * @throws {AirferryError} ERR_OBJECT_STORAGE; ERR_STORE_INVALID for altered blobs
 */
export type AskCache = (order: CacheOrder) => Promise<CacheAnswer>;

/** Counts since the start. */
export interface CacheCounts {
  /** Chunks that were asked for and had to be fetched. */
  misses: number;
  /** Bytes fetched from the bucket. */
  fetchedBytes: number;
  /** Requests to the bucket that failed. */
  errors: number;
  /** Chunks that were refused since their bytes are not what was signed. */
  refused: number;
  evictedChunks: number;
  /** In the folder now: chunks and documents. */
  usedBytes: number;
  /** Of these, what is no chunk: records of releases. */
  documentBytes: number;
  limitBytes: number;
  /** When the bucket stopped answering, RFC 3339; absent: it answers. */
  downSince?: string;
}
