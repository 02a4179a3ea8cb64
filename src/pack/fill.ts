/**
 * Step 3 of a pack: fills a bundle's work folder. Every item gets its bytes once, from the nearest source (an earlier
 * bundle, an interrupted one, the download cache, this host, upstream), is hashed as it is written, and counts only
 * when its digest is right. Items that the journal lists as complete are hashed and checked in place like everything
 * else.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ItemWriter } from "../bundle/item-writer.ts";
import type { DoneLine } from "../bundle/journal.ts";
import { SMALL_BYTES, WorkFolder, workFolderName } from "../bundle/work-folder.ts";
import { AirferryError, type ErrorCode, EXIT, exitStatusOf } from "../errors.ts";
import { fetchChecked } from "../fetch/checked.ts";
import { httpStatusOf } from "../http/failure.ts";
import { type Digest, type Digests, digestOf } from "../io/digest.ts";
import { algorithmsIn, isExpected, mismatchOf, sha256In } from "../io/integrity.ts";
import { mapLimited, throwIfAborted } from "../io/limit.ts";
import { openBytes } from "../io/open-bytes.ts";
import { redactUrl } from "../io/redact.ts";
import { SharedPieces } from "../io/shared-pieces.ts";
import { shellWord } from "../io/shell.ts";
import { verifySpace } from "../io/space.ts";
import type { RandomAccess } from "../io/types.ts";
import { LockFolder } from "../manifest/lock-folder.ts";
import type { Codec } from "../sources/archive/inflate.ts";
import { InflatedFiles } from "../sources/archive/inflated-file.ts";
import type { ItemFault } from "../sources/types.ts";
import type { PackJob } from "./job.ts";
import type { LaidItem, Plan } from "./lay-out.ts";
import { findReusable, type Reusable } from "./reuse.ts";

export interface Filled {
  /** Of every item's bytes. */
  digestAt: (path: string) => Digest | undefined;
  /** Items dropped by quarantine. If not empty, the plan must be recomputed without them. */
  faults: ItemFault[];
  fetchedBytes: number;
  /** Copied from earlier bundles or from this one. */
  reusedBytes: number;
  /** Artifacts from the download cache. */
  cached: Digest[];
}

/** MiB that may be in flight to the disk and the hashing threads. */
const MIN_PIECES = 16;
const COPY_CHUNK_BYTES = 4 * 1024 * 1024;

/** Space for the inventory, signatures and journal besides the volumes. */
const SMALL_FILES_BYTES = 16 * 1024 * 1024;

/**
 * Opens the folder that a plan is filled into, if there is space for the rest.
 * @throws {AirferryError} ERR_SPACE, ERR_BUSY, ERR_IO
 */
export async function openWork({ out, pool }: PackJob, plan: Plan): Promise<AsyncDisposable & { folder: WorkFolder }> {
  const written = await allocatedBytes(join(out, workFolderName(plan)), plan);
  await verifySpace("pack into", out, {
    bytes: Math.max(0, plan.streamSize - written) + SMALL_FILES_BYTES,
    files: plan.volumes.length + 64,
    largest: Math.max(0, ...plan.volumes.map((volume) => volume.size)),
  });
  const folder = await WorkFolder.open(out, plan, pool);
  return { folder, [Symbol.asyncDispose]: () => folder.close() };
}

/** Bytes that the volumes of an interrupted pack already occupy on disk. */
async function allocatedBytes(dir: string, plan: Plan): Promise<number> {
  let bytes = 0;
  for (const { name } of plan.volumes)
    bytes += ((await stat(join(dir, name)).catch(() => undefined))?.blocks ?? 0) * 512;
  return bytes;
}

/**
 * Fills the folder, `job.concurrency` items at a time. When it throws, all running work has ended.
 * @throws {AirferryError} ERR_UPSTREAM*, ERR_LOCK_INVALID, ERR_SPACE; complete items remain for a rerun
 */
export async function fillBundle(job: PackJob, plan: Plan, work: WorkFolder): Promise<Filled> {
  return new Filler(job, plan, work).run();
}

class Filler {
  readonly #job: PackJob;
  readonly #plan: Plan;
  readonly #work: WorkFolder;
  readonly #kept: LockFolder;
  readonly #pieces: SharedPieces;
  readonly #digests = new Map<string, Digest>();
  readonly #faults: ItemFault[] = [];
  readonly #cached: Digest[] = [];
  readonly #inflated = new InflatedFiles();
  #reusable: Reusable | undefined;
  #fetchedBytes = 0;
  #reusedBytes = 0;
  #doneBytes = 0;
  #doneItems = 0;
  readonly #totalBytes: number;

  constructor(job: PackJob, plan: Plan, work: WorkFolder) {
    this.#job = job;
    this.#plan = plan;
    this.#work = work;
    this.#totalBytes = plan.items.reduce((sum, item) => sum + item.size, 0);
    this.#pieces = new SharedPieces(Math.max(MIN_PIECES, 2 * job.concurrency));
    this.#kept = new LockFolder(job.workspace.paths.kept);
  }

  async run(): Promise<Filled> {
    const plan = this.#plan;
    const { concurrency } = this.#job;
    const fetched: number[] = [];
    const twins: number[] = [];
    const made: number[] = [];
    const wanted: LaidItem[] = [];
    const first = new Map<string, LaidItem>();
    for (const [index, item] of plan.items.entries()) {
      if (item.source.from === "made") made.push(index);
      else if (this.#journaled(item) !== undefined) fetched.push(index);
      else if (item.integrity !== undefined && item.size > 0 && first.has(item.integrity)) twins.push(index);
      else {
        fetched.push(index);
        wanted.push(item);
      }
      if (item.integrity !== undefined && !first.has(item.integrity)) first.set(item.integrity, item);
    }
    this.#reusable = await findReusable(this.#job.out, plan.stream, this.#work, wanted);
    try {
      await mapLimited(tasksOf(fetched, plan.items), concurrency, (task) => this.#fillInOrder(task));
      if (twins.length > 0) await this.#work.flush();
      await mapLimited(twins, concurrency, (index) => this.#fillTwin(index, first));
      if (this.#faults.length === 0) await mapLimited(made, concurrency, (index) => this.#make(index));
    } finally {
      await this.#reusable.close();
      await this.#inflated[Symbol.asyncDispose]();
    }
    return {
      digestAt: (path) => this.#digests.get(path),
      faults: this.#faults,
      fetchedBytes: this.#fetchedBytes,
      reusedBytes: this.#reusedBytes,
      cached: this.#cached,
    };
  }

  async #fillInOrder(indexes: readonly number[]): Promise<void> {
    for (const index of indexes) await this.#fill(index);
    const archive = compressedFile((this.#plan.items[indexes[0] as number] as LaidItem).source);
    if (archive !== undefined) await this.#inflated.close(archive);
  }

  async #fill(index: number): Promise<void> {
    const item = this.#plan.items[index] as LaidItem;
    if (await this.#takeOver(index, item)) return;
    const writer = await this.#writer(index, item);
    try {
      const near = await this.#nearBytes(item);
      if (near !== undefined) {
        if (writer.position > 0) await writer.restart();
        try {
          await copyInto(near.bytes, writer);
        } finally {
          await near.close();
        }
        const digest = await this.#check(item, writer);
        if (digest !== undefined) {
          this.#reusedBytes += item.size;
          await this.#finish(item, writer, digest);
          return;
        }
        await writer.restart();
      }
      await this.#fillFromSource(item, writer);
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
    if (digests.sha256 !== done.done || !isWanted(item, digests) || !(await this.#passes(item))) {
      await work.journal.forget(item.path);
      return false;
    }
    await work.writeFrame(item);
    await this.#look(item, work.volumes.range(item.offset, item.size));
    work.progress(index, item.size);
    this.#count(item, done.done);
    this.#doneBytes += item.size;
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

  /** From the locked source; if that fails, from its alternatives. */
  async #fillFromSource(item: LaidItem, writer: ItemWriter): Promise<void> {
    const failed: AirferryError[] = [];
    for (const source of [item.source, ...(item.others ?? [])]) {
      const earlier = failed.at(-1);
      if (earlier !== undefined) {
        this.#job.report(`${earlier.message}; trying another source`);
        if (writer.position >= item.size) await writer.restart();
      }
      try {
        await this.#fillFrom(source, item, writer);
        return;
      } catch (error) {
        if (!isPlaceFault(error)) throw error;
        failed.push(error);
      }
    }
    throw all(failed);
  }

  async #fillFrom(source: LaidItem["source"], item: LaidItem, writer: ItemWriter): Promise<void> {
    let fault: string;
    switch (source.from) {
      case "kept":
        if (writer.position > 0) await writer.restart();
        await writer.write(await explained(item, this.#kept.get(source.digest)));
        fault = "the lock changed";
        break;
      case "file":
        if (writer.position > 0) await writer.restart();
        await this.#copyFile(item, source, writer);
        // Until now, the archive's claims about its blobs were trusted.
        fault = `"${source.file}" ${source.offset === undefined ? "" : "does not match its own index, or "}changed since it was locked`;
        break;
      case "url":
        return this.#fetch(item, source, writer);
      case "made":
        throw new AirferryError("ERR_INTERNAL", `cannot fill "${item.path}": it is generated`);
    }
    const digest = await this.#check(item, writer);
    if (digest === undefined) throw await this.#wrongDigest(item, writer, `: ${fault}`);
    await this.#finish(item, writer, digest);
  }

  /** One GET, and more if its bytes are wrong: see fetchChecked. */
  async #fetch(
    item: LaidItem,
    source: Extract<LaidItem["source"], { from: "url" }>,
    writer: ItemWriter,
  ): Promise<void> {
    const sink = {
      get position() {
        return writer.position;
      },
      get validator() {
        return writer.validator;
      },
      lend: () => writer.lend(),
      write: (chunk: Uint8Array) => {
        this.#fetchedBytes += chunk.length;
        return writer.write(chunk);
      },
      restart: () => writer.restart(),
      began: (response: Parameters<ItemWriter["began"]>[0]) => writer.began(response),
    };
    const { urls, named, auth, etag } = source;
    const target = { urls, named, size: item.size, integrity: item.integrity, auth, etag };
    const checked: { digest?: Digest | undefined } = {};
    const check = async (from: string) => {
      checked.digest = await this.#check(item, writer);
      return checked.digest === undefined ? this.#wrongDigest(item, writer, ` from ${from}`) : undefined;
    };
    const onAgain = (next: readonly string[]) =>
      this.#job.report(
        `fetching ${item.path} once more from ${next.length === 1 ? redactUrl(next[0] ?? "") : `${next.length} places`}: its digest was wrong`,
      );
    await explained(item, fetchChecked(this.#job.workspace.fetcher, target, sink, { check, onAgain }));
    if (checked.digest === undefined) throw await this.#wrongDigest(item, writer, "");
    await this.#finish(item, writer, checked.digest);
  }

  /** Copies the bytes of an identical item of this bundle instead of fetching them again. */
  async #fillTwin(index: number, first: ReadonlyMap<string, LaidItem>): Promise<void> {
    const work = this.#work;
    const item = this.#plan.items[index] as LaidItem;
    const twin = first.get(item.integrity as string) as LaidItem;
    if (!this.#digests.has(twin.path)) return this.#fill(index);
    const writer = await this.#writer(index, item);
    try {
      if (writer.position > 0) await writer.restart();
      await copyInto(work.volumes.range(twin.offset, twin.size), writer);
      const digest = await this.#check(item, writer);
      if (digest === undefined) throw await this.#wrongDigest(item, writer, `: copied from "${twin.path}"`);
      this.#reusedBytes += item.size;
      await this.#finish(item, writer, digest);
    } catch (error) {
      await writer.suspend();
      throw error;
    }
  }

  async #make(index: number): Promise<void> {
    const item = this.#plan.items[index] as LaidItem;
    if (item.source.from !== "made") return;
    const bytes = await item.source.make((path) => {
      const digest = this.#digests.get(path);
      if (digest === undefined)
        throw new AirferryError("ERR_INTERNAL", `cannot generate "${item.path}": "${path}" is not fetched`);
      return digest;
    });
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

  /** Local bytes with this digest. They are checked like any others. */
  async #nearBytes(item: LaidItem): Promise<{ bytes: RandomAccess; close(): Promise<void> } | undefined> {
    if (item.source.from === "kept") return undefined;
    const digest = sha256In(item.integrity);
    const cached = digest && (await this.#job.workspace.cache.file(digest));
    if (cached) {
      this.#cached.push(digest);
      return openBytes(cached);
    }
    return item.source.from === "url" || compressedFile(item.source) !== undefined
      ? this.#reusable?.find(item)
      : undefined;
  }

  async #copyFile(
    item: LaidItem,
    { file, offset, codec }: Extract<LaidItem["source"], { from: "file" }>,
    writer: ItemWriter,
  ): Promise<void> {
    if (codec !== undefined) return this.#inflate(item, file, codec, offset ?? 0, writer);
    const source = await openBytes(file).catch((cause: NodeJS.ErrnoException) => {
      throw unreadable(item, file, cause);
    });
    try {
      if (offset === undefined && source.bytes.size !== item.size) {
        throw new AirferryError(
          "ERR_UPSTREAM_SIZE",
          `${cannotPack(item)}: "${file}" changed since it was locked: expected ${item.size} bytes, got ${source.bytes.size}`,
          { path: file, hint: `if that is intended: airferry lock ${shellWord(this.#job.workspace.file)} --update` },
        );
      }
      await copyInto(offset === undefined ? source.bytes : slice(source.bytes, offset, item.size), writer);
    } finally {
      await source.close();
    }
  }

  /** From a compressed archive: everything before is skipped, and no more is read than the lock requires. */
  async #inflate(item: LaidItem, file: string, codec: Codec, offset: number, writer: ItemWriter): Promise<void> {
    const bytes = this.#inflated.take(file, codec, offset, item.size)[Symbol.asyncIterator]();
    const next = () =>
      bytes.next().catch((cause: unknown) => {
        throw cause instanceof AirferryError ? cause : unreadable(item, file, cause as NodeJS.ErrnoException);
      });
    try {
      for (let it = await explained(item, next()); !it.done; it = await explained(item, next())) {
        throwIfAborted();
        await writer.write(it.value);
      }
    } finally {
      await bytes.return(undefined);
    }
  }

  async #writer(index: number, item: LaidItem): Promise<ItemWriter> {
    const work = this.#work;
    const { pool } = this.#job;
    return ItemWriter.open(
      work,
      index,
      { pool, pieces: this.#pieces },
      {
        algorithms: algorithmsIn(item.integrity),
        // The check reads so little that it need not fill the page cache.
        readBack: item.check !== undefined,
        onBytes: (bytes) => {
          this.#doneBytes += bytes;
          this.#report(item);
        },
      },
    );
  }

  /** The SHA-256 if every known digest matches; undefined otherwise. */
  async #check(item: LaidItem, writer: ItemWriter): Promise<Digest | undefined> {
    const digests = await writer.digests();
    return writer.position === item.size && isWanted(item, digests) ? digests.sha256 : undefined;
  }

  async #wrongDigest(item: LaidItem, writer: ItemWriter, where: string): Promise<AirferryError> {
    const digests = await writer.digests();
    const known = item.integrity ?? "";
    // Fewer bytes or more: what has come so far may have any digest.
    const { expected, actual } = (known && mismatchOf(known, digests)) || { expected: known, actual: digests.sha256 };
    return new AirferryError(
      "ERR_UPSTREAM_DIGEST",
      `${cannotPack(item)}${where}: digest mismatch: expected ${expected} (${item.established}), got ${actual} over ${writer.position} bytes`,
      {
        path: item.path,
        expected,
        actual,
        hint: item.about?.hint ?? digestHint(item, actual, this.#job.workspace.file),
      },
    );
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
    this.#digests.set(item.path, digest);
    this.#doneItems++;
  }

  async #look(item: LaidItem, bytes: RandomAccess): Promise<void> {
    if (item.look) this.#job.found(await item.look(bytes));
  }

  #report(item: LaidItem): void {
    this.#job.progress?.({
      doneBytes: this.#doneBytes,
      totalBytes: this.#totalBytes,
      doneItems: this.#doneItems,
      totalItems: this.#plan.items.length,
      path: item.path,
    });
  }
}

/** Whether the bytes match every digest of an item in the lock. */
function isWanted(item: LaidItem, digests: Digests): boolean {
  if (item.source.from === "kept" && item.source.digest !== digests.sha256) return false;
  return item.integrity === undefined || isExpected(item.integrity, digests);
}

/** A digest in the manifest does not change when locking again: only its author can change it. */
function digestHint({ established }: LaidItem, got: string, manifest: string): string {
  return established === "manifest"
    ? `the digest is in ${manifest}: compare it with what upstream publishes; if upstream has ${got}, correct it there`
    : `upstream changed it, or it was altered on the way; compare with what upstream publishes, then: airferry lock ${shellWord(manifest)} --update`;
}

/** The file that an item is decompressed from; undefined for any other. */
function compressedFile(source: LaidItem["source"]): string | undefined {
  return source.from === "file" && source.codec !== undefined ? source.file : undefined;
}

/** Items of one compressed archive are grouped, in its order, so that it is read once. All others are separate. */
function tasksOf(indexes: readonly number[], items: readonly LaidItem[]): number[][] {
  const tasks: number[][] = [];
  const byArchive = new Map<string, number[]>();
  for (const index of indexes) {
    const archive = compressedFile((items[index] as LaidItem).source);
    const task = archive === undefined ? undefined : byArchive.get(archive);
    if (task !== undefined) task.push(index);
    else {
      tasks.push([index]);
      if (archive !== undefined) byArchive.set(archive, tasks.at(-1) as number[]);
    }
  }
  const offsetOf = (index: number) => {
    const { source } = items[index] as LaidItem;
    return source.from === "file" ? (source.offset ?? 0) : 0;
  };
  for (const task of byArchive.values()) task.sort((a, b) => offsetOf(a) - offsetOf(b));
  return tasks;
}

function unreadable(item: LaidItem, file: string, cause: NodeJS.ErrnoException): AirferryError {
  const fault = cause.code === "ENOENT" ? `"${file}" was removed since it was locked` : cause.message;
  return new AirferryError("ERR_IO", `${cannotPack(item)}: ${fault}`, { path: file, cause, hint: item.about?.hint });
}

function cannotPack({ path, about }: LaidItem): string {
  return `cannot pack "${path}"${about === undefined ? "" : ` of ${about.name}`}`;
}

/** Upstream's content changed: not a network or login problem. */
const CONTENT_FAULTS: readonly ErrorCode[] = ["ERR_UPSTREAM_INVALID", "ERR_UPSTREAM_SIZE", "ERR_UPSTREAM_DIGEST"];

/** Errors about a URL or the lock also name what was to be packed from there. */
async function explained<T>(item: LaidItem, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AirferryError)) throw error;
    // Errors about the bytes themselves name it already.
    if (error.message.startsWith(cannotPack(item))) throw error;
    const { code, hint, path, expected, actual, problems, cause } = error;
    const isContent = CONTENT_FAULTS.includes(code) || [404, 410].includes(httpStatusOf(error) ?? 0);
    throw new AirferryError(code, `${cannotPack(item)}: ${error.message}`, {
      hint: (isContent ? item.about?.hint : undefined) ?? hint,
      path,
      expected,
      actual,
      problems,
      cause,
    });
  }
}

/** Faults that do not affect another source of the same bytes. */
function isPlaceFault(error: unknown): error is AirferryError {
  return (
    error instanceof AirferryError &&
    (exitStatusOf(error) === EXIT.upstream || error.code === "ERR_IO" || error.code === "ERR_LOCK_INVALID")
  );
}

/** One error for all sources: the first, with the others as problems. */
function all(failed: readonly AirferryError[]): AirferryError {
  const [first] = failed as [AirferryError];
  if (failed.length === 1) return first;
  const { code, message, hint, path, expected, actual, cause } = first;
  return new AirferryError(code, `${message} (and ${failed.length - 1} other sources failed)`, {
    hint,
    path,
    expected,
    actual,
    cause,
    problems: failed.map((it) => ({ code: it.code, path: it.path ?? "", message: it.message })),
  });
}

/** Faults of a package that quarantine may handle: it is wrong or missing. */
function isPackageFault(error: unknown): boolean {
  if (!(error instanceof AirferryError)) return false;
  const wrong = ["ERR_UPSTREAM_DIGEST", "ERR_UPSTREAM_SIZE", "ERR_UPSTREAM_SIGNATURE", "ERR_UPSTREAM_INVALID"];
  return wrong.includes(error.code) || isAbsent(error);
}

/**
 * No source has it: "not found" or "gone" over HTTP, no such file in a folder. A faulty server sends other statuses.
 */
function isAbsent(error: AirferryError): boolean {
  const status = httpStatusOf(error);
  return status === 404 || status === 410 || (error.cause as NodeJS.ErrnoException | undefined)?.code === "ENOENT";
}

async function copyInto(bytes: RandomAccess, writer: ItemWriter): Promise<void> {
  for (let position = 0; position < bytes.size; ) {
    throwIfAborted();
    const chunk = await bytes.read(position, COPY_CHUNK_BYTES);
    if (chunk.length === 0) return;
    await writer.write(chunk);
    position += chunk.length;
  }
}

function slice(bytes: RandomAccess, offset: number, size: number): RandomAccess {
  return { size, read: (position, length) => bytes.read(offset + position, Math.min(length, size - position)) };
}
