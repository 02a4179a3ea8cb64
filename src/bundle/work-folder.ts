/**
 * A bundle while it is being written: a hidden folder under `--out` with the volumes at their full (sparse) size and
 * the journal. Every item is written once, directly to its final place, as are tar headers. When all items are complete
 * the folder gets its final files (finish.ts) and its final name.
 */

import { createHash } from "node:crypto";
import { readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../io/atomic.ts";
import { type Digest, type Digests, type HashAlgorithm, RunningDigest } from "../io/digest.ts";
import type { HashPool, RangeHasher } from "../io/hash-pool.ts";
import { eachLimited } from "../io/limit.ts";
import { hasPieces } from "../io/piece-digests.ts";
import { type HeldLock, takeLock } from "../io/process-lock.ts";
import { Journal } from "./pack-journal.ts";
import { type SmallItem, SmallItems } from "./small-items.ts";
import { END_BYTES, headerBytes, paddedSize } from "./tar-layout.ts";
import { piecesOf } from "./volume-layout.ts";
import { VolumeSet } from "./volumes.ts";

export interface WorkItem {
  path: string;
  size: number;
  mode: "0644" | "0755";
  /** Its digest in the lock; absent if none is published, and for generated items. */
  locked?: string;
  headerOffset: number;
  offset: number;
}

interface WorkLayout {
  stream: string;
  items: readonly WorkItem[];
  streamSize: number;
  volumeSize: number;
  volumes: readonly { name: string; size: number }[];
}

const PREFIX = ".work-";
const JOURNAL = "journal";
/** Up to this size an item is hashed where it is read: a thread would cost more. */
export const SMALL_BYTES = 1024 * 1024;

/**
 * Name of the hidden folder for a layout: the same layout with the same locked digests finds its folder again. Pinning
 * on first sight does not change the name, since the pack itself pins.
 */
export function workFolderName(layout: WorkLayout): string {
  const name = createHash("sha256").update(`${layout.stream}\n${layout.streamSize}\n${layout.volumeSize}\n`);
  for (const { path, size, mode, locked } of layout.items) name.update(`${path}\n${size}\n${mode}\n${locked ?? ""}\n`);
  return `${PREFIX}${layout.stream}-${name.digest("hex").slice(0, 16)}`;
}

/** Hidden folders of the same stream under `out`, except the given one. */
export async function otherWorkFolders(out: string, stream: string, own: string): Promise<string[]> {
  const names = await readdir(out).catch(() => []);
  return names
    .filter((name) => name.startsWith(`${PREFIX}${stream}-`) && /-[0-9a-f]{16}$/.test(name) && name !== own)
    .filter((name) => name.length === PREFIX.length + stream.length + 17)
    .map((name) => join(out, name));
}

export class WorkFolder {
  readonly dir: string;
  readonly layout: WorkLayout;
  readonly journal: Journal;
  readonly volumes: VolumeSet;
  /** Digests of the pieces of large items, by that of the whole: computed here, or known before. */
  readonly pieces: Map<Digest, Uint8Array> = new Map();
  readonly #volumeHashes: VolumeHashes;
  readonly #small: SmallItems;
  readonly #lock: HeldLock;

  private constructor(
    dir: string,
    layout: WorkLayout,
    journal: Journal,
    volumes: VolumeSet,
    pool: HashPool,
    lock: HeldLock,
  ) {
    this.#lock = lock;
    this.dir = dir;
    this.layout = layout;
    this.journal = journal;
    this.volumes = volumes;
    this.#volumeHashes = new VolumeHashes(layout, volumes, pool);
    this.#small = new SmallItems(
      (position, bytes) => volumes.write(position, bytes),
      async (items) => {
        const journaled = items.filter((it) => it.journaled);
        await Promise.all(
          journaled.map(({ item: { path, size, offset }, digest }) =>
            journal.recordDone({ path, done: digest, size, offset }),
          ),
        );
        for (const { index, item } of items) this.progress(index, item.size);
      },
    );
  }

  /**
   * Opens the folder of a layout, creating it if needed, and takes its lock.
   * @throws {AirferryError} ERR_BUSY when another pack is writing it
   */
  static async open(out: string, layout: WorkLayout, pool: HashPool): Promise<WorkFolder> {
    const dir = join(out, workFolderName(layout));
    await makeFolder(dir);
    const lock = await takeLock(join(dir, "lock"), dir);
    await recoverVolumes(dir, layout);
    const journal = await Journal.open(join(dir, JOURNAL), {
      journal: 2,
      stream: layout.stream,
      streamSize: layout.streamSize,
      volumeSize: layout.volumeSize,
    });
    const volumes = await VolumeSet.create(dir, layout);
    return new WorkFolder(dir, layout, journal, volumes, pool, lock);
  }

  /** Writes the header records of one item and the zeros after it. */
  async writeFrame(item: WorkItem): Promise<void> {
    await this.volumes.write(item.headerOffset, headerBytes(item));
    const padding = paddedSize(item.size) - item.size;
    if (padding > 0) await this.volumes.write(item.offset + item.size, new Uint8Array(padding));
  }

  /**
   * Takes a whole item of at most {@link SMALL_BYTES} from memory; it is in place, frame and all, after {@link flush}.
   */
  addSmall(it: SmallItem): Promise<void> {
    return this.#small.add(it);
  }

  /** Waits until the small items are in place. */
  flush(): Promise<void> {
    return this.#small.flush();
  }

  /** Hashes a complete item on disk, to reuse an earlier run's work. */
  async hashItem(item: WorkItem, algorithms: readonly HashAlgorithm[], pool: HashPool): Promise<Digests> {
    if (item.size <= SMALL_BYTES) {
      return new RunningDigest(algorithms).update(await this.volumes.read(item.offset, item.size)).digests();
    }
    const hasher = pool.open(algorithms);
    try {
      for (const piece of this.volumes.pieces(item.offset, item.size)) await hasher.advance(piece);
      return await hasher.digests();
    } finally {
      hasher.discard();
    }
  }

  /** Hashes the pieces of complete large items, of those whose pieces are not known yet. */
  async completePieces(
    items: Iterable<{ digest: Digest; offset?: number; size: number }>,
    pool: HashPool,
  ): Promise<void> {
    const left = new Map<Digest, { digest: Digest; offset: number; size: number }>();
    for (const { digest, offset, size } of items)
      if (offset !== undefined && hasPieces(size) && !this.pieces.has(digest))
        left.set(digest, { digest, offset, size });
    await eachLimited(left.values(), pool.size + 1, async ({ digest, offset, size }) => {
      const hasher = pool.openPieces();
      try {
        for (const it of this.volumes.pieces(offset, size)) await hasher.advance(it);
        this.pieces.set(digest, await hasher.pieces());
      } finally {
        hasher.discard();
      }
    });
  }

  /** Reports that the first `bytes` of an item are in place, so that volumes can be hashed behind the writers. */
  progress(index: number, bytes: number): void {
    this.#volumeHashes.progress(index, bytes);
  }

  /**
   * Whether everything before an item is in place. Then it is hashed into its volume as it arrives: `hashUpTo` its
   * position, once that is in place as well, and `hashNext` for everything that follows.
   */
  isNext(index: number): boolean {
    return this.#volumeHashes.isNext(index);
  }

  /** Hashes volumes up to a position of the stream below which everything is in place. */
  hashUpTo(position: number): void {
    this.#volumeHashes.hashUpTo(position);
  }

  /**
   * Hashes bytes into their volume. They start where `hashUpTo` or the previous call ended, and must not change until
   * the promise is settled.
   */
  hashNext(position: number, bytes: Uint8Array<SharedArrayBuffer>): Promise<unknown> {
    return this.#volumeHashes.feed(position, bytes);
  }

  /** Reports that an item starts again. */
  restarted(index: number): void {
    this.#volumeHashes.restarted(index);
  }

  /** Writes the end of the archive, syncs the volumes and returns their digests. Every item must be complete.
   * What the journal says of them is only in its file from then on. */
  async finishVolumes(): Promise<{ name: string; size: number; digest: Digest }[]> {
    await this.flush();
    await this.volumes.write(this.layout.streamSize - END_BYTES, new Uint8Array(END_BYTES));
    const digests = await this.#volumeHashes.finish();
    await this.volumes.sync();
    this.journal.done.clear();
    return this.layout.volumes.map((volume, index) => ({ ...volume, digest: digests[index] as Digest }));
  }

  /** Closes everything; the folder remains for a rerun. */
  async close(): Promise<void> {
    // What could not be written is missing from the journal as well.
    await this.flush().catch(() => {});
    this.#volumeHashes.discard();
    await this.journal.close();
    await this.volumes.close();
    await this.#lock.release();
  }
}

/**
 * Hashes every volume behind the writers. The next item passes its bytes as it writes them; what others wrote earlier
 * is read back, usually from the page cache, as soon as everything before it is in place.
 */
class VolumeHashes {
  readonly #layout: WorkLayout;
  readonly #pool: HashPool;
  readonly #volumes: VolumeSet;
  /** Hashers of started volumes, by index: an open hasher counts as work of its thread. */
  readonly #hashers = new Map<number, RangeHasher>();
  /** Digests of complete volumes. */
  readonly #digests = new Map<number, Promise<Digest>>();
  /** Bytes in place by item index, for started but incomplete items. */
  readonly #begun = new Map<number, number>();
  readonly #whole: Uint8Array;
  #next = 0;
  #hashed = 0;
  #running: Promise<void> = Promise.resolve();
  #queued = false;
  #failure: unknown;

  constructor(layout: WorkLayout, volumes: VolumeSet, pool: HashPool) {
    this.#layout = layout;
    this.#volumes = volumes;
    this.#pool = pool;
    this.#whole = new Uint8Array(layout.items.length);
  }

  progress(index: number, bytes: number): void {
    const item = this.#layout.items[index] as WorkItem;
    if (bytes >= item.size) {
      this.#whole[index] = 1;
      this.#begun.delete(index);
    } else this.#begun.set(index, bytes);
    if (index === this.#next && !this.#queued && this.#frontier() - this.#hashed >= 8 * 1024 * 1024) this.#pump();
  }

  isNext(index: number): boolean {
    this.#frontier();
    return this.#next === index;
  }

  hashUpTo(position: number): void {
    this.#note(this.#advance(position));
  }

  feed(position: number, bytes: Uint8Array<SharedArrayBuffer>): Promise<unknown> {
    let taken = 0;
    const jobs = piecesOf(position, bytes.length, this.#layout.volumeSize).map(({ volume, length }) => {
      const part = bytes.subarray(taken, taken + length);
      taken += length;
      return this.#hasher(volume).feed(part);
    });
    this.#moveTo(position + bytes.length);
    return Promise.all(jobs);
  }

  /** Bytes of it that are already hashed are void (upstream changed, wrong digest). */
  restarted(index: number): void {
    this.#begun.set(index, 0);
    if ((this.#layout.items[index] as WorkItem).offset >= this.#hashed) return;
    this.discard();
    this.#hashed = 0;
  }

  /** Stream offset below which every byte is in place. */
  #frontier(): number {
    const { items } = this.#layout;
    while (this.#next < items.length && this.#whole[this.#next] === 1) this.#next++;
    const item = items[this.#next];
    if (item === undefined) return this.#layout.streamSize;
    const begun = this.#begun.get(this.#next);
    return begun === undefined ? item.headerOffset : item.offset + begun;
  }

  #pump(): void {
    this.#queued = true;
    this.#running = this.#running.then(() => {
      this.#queued = false;
      return this.#note(this.#advance(this.#frontier()));
    });
  }

  /** A failure surfaces at the end. */
  #note(work: Promise<void>): Promise<void> {
    return work.catch((error: unknown) => {
      this.#failure ??= error;
    });
  }

  async #advance(upTo: number): Promise<void> {
    if (upTo <= this.#hashed) return;
    // All of this happens before the first wait, so calls are queued in order.
    const jobs = piecesOf(this.#hashed, upTo - this.#hashed, this.#layout.volumeSize).map(
      ({ volume, offset, length }) =>
        this.#hasher(volume).advance({ file: this.#volumes.file(volume) as string, offset, length }),
    );
    this.#moveTo(upTo);
    await Promise.all(jobs);
  }

  #hasher(volume: number): RangeHasher {
    const hasher = this.#hashers.get(volume) ?? this.#pool.open([], this.#layout.volumes[volume]?.size);
    this.#hashers.set(volume, hasher);
    return hasher;
  }

  #moveTo(position: number): void {
    this.#hashed = position;
    const end = position === this.#layout.streamSize ? position : position - (position % this.#layout.volumeSize);
    for (const [volume, hasher] of this.#hashers) {
      if (volume * this.#layout.volumeSize >= end) continue;
      this.#hashers.delete(volume);
      const digest = hasher.digest();
      digest.catch(() => {});
      this.#digests.set(volume, digest);
    }
  }

  async finish(): Promise<Digest[]> {
    await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
    await this.#advance(this.#layout.streamSize);
    return Promise.all(this.#layout.volumes.map((_, index) => this.#digests.get(index) as Promise<Digest>));
  }

  discard(): void {
    for (const hasher of this.#hashers.values()) hasher.discard();
    this.#hashers.clear();
    this.#digests.clear();
  }
}

/**
 * Moves volumes back that a run, killed while distributing them to media, had already moved. If one is missing or has
 * another size, its journal lines are void.
 */
async function recoverVolumes(dir: string, layout: WorkLayout): Promise<void> {
  const names = await readdir(dir);
  if (!names.includes(JOURNAL)) return;
  const media = names.filter((name) => name.startsWith("medium-"));
  let whole = true;
  for (const { name, size } of layout.volumes) {
    for (const medium of names.includes(name) ? [] : media) {
      await rename(join(dir, medium, name), join(dir, name)).catch(() => {});
    }
    const found = await stat(join(dir, name)).catch(() => undefined);
    if (found?.size !== size) whole = false;
  }
  if (!whole) await rm(join(dir, JOURNAL), { force: true });
}

/** Replaces a file of the work folder; it is synced with the folder later. */
export async function writeSmallFile(dir: string, name: string, bytes: Uint8Array | string): Promise<void> {
  await makeFolder(join(dir, name, ".."));
  await writeFile(join(dir, name), bytes);
}
