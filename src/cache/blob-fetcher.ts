/**
 * Brings blobs of a bucket into a cache, by the chunk: checks each before its name exists, fetches each once however
 * many ask, and fetches consecutive ones with one request. Whoever asks gets facts; the bytes are in the folder.
 */

import { createHash, hash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { AirferryError, bug } from "../errors.ts";
import { type Digest, digestOf, parseHex } from "../io/digest.ts";
import { buffersUsed } from "../io/flat-memory.ts";
import { PIECE_BYTES, PIECE_DIGEST_BYTES, pieceCount, pieceDigest, runsOf } from "../io/piece-digests.ts";
import type { RangeSink } from "../s3/range-connections.ts";
import { blobKey } from "../store/layout.ts";
import type { BucketHealth } from "./bucket-health.ts";
import { alteredBlob, type ChunkFolder, chunkOf } from "./chunk-folder.ts";
import { keepFoundList, readFoundList } from "./found-lists.ts";
import { PieceCutter } from "./piece-cutter.ts";
import { PieceMemory } from "./piece-memory.ts";
import type { BlobFacts, BucketObjects } from "./types.ts";

/** Pieces that one request brings. */
const RUN_PIECES = 8;
/** Of a blob that is read whole, that are being written. */
const WRITES = 3;
/** How long nothing is fetched ahead after a piece could not be written. */
const UNKEPT_MS = 5000;
/** Requests at once; others wait. */
const MAX_REQUESTS = 12;
/** Waits before a request is tried again. */
const PAUSES_MS = [50, 150, 400, 800];
/** A request that took longer to fail is not tried again: clients wait. */
const PATIENCE_MS = 2000;
const MAX_KNOWN = 4096;

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
  readonly #memory = new PieceMemory();
  readonly #tell: (error: unknown) => void;
  /** When a piece could not be written last; 0: it could. */
  #unkeptMs = 0;
  #requests = 0;
  readonly #waiting: (() => void)[] = [];
  readonly counts = { misses: 0, fetchedBytes: 0, refused: 0 };

  /** @param tell hears why pieces are not kept */
  constructor(
    objects: BucketObjects,
    chunks: ChunkFolder,
    lists: BlobLists,
    health: BucketHealth,
    tell: (error: unknown) => void,
  ) {
    this.#tell = tell;
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
    // Where nothing is kept, what is not asked for would be fetched again.
    const isKept = this.#unkeptMs === 0 || performance.now() - this.#unkeptMs > UNKEPT_MS;
    const last = Math.min(first + count + (isKept ? ahead : 0), pieceCount(size));
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
    if (lists.some((list) => this.#memory.has(pieceDigest(list, index)))) return true;
    for (const list of lists) if ((await this.#chunks.sizeOf(chunkOf(list, index))) !== undefined) return true;
    return false;
  }

  async #open(digest: Digest): Promise<BlobFacts> {
    const size = await this.#lists.largeSize(digest);
    if (size === undefined) return this.#bringSmall(digest);
    const signed = await this.#lists.listsOf(digest, size);
    const lists = signed?.filter((it) => it.length === pieceCount(size) * PIECE_DIGEST_BYTES);
    if (lists !== undefined && lists.length > 0) return this.#learn(digest, this.#factsOf(size, lists));
    const found = (await readFoundList(this.#chunks.dir, digest, size)) ?? (await this.#readWhole(digest, size));
    return this.#learn(digest, this.#factsOf(size, [found]));
  }

  #factsOf(size: number, lists: readonly Uint8Array[]): BlobFacts {
    const marks = () => new Float64Array(new SharedArrayBuffer(pieceCount(size) * Float64Array.BYTES_PER_ELEMENT));
    const memory = this.#memory.shared;
    return { size, pieces: { lists: lists.map(shared), right: marks(), asked: marks(), memory } };
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
      const slots = await this.#memory.take(end - from);
      const sizeOf = (at: number) => Math.min(PIECE_BYTES, size - (from + at) * PIECE_BYTES);
      let at = 0;
      let filled = 0;
      const into: RangeSink = {
        memory: () => this.#memory.bytesOf(slots[at] ?? bug("bytes behind a range")).subarray(filled, sizeOf(at)),
        took: (bytes) => {
          this.counts.fetchedBytes += bytes;
          filled += bytes;
          if (filled < sizeOf(at)) return;
          const index = from + at;
          const waiting = open.get(index);
          open.delete(index);
          this.#land(key, lists, index, slots[at] ?? bug("a piece without memory"), filled, waiting);
          at++;
          filled = 0;
        },
      };
      try {
        const range = { start: from * PIECE_BYTES, end: Math.min(end * PIECE_BYTES, size) };
        const found = await this.#objects.receive(key, range, into);
        if (found === undefined) throw this.#refuse(key, "it is not there");
        if (found !== size) throw this.#refuse(key, `expected ${size} bytes, got ${found}`);
        if (open.size > 0) throw this.#refuse(key, "it ends early");
      } finally {
        for (const slot of slots.slice(at)) this.#memory.free(slot);
      }
    };
    this.#again(fetch).catch((error: unknown) => {
      for (const { fail } of open.values()) fail(error);
    });
  }

  /**
   * Compares a piece with its digest, lets those have it who wait, and writes it to the folder. What cannot be written
   * is served from memory: a full disk ends nothing.
   */
  #land(
    key: string,
    lists: readonly Uint8Array[],
    index: number,
    slot: number,
    size: number,
    waiting: { done: () => void; fail: (error: unknown) => void } | undefined,
  ): void {
    const bytes = this.#memory.bytesOf(slot).subarray(0, size);
    const actual = hash("sha256", bytes, "buffer");
    this.counts.misses++;
    if (!lists.some((it) => actual.equals(pieceDigest(it, index)))) {
      this.#memory.free(slot);
      const expected = lists[0] === undefined ? "" : chunkOf(lists[0], index);
      waiting?.fail(this.#refuse(key, `piece ${index}: expected ${expected}, got sha256:${actual.toString("hex")}`));
      return;
    }
    this.#memory.publish(slot, actual, size);
    waiting?.done();
    this.#chunks
      .put(`sha256:${actual.toString("hex")}`, bytes)
      .then(
        () => {
          this.#unkeptMs = 0;
        },
        (error: unknown) => {
          this.#unkeptMs = performance.now();
          this.#tell(error);
        },
      )
      .finally(() => this.#memory.free(slot));
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

function shared(list: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(list.length));
  copy.set(list);
  return copy;
}
