/**
 * Hashes (and copies) ranges of files in worker threads, so that the main thread stays free and several cores work.
 * Small data in memory is hashed by its owner with `crypto.hash`. One kind of worker, see hash-worker.ts.
 */

import { EventEmitter, once } from "node:events";
import { fstat } from "node:fs";
import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { AirferryError } from "../errors.ts";
import type { Digest, Digests, HashAlgorithm } from "./digest.ts";
import { buffersUsed } from "./flat-memory.ts";
// biome-ignore format: one line
import type { PieceResult, RangeJob, RunJob, RunResult, StopFlag, WholeResult, WorkerReply, WorkerRequest } from "./hash-worker.ts";
import { hashWorkerMain } from "./hash-worker.ts";
import { currentSignal } from "./limit.ts";
import { startWorker } from "./start-worker.ts";

const statOpen = promisify(fstat);

const MAX_THREADS = 4;
const FEW_BYTES = 32 * 1024 * 1024;
/** Up to this the main thread hashes: starting another takes as long as hashing some ten MiB, and 10 MiB of memory. */
const VERY_FEW_BYTES = 2 * 1024 * 1024;
/** Maximum length of a job, so that progress and aborts are timely. */
const STEP_BYTES = 64 * 1024 * 1024;

type Ask = WorkerRequest extends infer R ? (R extends unknown ? Omit<R, "id"> : never) : never;

/** Where jobs are done: a thread, or the main thread in its place. */
interface Runner {
  post(request: WorkerRequest): void;
  /** Whether it keeps the process alive. */
  hold(isHeld: boolean): void;
  close(): Promise<void>;
}

interface RunnerEvents {
  reply: (reply: WorkerReply) => void;
  fail: (error: Error) => void;
}

function startThread({ reply, fail }: RunnerEvents): Runner {
  const worker = startWorker(hashWorkerMain);
  worker.unref();
  worker.on("message", reply);
  worker.on("error", fail);
  worker.on("exit", () => fail(poolClosed()));
  return {
    post: (request) => worker.postMessage(request),
    hold: (isHeld) => (isHeld ? worker.ref() : worker.unref()),
    close: async () => {
      await worker.terminate();
    },
  };
}

/** Does jobs in the main thread. Running jobs keep the process alive by their I/O; `close` waits for them. */
function runHere({ reply }: RunnerEvents): Runner {
  const port = new EventEmitter();
  let running = 0;
  hashWorkerMain({
    on: (event, listener) => port.on(event, listener),
    postMessage: (it) => {
      running--;
      reply(it);
      if (running === 0) port.emit("idle");
    },
  });
  return {
    post: (request) => {
      running++;
      port.emit("message", request);
    },
    hold: () => {},
    close: async () => {
      if (running > 0) await once(port, "idle");
    },
  };
}

function poolClosed(): AirferryError {
  return new AirferryError("ERR_INTERNAL", "cannot hash: the hash pool was closed");
}

/**
 * One thread and its pending work. Referenced only while it has work, so that an idle pool never keeps the process
 * alive.
 */
class Thread {
  readonly #pending = new Map<number, { resolve: (value: WorkerReply["value"]) => void; reject: (e: Error) => void }>();
  readonly #begin: (events: RunnerEvents) => Runner;
  #runner: Runner | undefined;
  #nextId = 1;
  #failed: Error | undefined;
  /** Open hashers and running jobs: the pool selects the thread with the fewest. */
  load = 0;

  constructor(begin: (events: RunnerEvents) => Runner) {
    this.#begin = begin;
  }

  /** Starts it before its first work, which would otherwise wait for that. */
  start(): Runner {
    this.#runner ??= this.#begin({ reply: (it) => this.#settle(it), fail: (error) => this.#fail(error) });
    return this.#runner;
  }

  ask(request: Ask): Promise<WorkerReply["value"]> {
    if (this.#failed) return Promise.reject(this.#failed);
    const runner = this.start();
    if (this.#pending.size === 0) runner.hold(true);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      runner.post({ ...request, id });
    });
  }

  #settle(reply: WorkerReply): void {
    const waiting = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    // A caller waiting for a closed thread to end must be able to observe it.
    if (this.#pending.size === 0 && this.#failed === undefined) this.#runner?.hold(false);
    if (reply.error === undefined) waiting?.resolve(reply.value);
    else waiting?.reject(jobError(reply.error));
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    for (const waiting of this.#pending.values()) waiting.reject(this.#failed);
    this.#pending.clear();
  }

  async close(): Promise<void> {
    this.#failed ??= poolClosed();
    await this.#runner?.close();
  }
}

const flags = new WeakMap<AbortSignal, StopFlag>();

/** Tells threads that a signal is aborted. */
function flagOf(signal: AbortSignal): StopFlag {
  const known = flags.get(signal);
  if (known !== undefined) return known;
  const flag = new Int32Array(new SharedArrayBuffer(4));
  flags.set(signal, flag);
  signal.addEventListener("abort", () => Atomics.store(flag, 0, 1), { once: true });
  return flag;
}

/**
 * Converts a failure inside a thread to an ERR_IO, ERR_SPACE or ERR_SIZE_MISMATCH; the system's code stays in `cause`.
 */
function jobError(error: NonNullable<WorkerReply["error"]>): AirferryError {
  const cause = Object.assign(new Error(error.message), { code: error.code });
  const action = error.write ? "write" : "read";
  const detail = { path: error.file, cause };
  const message = `cannot ${action} "${error.file ?? "?"}": ${error.message}`;
  if (error.code === "ENOSPC" || error.code === "EDQUOT") return new AirferryError("ERR_SPACE", message, detail);
  if (error.code === "EFBIG") return new AirferryError("ERR_FILE_TOO_LARGE", message, detail);
  if (error.code === "ESHORT") return new AirferryError("ERR_SIZE_MISMATCH", message, detail);
  if (error.code === "ENOTFILE" || error.code === "ELOOP") {
    return new AirferryError("ERR_PATH_UNSAFE", `cannot read "${error.file}": not a regular file`, detail);
  }
  return new AirferryError("ERR_IO", message, detail);
}

/** Descriptors by path, which are read in place of the files that are at these paths by now. */
type OpenFiles = ReadonlyMap<string, number>;

/** What a hasher makes of the bytes: digests of all of them, or one of every piece. */
type Making = { algorithms: readonly HashAlgorithm[]; pieces: boolean };

/** Takes ranges in order, in one thread of its pool. */
class RangeTaker {
  readonly #thread: Thread;
  readonly #id: number;
  readonly #open: OpenFiles;
  #isOpen = true;

  constructor(thread: Thread, id: number, making: Making, open: OpenFiles) {
    this.#thread = thread;
    this.#open = open;
    this.#id = id;
    thread.load++;
    void thread.ask({ type: "open", hasher: id, ...making }).catch(() => undefined);
  }

  /**
   * Feeds one range of a file, and writes it to `copyTo` (an existing file) if given. Calls are queued: ranges are
   * processed in the order of the calls, without waiting for the previous promise. `progress` is called with the bytes
   * of each step. When the surrounding work is aborted (limit.ts), queued steps are skipped and the signal's reason is
   * thrown.
   * @throws {AirferryError} ERR_SIZE_MISMATCH when the file ends early, ERR_PATH_UNSAFE for a link or device,
   *   ERR_SPACE, ERR_IO
   */
  async advance(job: RangeJob, progress?: (bytes: number) => void): Promise<void> {
    const signal = currentSignal();
    signal?.throwIfAborted();
    const stop = signal && flagOf(signal);
    const steps: Promise<unknown>[] = [];
    for (let done = 0; done < job.length; done += STEP_BYTES) {
      const length = Math.min(STEP_BYTES, job.length - done);
      const to = job.copyTo;
      const copyTo = to === undefined ? undefined : { file: to.file, offset: to.offset + done };
      const { file, parts } = job;
      const step = { file, fd: this.#open.get(file), offset: job.offset + done, length, copyTo, parts };
      steps.push(this.#thread.ask({ type: "range", hasher: this.#id, job: step, stop }).then(() => progress?.(length)));
    }
    // Wait for all of them, so that no thread still reads or writes a file that the caller has closed.
    const failed = (await Promise.allSettled(steps)).find((it) => it.status === "rejected");
    signal?.throwIfAborted();
    if (failed !== undefined) throw failed.reason;
  }

  /** Feeds bytes in shared memory, which must not change until the promise is settled. Queues like `advance`. */
  async feed(bytes: Uint8Array<SharedArrayBuffer>): Promise<void> {
    await this.#thread.ask({ type: "bytes", hasher: this.#id, bytes });
  }

  /** Asks about the bytes so far; only after `peek` there may be more. */
  protected ask(type: "peek" | "digests" | "pieces"): Promise<WorkerReply["value"]> {
    const value = this.#thread.ask({ type, hasher: this.#id });
    if (type !== "peek") this.#done();
    return value;
  }

  /**
   * Ends it and returns the digests of all pieces, 32 bytes each; the last piece may be a short one. Of a hasher that
   * was opened with them.
   */
  async pieces(): Promise<Uint8Array> {
    return ((await this.ask("pieces")) as PieceResult).pieces;
  }

  /** Discards the hasher: queued work still runs, without a result. */
  discard(): void {
    if (!this.#isOpen) return;
    void this.#thread.ask({ type: "drop", hasher: this.#id }).catch(() => undefined);
    this.#done();
  }

  #done(): void {
    if (this.#isOpen) this.#thread.load--;
    this.#isOpen = false;
  }
}

/** A running hash over ranges passed in order. Runs in one thread of its pool. */
export class RangeHasher extends RangeTaker {
  /** Returns the digests so far; the hash continues. Queues like `advance`. */
  async peek(): Promise<Digests> {
    return (await this.ask("peek")) as Digests;
  }

  /** Ends the hash and returns its SHA-256. The hasher cannot be used afterwards. */
  async digest(): Promise<Digest> {
    return (await this.digests()).sha256;
  }

  /** Ends the hash and returns its digests. The hasher cannot be used afterwards. */
  async digests(): Promise<Digests> {
    return (await this.ask("digests")) as Digests;
  }
}

/** Hashes every piece of what is passed in order (piece-digests.ts). Runs in one thread of its pool. */
class PieceHasher extends RangeTaker {}

/** A few hash threads. Its creator closes it; an idle pool does not keep the process alive. */
export class HashPool {
  readonly #here = new Thread(runHere);
  readonly #threads: Thread[];
  readonly #open = new Map<string, number>();
  #nextHasher = 1;

  /** @param size threads; by default one per core, at most four. 0: the main thread does it all. */
  constructor(size = Math.min(availableParallelism(), MAX_THREADS)) {
    this.#threads = size === 0 ? [this.#here] : Array.from({ length: size }, () => new Thread(startThread));
  }

  /** A pool for this many bytes in all: a thread takes longer to start than a few MiB take to hash. */
  static sizedFor(bytes: number): HashPool {
    if (bytes <= VERY_FEW_BYTES) return new HashPool(0);
    return bytes < FEW_BYTES ? new HashPool(1) : new HashPool();
  }

  /** Starts the threads now, for work that will come: a thread takes some tens of milliseconds to start. */
  start(): void {
    for (const it of this.#threads) it.start();
  }

  /** From now on an open descriptor is read in place of a path; it must outlive the pool. */
  readOpen(file: string, fd: number): void {
    this.#open.set(file, fd);
  }

  /** Number of threads: the useful number of concurrent independent jobs. */
  get size(): number {
    return this.#threads.length;
  }

  /**
   * Opens a running hash, SHA-256 and `others`, in the least busy thread. End it with `digests` or `discard`.
   * @param bytes how many there will be, if that is known: very few are hashed in the main thread
   * @param pieces the digests of the pieces are wanted as well
   */
  open(others: readonly HashAlgorithm[] = [], bytes = Number.POSITIVE_INFINITY, pieces = false): RangeHasher {
    const thread = bytes <= VERY_FEW_BYTES ? this.#here : this.#idlest();
    const algorithms = [...new Set<HashAlgorithm>(["sha256", ...others])];
    return new RangeHasher(thread, this.#nextHasher++, { algorithms, pieces }, this.#open);
  }

  /** Opens a hash of every piece, in the least busy thread. End it with `pieces` or `discard`. */
  openPieces(): PieceHasher {
    return new PieceHasher(this.#idlest(), this.#nextHasher++, { algorithms: [], pieces: true }, this.#open);
  }

  /** Hashes one range, or a whole file without offset and length. Returns its SHA-256, and the number of bytes read. */
  async hashFile(
    file: string,
    range: { offset?: number; length?: number; progress?: (bytes: number) => void } = {},
  ): Promise<{ size: number; digest: Digest }> {
    const offset = range.offset ?? 0;
    const fd = this.#open.get(file);
    const length = range.length ?? (await (fd === undefined ? stat(file) : statOpen(fd))).size - offset;
    if (length <= STEP_BYTES) {
      const { digest } = await this.#hashWhole({ file, fd, offset, length }, 0);
      range.progress?.(length);
      return { size: length, digest };
    }
    const hasher = this.open();
    try {
      await hasher.advance({ file, offset, length }, range.progress);
      return { size: length, digest: await hasher.digest() };
    } catch (error) {
      hasher.discard();
      throw error;
    }
  }

  /** Hashes a file of `size` bytes, and returns its first `head` bytes as well, so that nobody else need open it. */
  async hashWithHead(file: string, size: number, head: number): Promise<WholeResult> {
    const result = await this.#hashWhole({ file, fd: this.#open.get(file), offset: 0, length: size }, head);
    buffersUsed(result.head.length);
    return result;
  }

  /** One job of one thread: a message each way, and not three. */
  async #hashWhole(job: RangeJob, head: number): Promise<WholeResult> {
    const signal = currentSignal();
    signal?.throwIfAborted();
    const thread = this.#idlest();
    thread.load++;
    try {
      return (await thread.ask({ type: "whole", job, head, stop: signal && flagOf(signal) })) as WholeResult;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      thread.load--;
    }
  }

  /**
   * Reads a run of small files at once, compares the frame around them, writes each to its `to` and returns the results
   * in order. New files are read-only and not synced. One call is one job of one thread.
   * @throws {AirferryError} ERR_SIZE_MISMATCH when a file ends early, ERR_PATH_UNSAFE, ERR_SPACE, ERR_IO
   */
  async run(job: RunJob): Promise<RunResult[]> {
    const thread = this.#idlest();
    thread.load++;
    try {
      const pieces = job.pieces.map((it) => ({ ...it, fd: this.#open.get(it.file) }));
      return (await thread.ask({ type: "run", job: { ...job, pieces } })) as RunResult[];
    } finally {
      thread.load--;
    }
  }

  /** Ends the threads; whatever still runs there fails. */
  async close(): Promise<void> {
    await Promise.all([this.#here, ...this.#threads].map((it) => it.close()));
  }

  #idlest(): Thread {
    return this.#threads.reduce((best, it) => (it.load < best.load ? it : best));
  }
}
