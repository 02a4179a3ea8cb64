/**
 * Brings blobs of a bucket into a cache, by the chunk: checks each before its name exists, fetches each once however
 * many ask, and fetches consecutive ones with one request. Whoever asks gets facts; the bytes are in the folder.
 */

import { createHash, hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf, parseHex } from "../io/digest.ts";
import { buffersUsed } from "../io/flat-memory.ts";
import { PIECE_BYTES, PIECE_DIGEST_BYTES, pieceCount, pieceDigest, runsOf } from "../io/piece-digests.ts";
import { blobKey } from "../store/layout.ts";
import type { BucketHealth } from "./bucket-health.ts";
import { alteredBlob, type ChunkFolder, chunkOf } from "./chunk-folder.ts";
import { keepFoundList, readFoundList } from "./found-lists.ts";
import { PieceCutter } from "./piece-cutter.ts";
import type { BlobFacts, BucketObjects } from "./types.ts";

/** Pieces that one request brings. */
const RUN_PIECES = 8;
/** Of one run, that are being written. */
const WRITES = 3;
/** Requests at once; others wait. */
const MAX_REQUESTS = 12;
/** Waits before a request is tried again. */
const PAUSES_MS = [50, 150, 400, 800];
/** A request that took longer to fail is not tried again: clients wait. */
const PATIENCE_MS = 2000;
const MAX_KNOWN = 4096;
const MAX_BLOB_BYTES = 2 ** 46;

/** What current releases say of blobs. */
interface BlobLists {
  /** Size of a blob above 1 MiB; undefined for others. */
  largeSize(digest: Digest): Promise<number | undefined>;
  /** The digests of its pieces; undefined when no release has them. */
  listsOf(digest: Digest, size: number): Promise<readonly Uint8Array[] | undefined>;
}

/** The only one that writes chunks of one bucket in this process. */
export class BlobFetcher {
  readonly #objects: BucketObjects;
  readonly #chunks: ChunkFolder;
  readonly #lists: BlobLists;
  readonly #health: BucketHealth;
  /** Of those above 1 MiB; a small one may be removed any time. */
  readonly #known = new Map<Digest, BlobFacts>();
  readonly #opening = new Map<Digest, Promise<BlobFacts>>();
  /** Pieces that are on their way, by `index digest`. */
  readonly #coming = new Map<string, Promise<void>>();
  #requests = 0;
  readonly #waiting: (() => void)[] = [];
  readonly counts = { misses: 0, fetchedBytes: 0, refused: 0 };

  constructor(objects: BucketObjects, chunks: ChunkFolder, lists: BlobLists, health: BucketHealth) {
    this.#objects = objects;
    this.#chunks = chunks;
    this.#lists = lists;
    this.#health = health;
  }

  /**
   * What is known of a blob; one of at most 1 MiB is in the folder then.
   * @throws {AirferryError} ERR_OBJECT_STORAGE; ERR_STORE_INVALID when it is missing, or not what was signed; ERR_SPACE
   */
  open(digest: Digest): Promise<BlobFacts> {
    const known = this.#known.get(digest);
    if (known !== undefined) return Promise.resolve(known);
    const before = this.#opening.get(digest);
    if (before !== undefined) return before;
    const opening = this.#open(digest).finally(() => this.#opening.delete(digest));
    this.#opening.set(digest, opening);
    return opening;
  }

  /** Forgets what releases said of blobs: others are current now. */
  forget(): void {
    this.#known.clear();
  }

  /**
   * Brings pieces of a blob above 1 MiB, and begins to bring those after them.
   * @throws {AirferryError} as {@link BlobFetcher.open}
   */
  async bring(digest: Digest, first: number, count: number, ahead: number): Promise<void> {
    const { size, pieces } = await this.open(digest);
    if (pieces === undefined) return;
    const { lists } = pieces;
    const last = Math.min(first + count + ahead, pieceCount(size));
    const indexes = Array.from({ length: Math.max(0, last - first) }, (_, at) => first + at);
    const missing: number[] = [];
    await Promise.all(
      indexes.map(async (index) => {
        if (this.#coming.has(`${index} ${digest}`)) return;
        if (!(await this.#isHere(lists, index))) missing.push(index);
      }),
    );
    missing.sort((a, b) => a - b);
    for (const run of runsOf(missing.filter((index) => !this.#coming.has(`${index} ${digest}`)))) {
      for (let from = run.first; from < run.first + run.count; from += RUN_PIECES)
        this.#begin(digest, size, lists, from, Math.min(from + RUN_PIECES, run.first + run.count));
    }
    const end = Math.min(first + count, last);
    await Promise.all(indexes.slice(0, end - first).map((index) => this.#coming.get(`${index} ${digest}`)));
  }

  async #isHere(lists: readonly Uint8Array[], index: number): Promise<boolean> {
    for (const list of lists) if ((await this.#chunks.sizeOf(chunkOf(list, index))) !== undefined) return true;
    return false;
  }

  async #open(digest: Digest): Promise<BlobFacts> {
    const size = await this.#lists.largeSize(digest);
    if (size === undefined) return this.#bringSmall(digest);
    const signed = await this.#lists.listsOf(digest, size);
    const lists = signed?.filter((it) => it.length === pieceCount(size) * PIECE_DIGEST_BYTES);
    if (lists !== undefined && lists.length > 0) return this.#learn(digest, factsOf(size, lists));
    const found = (await readFoundList(this.#chunks.dir, digest, size)) ?? (await this.#readWhole(digest, size));
    return this.#learn(digest, factsOf(size, [found]));
  }

  #learn(digest: Digest, facts: BlobFacts): BlobFacts {
    this.#known.set(digest, facts);
    if (this.#known.size > MAX_KNOWN) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    return facts;
  }

  async #bringSmall(digest: Digest): Promise<BlobFacts> {
    // Somebody else may have asked for it a moment ago.
    const here = await this.#chunks.sizeOf(digest);
    if (here !== undefined) return { size: here };
    const key = blobKey(digest);
    const bytes = await this.#again(async () => {
      const parts: Buffer[] = [];
      const found = await this.#objects.stream(key, { maxBytes: PIECE_BYTES }, (part) => {
        parts.push(part);
        return undefined;
      });
      return found === undefined ? undefined : Buffer.concat(parts);
    });
    this.counts.misses++;
    if (bytes === undefined) throw this.#refuse(key, "it is not there");
    this.counts.fetchedBytes += bytes.length;
    buffersUsed(bytes.length);
    const actual = digestOf(bytes);
    if (actual !== digest) throw this.#refuse(key, `expected ${digest}, got ${actual}`);
    await this.#chunks.put(digest, bytes);
    return { size: bytes.length };
  }

  /** Reads a blob whose list of pieces is lost: a piece is right only if all of it is. */
  async #readWhole(digest: Digest, size: number): Promise<Uint8Array> {
    const key = blobKey(digest);
    return await this.#again(async () => {
      const whole = createHash("sha256");
      const list = Buffer.alloc(pieceCount(size) * PIECE_DIGEST_BYTES);
      const cutter = new PieceCutter(0, WRITES, async (index, bytes) => {
        whole.update(bytes);
        const piece = hash("sha256", bytes, "buffer");
        piece.copy(list, index * PIECE_DIGEST_BYTES);
        this.counts.misses++;
        // Its name is its digest: right or not, it is what it is called.
        await this.#chunks.put(`sha256:${piece.toString("hex")}`, bytes);
      });
      let found: number | undefined;
      try {
        found = await this.#objects.stream(key, { maxBytes: size }, (bytes) => {
          this.counts.fetchedBytes += bytes.length;
          return cutter.take(bytes);
        });
      } finally {
        await cutter.settle();
      }
      await cutter.finish();
      const actual = parseHex(whole.digest("hex"));
      if (found === undefined) throw this.#refuse(key, "it is not there");
      if (found !== size || actual !== digest)
        throw this.#refuse(key, `expected ${size} bytes and ${digest}, got ${found} and ${actual}`);
      await keepFoundList(this.#chunks.dir, digest, list);
      return list;
    });
  }

  #begin(digest: Digest, size: number, lists: readonly Uint8Array[], first: number, end: number): void {
    const open = new Map<number, { done: () => void; fail: (error: unknown) => void }>();
    for (let index = first; index < end; index++) {
      const coming = new Promise<void>((done, fail) => open.set(index, { done, fail }));
      const name = `${index} ${digest}`;
      this.#coming.set(name, coming);
      const over = () => {
        this.#coming.delete(name);
      };
      // Those that were only fetched ahead have nobody who waits.
      coming.then(over, over);
    }
    const fetch = async (): Promise<void> => {
      const [from] = open.keys();
      if (from === undefined) return;
      const key = blobKey(digest);
      const cutter = new PieceCutter(from, WRITES, async (index, bytes) => {
        const waiting = open.get(index);
        open.delete(index);
        try {
          await this.#keep(key, lists, index, bytes);
          waiting?.done();
        } catch (error) {
          waiting?.fail(error);
        }
      });
      let found: number | undefined;
      const range = { start: from * PIECE_BYTES, end: Math.min(end * PIECE_BYTES, size) };
      try {
        found = await this.#objects.stream(key, { ...range, maxBytes: MAX_BLOB_BYTES }, (bytes) => {
          this.counts.fetchedBytes += bytes.length;
          return cutter.take(bytes);
        });
      } finally {
        await cutter.settle();
      }
      if (found === undefined) throw this.#refuse(key, "it is not there");
      if (found !== size) throw this.#refuse(key, `expected ${size} bytes, got ${found}`);
      await cutter.finish();
      if (open.size > 0) throw this.#refuse(key, "it ends early");
    };
    this.#again(fetch).catch((error: unknown) => {
      for (const { fail } of open.values()) fail(error);
    });
  }

  async #keep(key: string, lists: readonly Uint8Array[], index: number, bytes: Buffer): Promise<void> {
    const actual = hash("sha256", bytes, "buffer");
    this.counts.misses++;
    if (!lists.some((it) => actual.equals(pieceDigest(it, index)))) {
      const expected = lists[0] === undefined ? "" : chunkOf(lists[0], index);
      throw this.#refuse(key, `piece ${index}: expected ${expected}, got sha256:${actual.toString("hex")}`);
    }
    await this.#chunks.put(`sha256:${actual.toString("hex")}`, bytes);
  }

  #refuse(key: string, fault: string): AirferryError {
    this.counts.refused++;
    return alteredBlob(key, fault);
  }

  /** Makes a request in its turn, and again when the bucket failed. */
  async #again<T>(request: () => Promise<T>): Promise<T> {
    if (this.#requests >= MAX_REQUESTS) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#requests++;
    try {
      for (let attempt = 0; ; attempt++) {
        this.#health.check();
        const started = performance.now();
        try {
          return await request();
        } catch (error) {
          const pause = PAUSES_MS[attempt];
          const isBucket = error instanceof AirferryError && error.code === "ERR_OBJECT_STORAGE";
          const isQuick = performance.now() - started < PATIENCE_MS;
          if (isBucket && isQuick && pause !== undefined) {
            this.#health.errors++;
            await sleep(pause);
            continue;
          }
          if (isBucket) this.#health.failed(error);
          throw error;
        }
      }
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#requests--;
      else next();
    }
  }
}

function factsOf(size: number, lists: readonly Uint8Array[]): BlobFacts {
  const marks = () => new Float64Array(new SharedArrayBuffer(pieceCount(size) * Float64Array.BYTES_PER_ELEMENT));
  return { size, pieces: { lists: lists.map(shared), right: marks(), asked: marks() } };
}

function shared(list: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(list.length));
  copy.set(list);
  return copy;
}
