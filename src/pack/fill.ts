/**
 * Step 3 of a pack: fills a bundle's work folder (open-work.ts). Every item gets its bytes once, from the nearest
 * source (item-sources.ts), is hashed as it is written, and counts only when its digest is right. Items that the
 * journal lists as complete are hashed and checked in place like everything else.
 */
import { ItemWriter } from "../bundle/item-writer.ts";
import type { DoneLine } from "../bundle/pack-journal.ts";
import { SMALL_BYTES, type WorkFolder } from "../bundle/work-folder.ts";
import { AirferryError } from "../errors.ts";
import { type Digest, digestOf, EMPTY_DIGEST } from "../io/digest.ts";
import { algorithmsIn, sha256In } from "../io/integrity.ts";
import { mapLimited } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import { hasPieces } from "../io/piece-digests.ts";
import { SharedPieces } from "../io/shared-pieces.ts";
import type { RandomAccess } from "../io/types.ts";
import type { ItemFault } from "../sources/types.ts";
import { tasksOf } from "./fill-order.ts";
import { copyChecked, hasLockedDigests, slice } from "./item-bytes.ts";
import { isPackageFault, unreadable, wrongDigest } from "./item-faults.ts";
import { ItemSources } from "./item-sources.ts";
import type { PackJob } from "./job.ts";
import type { LaidItem, Plan } from "./lay-out.ts";
import type { LeftOutItem } from "./left-out.ts";
import { LeftOutBytes } from "./left-out-bytes.ts";
import type { BuiltBytes } from "./make-recipe.ts";
import type { ByteTally } from "./tally.ts";

export interface Filled {
  /** Of the bytes of every item that is not generated. */
  digestAt: (path: string) => Digest | undefined;
  /** Items dropped by quarantine. If not empty, the plan must be recomputed without them. */
  faults: ItemFault[];
  /** Artifacts from the download cache. */
  cached: Digest[];
}

/** MiB that may be in flight to the disk and the hashing threads, of all items but the next: one each, and a few. */
const MIN_PIECES = 8;
const SPARE_PIECES = 2;

/** Of the next item one piece is received while the other is written and hashed. */
const LONG_PIECES = 2;
const LONG_PIECE_BYTES = 8 * 1024 * 1024;

/**
 * Fills the folder, `job.concurrency` items at a time. When it throws, all running work has ended.
 * @throws {AirferryError} ERR_UPSTREAM*, ERR_LOCK_INVALID, ERR_SPACE; complete items remain for a rerun
 */
export async function fillBundle(job: PackJob, plan: Plan, work: WorkFolder, tally: ByteTally): Promise<Filled> {
  return new Filler(job, plan, work, tally).run();
}

/** Keeps the digests, and nothing else of what filled them in. */
function lookup(digests: ReadonlyMap<string, Digest>): Filled["digestAt"] {
  return (path) => digests.get(path);
}

function isFetched({ source }: LeftOutItem): boolean {
  return source.from !== "generated";
}

class Filler {
  readonly #job: PackJob;
  readonly #plan: Plan;
  readonly #work: WorkFolder;
  readonly #tally: ByteTally;
  readonly #sources: ItemSources;
  readonly #pieces: SharedPieces;
  readonly #longPieces = new SharedPieces(LONG_PIECES, LONG_PIECE_BYTES);
  readonly #digests = new Map<string, Digest>();
  readonly #faults: ItemFault[] = [];
  #doneBytes = 0;
  #foundBytes = 0;
  /** By path: bytes of an earlier run that an item continues behind. */
  readonly #resumed = new Map<string, number>();
  #doneItems = 0;
  readonly #totalBytes: number;
  /** Of each volume, how many of its items are not in place. */
  readonly #openItems: number[];
  #doneVolumes = 0;

  constructor(job: PackJob, plan: Plan, work: WorkFolder, tally: ByteTally) {
    this.#job = job;
    this.#tally = tally;
    this.#plan = plan;
    this.#work = work;
    this.#totalBytes = plan.items.reduce((sum, item) => sum + item.size, 0);
    this.#openItems = plan.volumes.map(() => 0);
    for (const item of plan.items)
      for (const volume of this.#volumesOf(item)) this.#openItems[volume] = (this.#openItems[volume] ?? 0) + 1;
    this.#pieces = new SharedPieces(Math.max(MIN_PIECES, job.concurrency) + SPARE_PIECES);
    this.#sources = new ItemSources(job);
  }

  async run(): Promise<Filled> {
    const plan = this.#plan;
    const { concurrency } = this.#job;
    const fetched: number[] = [];
    const twins: number[] = [];
    const generated: number[] = [];
    const wanted: LaidItem[] = [];
    const first = new Map<string, LaidItem>();
    for (const [index, item] of plan.items.entries()) {
      if (item.source.from === "generated") generated.push(index);
      else if (this.#journaled(item) !== undefined) fetched.push(index);
      else if (item.integrity !== undefined && item.size > 0 && first.has(item.integrity)) twins.push(index);
      else {
        fetched.push(index);
        wanted.push(item);
      }
      if (item.integrity !== undefined && !first.has(item.integrity)) first.set(item.integrity, item);
    }
    await this.#sources.findReusable(plan.stream, this.#work, [...wanted, ...plan.leftOut]);
    try {
      await mapLimited(tasksOf(fetched, plan.items), concurrency, (task) => this.#fillInOrder(task));
      if (twins.length > 0) await this.#work.flush();
      await mapLimited(twins, concurrency, (index) => this.#fillTwin(index, first));
      if (plan.twins.length > 0) await this.#work.flush();
      await mapLimited(plan.twins, concurrency, (twin) => this.#checkTwin(twin));
      // Generated ones last: they depend on the others.
      await mapLimited(plan.leftOut.filter(isFetched), concurrency, (item) => this.#checkLeftOut(item));
      await mapLimited(
        plan.leftOut.filter((it) => !isFetched(it)),
        concurrency,
        (item) => this.#checkLeftOut(item),
      );
      if (this.#faults.length === 0) await mapLimited(generated, concurrency, (index) => this.#make(index));
    } catch (error) {
      this.#reportKept();
      throw error;
    } finally {
      await this.#sources[Symbol.asyncDispose]();
    }
    return {
      digestAt: lookup(this.#digests),
      faults: this.#faults,
      cached: this.#sources.cached,
    };
  }

  async #fillInOrder(indexes: readonly number[]): Promise<void> {
    for (const index of indexes) await this.#fill(index);
    await this.#sources.closeArchive(this.#plan.items[indexes[0] as number] as LaidItem);
  }

  async #fill(index: number): Promise<void> {
    const item = this.#plan.items[index] as LaidItem;
    if (await this.#takeOver(index, item)) return;
    const writer = await this.#writer(index, item);
    try {
      const near = await this.#sources.near(item);
      if (near !== undefined) {
        let digest: Digest | undefined;
        try {
          digest = await copyChecked(item, writer, near.bytes, { url: item.integrity ?? "" });
        } finally {
          await near.close();
        }
        if (digest !== undefined) {
          await this.#finish(item, writer, digest);
          this.#tally.reused(item.path, this.#foundOf(item));
          return;
        }
        await writer.restart();
      }
      await this.#sources.fill(item, writer, async (digest, { from }) => {
        await this.#finish(item, writer, digest);
        if (from === "url") this.#tally.fetched(item.path, this.#foundOf(item));
        else this.#tally.reused(item.path, this.#foundOf(item));
      });
    } catch (error) {
      await writer.suspend();
      if (item.quarantine && isPackageFault(error)) {
        await this.#work.journal.forget(item.path);
        this.#faults.push({ path: item.path, reason: (error as Error).message });
        this.#job.report(`dropped ${item.path}: ${(error as Error).message}`);
        return;
      }
      throw error;
    }
  }

  /** The journal line of an item that an earlier run finished at this position. */
  #journaled(item: LaidItem): DoneLine | undefined {
    const done = this.#work.journal.done.get(item.path);
    return done !== undefined && done.size === item.size && done.offset === item.offset ? done : undefined;
  }

  /**
   * Reuses what an earlier run finished, if it is on disk, has the locked digest, and passes the current checks. False:
   * it must be filled like any other.
   */
  async #takeOver(index: number, item: LaidItem): Promise<boolean> {
    const work = this.#work;
    const { pool } = this.#job;
    const done = this.#journaled(item);
    if (done === undefined) return false;
    const digests = await work.hashItem(item, algorithmsIn(item.integrity), pool);
    if (digests.sha256 !== done.done || !hasLockedDigests(item, digests) || !(await this.#passes(item))) {
      await work.journal.forget(item.path);
      return false;
    }
    await work.writeFrame(item);
    await this.#look(item, work.volumes.range(item.offset, item.size));
    work.progress(index, item.size);
    this.#count(item, done.done);
    this.#doneBytes += item.size;
    this.#foundBytes += item.size;
    this.#report(item);
    return true;
  }

  async #passes(item: LaidItem): Promise<boolean> {
    try {
      await item.check?.(this.#work.volumes.range(item.offset, item.size));
      return true;
    } catch (error) {
      // Fetched again, it is refused with a complete message.
      if (isPackageFault(error)) return false;
      throw error;
    }
  }

  /** Copies the bytes of an identical item of this bundle instead of fetching them again. */
  async #fillTwin(index: number, first: ReadonlyMap<string, LaidItem>): Promise<void> {
    const work = this.#work;
    const item = this.#plan.items[index] as LaidItem;
    const twin = first.get(item.integrity as string) as LaidItem;
    if (!this.#digests.has(twin.path)) return this.#fill(index);
    const writer = await this.#writer(index, item);
    try {
      const bytes = work.volumes.range(twin.offset, twin.size);
      const digest = await copyChecked(item, writer, bytes, { url: item.integrity as string });
      if (digest === undefined) {
        const { file } = this.#job.workspace;
        throw wrongDigest(item, await writer.digests(), writer.position, `: copied from "${twin.path}"`, file);
      }
      await this.#finish(item, writer, digest);
      this.#tally.reused(item.path, this.#foundOf(item));
    } catch (error) {
      await writer.suspend();
      throw error;
    }
  }

  /** Checks the bytes of an item that another one carries, as if it carried them itself. */
  async #checkTwin({ item, carrier }: Plan["twins"][number]): Promise<void> {
    const digest = this.#digests.get(carrier.path);
    // Its carrier was dropped: the next round has another.
    if (digest === undefined) return;
    const bytes = this.#work.volumes.range(carrier.offset, carrier.size);
    try {
      await item.check?.(bytes);
    } catch (error) {
      if (!item.quarantine || !isPackageFault(error)) throw error;
      this.#faults.push({ path: item.path, reason: (error as Error).message });
      this.#job.report(`dropped ${item.path}: ${(error as Error).message}`);
      return;
    }
    if (item.look) this.#job.found(await item.look(bytes, item));
    this.#digests.set(item.path, digest);
    this.#tally.reused(item.path, 0);
  }

  /** Checks an item that the far side has as if it were carried, as far as that needs its bytes. */
  async #checkLeftOut(item: LeftOutItem): Promise<void> {
    const { path, size, digest, check, look, built } = item;
    const { pieces } = this.#work;
    if (isFetched(item)) this.#digests.set(path, digest);
    if (built !== undefined) return this.#checkBuilt(item, built);
    const needsPieces = hasPieces(size) && !pieces.has(digest);
    const isNeeded = needsPieces || check !== undefined;
    const left = new LeftOutBytes(this.#job, this.#sources, lookup(this.#digests));
    await left.checkFile(item);
    if (!isNeeded && look === undefined) return;
    const whole = isNeeded ? await left.open(item) : undefined;
    const opened = whole ?? (await left.glance(item));
    if (opened === undefined) return;
    try {
      if (needsPieces && whole !== undefined) pieces.set(digest, whole.pieces);
      await check?.(opened.bytes);
      if (look) this.#job.found(await look(opened.bytes, item));
    } catch (error) {
      if (!item.quarantine || !isPackageFault(error)) throw error;
      this.#faults.push({ path, reason: (error as Error).message });
      this.#job.report(`dropped ${path}: ${(error as Error).message}`);
    } finally {
      await opened.close();
    }
  }

  /** Checks an item that the far side builds: all of it is on this host, and was hashed. */
  async #checkBuilt(item: LeftOutItem, { file, offset, pieces }: BuiltBytes): Promise<void> {
    const { size, digest, check, look } = item;
    if (hasPieces(size)) this.#work.pieces.set(digest, pieces);
    if (check === undefined && look === undefined) return;
    const opened = await openBytes(file).catch((cause: NodeJS.ErrnoException) => {
      throw unreadable(item, file, cause);
    });
    try {
      const bytes = slice(opened.bytes, offset, size);
      await check?.(bytes);
      if (look) this.#job.found(await look(bytes, item));
    } finally {
      await opened.close();
    }
  }

  /** Bytes of an item that an earlier run left, and that it continued behind. */
  #foundOf({ path }: LaidItem): number {
    return this.#resumed.get(path) ?? 0;
  }

  async #make(index: number): Promise<void> {
    const item = this.#plan.items[index] as LaidItem;
    if (item.source.from !== "generated") return;
    const bytes = await item.source.make((path) => {
      const digest = this.#digests.get(path);
      if (digest === undefined)
        throw new AirferryError("ERR_INTERNAL", `cannot generate "${item.path}": "${path}" is not fetched`);
      return digest;
    }, item.path);
    if (bytes.length !== item.size) {
      throw new AirferryError(
        "ERR_INTERNAL",
        `cannot generate "${item.path}": wrong size: expected ${item.size} bytes, got ${bytes.length}`,
      );
    }
    if (item.size <= SMALL_BYTES) {
      const digest = digestOf(bytes);
      await this.#work.addSmall({ index, item, bytes, digest, journaled: false });
      this.#doneBytes += item.size;
      this.#count(item, digest);
      this.#report(item);
      return;
    }
    const writer = await this.#writer(index, item);
    try {
      if (writer.position > 0) await writer.restart();
      await writer.write(bytes);
      await this.#finish(item, writer, (await writer.digests()).sha256);
    } catch (error) {
      await writer.suspend();
      throw error;
    }
  }

  async #writer(index: number, item: LaidItem): Promise<ItemWriter> {
    const work = this.#work;
    const { pool } = this.#job;
    // What an earlier run wrote is reported before the writer is open.
    let isOpening = true;
    const writer = await ItemWriter.open(
      work,
      index,
      { pool, pieces: this.#pieces, longPieces: this.#longPieces },
      {
        algorithms: algorithmsIn(item.integrity),
        // The check reads so little that it need not fill the page cache.
        readBack: item.check !== undefined,
        needsPieces: !work.pieces.has(sha256In(item.integrity) ?? EMPTY_DIGEST),
        onBytes: (bytes) => {
          this.#doneBytes += bytes;
          const resumed = this.#resumed.get(item.path) ?? 0;
          if (isOpening) {
            this.#foundBytes += bytes;
            this.#resumed.set(item.path, resumed + bytes);
          } else if (bytes < 0) {
            // What was found is dropped too when an item starts again.
            this.#foundBytes -= resumed;
            this.#resumed.delete(item.path);
          }
          this.#report(item);
        },
      },
    );
    isOpening = false;
    return writer;
  }

  async #finish(item: LaidItem, writer: ItemWriter, digest: Digest): Promise<void> {
    const bytes = writer.content();
    await item.check?.(bytes);
    await this.#look(item, bytes);
    await writer.done(digest);
    this.#count(item, digest);
    this.#report(item);
  }

  #count(item: LaidItem, digest: Digest): void {
    // Of two copies of a text that is there 100,000 times, one.
    item.digest = item.integrity === digest ? item.integrity : digest;
    if (item.source.from !== "generated") this.#digests.set(item.path, item.digest);
    this.#doneItems++;
    for (const volume of this.#volumesOf(item)) {
      const open = (this.#openItems[volume] as number) - 1;
      this.#openItems[volume] = open;
      if (open === 0) this.#doneVolumes++;
    }
  }

  /** Indexes of the volumes that have bytes of an item. */
  #volumesOf({ offset, size }: LaidItem): number[] {
    const { volumeSize } = this.#plan;
    const first = Math.floor(offset / volumeSize);
    const last = Math.floor((offset + Math.max(size, 1) - 1) / volumeSize);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  }

  async #look(item: LaidItem, bytes: RandomAccess): Promise<void> {
    if (item.look) this.#job.found(await item.look(bytes, item));
  }

  /** After a failure: what a rerun takes over, which is less than what was done when a part cannot be resumed. */
  #reportKept(): void {
    const { done, parts } = this.#work.journal;
    let kept = 0;
    let items = 0;
    let last: LaidItem | undefined;
    for (const item of this.#plan.items) {
      if (this.#journaled(item) !== undefined) {
        kept += item.size;
        items++;
      } else {
        const part = parts.get(item.path);
        const isResumable = part !== undefined && (part.etag ?? part.lastModified ?? item.integrity) !== undefined;
        if (isResumable) kept += part.part;
        if (!isResumable && done.get(item.path) === undefined) continue;
      }
      last = item;
    }
    this.#doneBytes = kept;
    this.#foundBytes = Math.min(this.#foundBytes, kept);
    this.#doneItems = items;
    const shown = last ?? this.#plan.items[0];
    if (shown !== undefined) this.#report(shown);
  }

  #report(item: LaidItem): void {
    this.#job.progress?.({
      doneBytes: this.#doneBytes,
      totalBytes: this.#totalBytes,
      foundBytes: this.#foundBytes,
      doneVolumes: this.#doneVolumes,
      totalVolumes: this.#openItems.length,
      doneItems: this.#doneItems,
      totalItems: this.#plan.items.length,
      path: item.path,
    });
  }
}
