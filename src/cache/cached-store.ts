/**
 * A store in a bucket, read through a cache: the folder of the cache in the role of a store. One thread of a process
 * fills it; others read the same folder, and ask that one for what is missing.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { formatBytes } from "../io/format.ts";
import { hasPieces } from "../io/piece-digests.ts";
import { openObjects } from "../s3/direct-objects.ts";
import { parseS3Target } from "../s3/s3-target.ts";
import { blobKey } from "../store/layout.ts";
import { readReleaseApart } from "../store/read-apart.ts";
import { Store } from "../store/store.ts";
import type { OpenBlob, Release } from "../store/types.ts";
import { BlobFetcher } from "./blob-fetcher.ts";
import { BucketHealth } from "./bucket-health.ts";
import { cacheBytes, defaultBucketCache, nameInCache, prepareCache } from "./cache-folder.ts";
import { CachedFiles } from "./cached-files.ts";
import { ChunkFolder } from "./chunk-folder.ts";
import { DamageList } from "./damage-list.ts";
import { documentBytes } from "./document-bytes.ts";
import { openThrough } from "./open-blob.ts";
import { type Admit, isBucketFault, ReleaseMirror } from "./release-mirror.ts";
import type { BucketObjects, CacheAnswer, CacheCounts, CacheOrder } from "./types.ts";

/** How often the bucket is asked for new releases. */
const POLL_MS = 500;
/** How often documents are counted that other processes may have brought. */
const COUNT_MS = 60_000;
/** How long clients may use a URL that leads them to the bucket, and how long it is given to more of them. */
const REDIRECT_S = 3600;
const SAME_URL_MS = 1_200_000;
const MAX_URLS = 4096;
/** Between two reports that the cache cannot be written. */
const QUIET_MS = 600_000;

/** How a store in a bucket is read. */
interface CacheOptions {
  /** Folder of the cache; default {@link defaultBucketCache}. */
  cache?: string | undefined;
  /** How much it may hold: `10GiB`. */
  cacheSize?: string | undefined;
  /** Judges the record of a release before it is mirrored. */
  admit?: Admit | undefined;
  /** Called with what goes wrong later, each fault once. */
  report?: ((message: string) => void) | undefined;
}

/** A store in the role of which a cache is. The caller closes it. */
export class CachedStore extends Store {
  /** Blobs are not files here: {@link CachedStore.answer} brings their chunks. */
  readonly isCache = true;
  override readRecord = (folder: string) => readReleaseApart(folder);
  readonly #objects: BucketObjects;
  readonly #chunks: ChunkFolder;
  readonly #health: BucketHealth;
  readonly #mirror: ReleaseMirror;
  readonly #fetcher: BlobFetcher;
  readonly #damage: DamageList;
  #fetchedOf: readonly Release[] = [];
  readonly #urls = new Map<Digest, { url: Promise<string>; untilMs: number }>();
  readonly #closed = new AbortController();
  #report: (message: string) => void;
  #reported = "";
  /** Until when nothing more is said of a cache that cannot be written. */
  #quietMs = 0;
  /** Changes of the mirror that were counted, and when. */
  #counted = { changes: -1, atMs: 0 };
  #isTight = false;

  constructor(dir: string, objects: BucketObjects, limitBytes: number, { admit, report = () => {} }: CacheOptions) {
    super(dir, objects.name);
    this.#objects = objects;
    this.#report = report;
    this.#health = new BucketHealth(objects.name);
    this.#chunks = new ChunkFolder(dir, limitBytes);
    this.#mirror = new ReleaseMirror(objects, dir, this.#health, admit);
    this.#damage = new DamageList(objects, this.#health, (message) => this.#report(message));
    const lists = {
      largeSize: (digest: Digest) => this.#largeSize(digest),
      listsOf: async (digest: Digest, size: number) => {
        try {
          return await this.pieceLists(this.blobPath(digest), size);
        } catch (error) {
          // A list in the cache is damaged: it is mirrored again within a second.
          for (const { stream } of await this.releases()) this.#mirror.doubt(stream);
          throw error;
        }
      },
    };
    this.#fetcher = new BlobFetcher(objects, this.#chunks, lists, this.#health, (error) => this.#tellUnkept(error));
  }

  /**
   * Mirrors the current releases.
   * @throws {AirferryError} ERR_OBJECT_STORAGE when the bucket does not answer and nothing was mirrored before
   */
  async begin(): Promise<void> {
    this.#chunks.scan().catch((error: unknown) => this.#tell(error));
    try {
      await this.#mirror.poll();
    } catch (error) {
      const here = await this.releases();
      if (here.length === 0 || !(error instanceof AirferryError)) throw error;
      this.#tell(error);
    }
    await this.#countDocuments();
  }

  /** Follows the bucket until the store is closed; `report` hears what goes wrong. */
  follow(report: (message: string) => void): void {
    this.#report = report;
    void this.#follow();
  }

  openBlob(digest: Digest): Promise<OpenBlob> {
    return openThrough(this.dir, (order) => this.answer(order), digest);
  }

  /** Does what another thread asks for. @throws {AirferryError} as {@link BlobFetcher} does */
  async answer(order: CacheOrder): Promise<CacheAnswer> {
    if (order.kind === "open") return await this.#fetcher.open(order.digest);
    if (order.kind === "discard") await this.#chunks.discard(order.chunk);
    else if (order.kind === "presign") {
      const url = await this.#urlOf(order.digest);
      return url === undefined ? undefined : { url };
    } else await this.#fetcher.bring(order.digest, order.first, order.count, order.ahead);
    return undefined;
  }

  counts(): CacheCounts {
    const { downSince, errors } = this.#health;
    const { usedBytes, documentBytes, limitBytes, evictedChunks } = this.#chunks;
    return {
      ...this.#fetcher.counts,
      errors,
      usedBytes,
      documentBytes,
      limitBytes,
      evictedChunks,
      ...(downSince !== undefined && { downSince }),
    };
  }

  /** What a server opens of it. */
  files(): CachedFiles {
    return new CachedFiles(this.dir, (order) => this.answer(order), false);
  }

  /** Mirrors what pages show of former releases. @throws {AirferryError} as {@link ReleaseMirror.past} */
  async mirrorPast(): Promise<void> {
    await this.#mirror.past();
  }

  override async close(): Promise<void> {
    this.#closed.abort();
    this.#objects.close();
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted) {
      await sleep(POLL_MS, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      try {
        // Whatever is wrong with a release.
        await Promise.all([this.#mirror.poll(), this.#damage.follow()]);
        await this.releases();
        for (const { stream } of this.faults) this.#mirror.doubt(stream);
        await this.#mirror.past();
        if (this.#reported !== "") this.#report(`the bucket of "${this.name}" is read again`);
        this.#reported = "";
      } catch (error) {
        if (!signal.aborted) this.#tell(error);
      }
      await this.#countDocuments();
    }
  }

  /** Has the documents counted in the limit, after they changed. Never throws. */
  async #countDocuments(): Promise<void> {
    const { changes } = this.#mirror;
    const atMs = performance.now();
    if (changes === this.#counted.changes && atMs - this.#counted.atMs < COUNT_MS) return;
    this.#counted = { changes, atMs };
    this.#chunks.documentsHave(await documentBytes(this.dir));
    const { documentBytes: bytes, roomBytes, limitBytes } = this.#chunks;
    const isTight = bytes + roomBytes > limitBytes;
    if (isTight && !this.#isTight) {
      const sizes = `${formatBytes(bytes)}, --cache-size is ${formatBytes(limitBytes)}`;
      const all = `${formatBytes(roomBytes)} of content are kept beside them, ${formatBytes(bytes + roomBytes)} in all`;
      this.#report(
        `the records of releases in the cache "${this.dir}" have ${sizes}: ${all}; give more with --cache-size`,
      );
    }
    this.#isTight = isTight;
  }

  #tell(error: unknown): undefined {
    const message = error instanceof Error ? error.message : String(error);
    // A bucket that is gone says so in many ways.
    const kind = isBucketFault(error) ? "bucket" : message;
    if (kind !== this.#reported) this.#report(message);
    this.#reported = kind;
  }

  /** A full disk is a fault for each piece; one report in a while says enough. */
  #tellUnkept(error: unknown): void {
    const now = performance.now();
    if (now < this.#quietMs) return;
    this.#quietMs = now + QUIET_MS;
    const fault = error instanceof Error ? error.message : String(error);
    this.#report(`${fault}; large content is served without being kept in the cache`);
  }

  async #largeSize(digest: Digest): Promise<number | undefined> {
    const releases = await this.releases();
    if (releases !== this.#fetchedOf) {
      this.#fetchedOf = releases;
      this.#fetcher.forget();
    }
    for (const { inventory } of releases) {
      const index = inventory.entries.findDigest(digest);
      if (index < 0) continue;
      const size = inventory.entries.sizeAt(index);
      return hasPieces(size) ? size : undefined;
    }
    return undefined;
  }

  /** While the bucket does not answer nobody is sent there; undefined: nobody is for this blob, which is damaged. */
  async #urlOf(digest: Digest): Promise<string | undefined> {
    this.#health.check();
    if (!(await this.#damage.allows(digest))) return undefined;
    const now = performance.now();
    const known = this.#urls.get(digest);
    if (known !== undefined && known.untilMs > now) return known.url;
    const url = this.#objects.presign(blobKey(digest), REDIRECT_S);
    url.catch(() => this.#urls.delete(digest));
    this.#urls.delete(digest);
    this.#urls.set(digest, { url, untilMs: now + SAME_URL_MS });
    if (this.#urls.size > MAX_URLS) {
      const [oldest] = this.#urls.keys();
      if (oldest !== undefined) this.#urls.delete(oldest);
    }
    return url;
  }
}

/**
 * Opens a store in a bucket for reading, and mirrors its current releases. The caller closes it.
 * @throws {AirferryError} ERR_USAGE; ERR_OBJECT_STORAGE; ERR_STORE_INVALID
 */
export async function openCachedStore(name: string, options: CacheOptions = {}): Promise<CachedStore> {
  const target = parseS3Target(name);
  const limitBytes = cacheBytes(options.cacheSize);
  const of = nameInCache(target);
  const dir = await prepareCache(options.cache ?? defaultBucketCache(of), of);
  const objects = await openObjects(target);
  const store = new CachedStore(dir, objects, limitBytes, options);
  try {
    await store.begin();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}
