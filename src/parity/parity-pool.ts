/** Threads that compute parity: a few, each with one job at a time, so that memory is bounded by their number. */
import { availableParallelism } from "node:os";
import { AirferryError } from "../errors.ts";
import { eachLimited, throwIfAborted } from "../io/limit.ts";
import { startWorker } from "../io/start-worker.ts";
import { kernelBytes } from "./kernel.ts";
import { type ParityAnswer, type ParityJob, type ParityReply, parityWorkerMain } from "./parity-worker.ts";

const MAX_THREADS = 4;
/** For the sums and products of all threads; each has a few MiB of inputs and tables besides. */
const MEMORY_BYTES = 32 * 1024 * 1024;
/** A column is at most so wide: what is read at once of each block. */
const MAX_WIDTH = 256 * 1024;

interface Waiting {
  resolve: (answer: ParityAnswer) => void;
  reject: (error: Error) => void;
}

/** Its creator closes it. Threads start with the first job. */
export class ParityPool {
  readonly size = Math.min(availableParallelism(), MAX_THREADS);
  readonly #idle: Thread[] = [];
  readonly #all: Thread[] = [];

  /** Runs every job, as many at once as there are threads. @throws {AirferryError} as {@link run} */
  async each<T>(items: Iterable<T>, work: (item: T, run: (job: ParityJob) => Promise<ParityAnswer>) => Promise<void>) {
    await eachLimited(items, this.size, async (item) => work(item, (job) => this.run(job)));
  }

  /**
   * Runs one job.
   * @throws {AirferryError} ERR_SPACE, ERR_FILE_TOO_LARGE, ERR_SIZE_MISMATCH for a file that ends early,
   *   ERR_PATH_UNSAFE, ERR_IO
   */
  async run(job: ParityJob): Promise<ParityAnswer> {
    throwIfAborted();
    const thread = this.#idle.pop() ?? this.#start();
    try {
      return await thread.ask(job);
    } finally {
      this.#idle.push(thread);
    }
  }

  /** The columns into which blocks are cut, so that `held` of them fit into a thread's memory. */
  columns(blockSize: number, held: number): { offset: number; width: number }[] {
    const most = Math.min(MAX_WIDTH, Math.floor(MEMORY_BYTES / this.size / held / 32) * 32, blockSize);
    const count = Math.max(Math.ceil(blockSize / Math.max(32, most)), blockSize >= 64 * 1024 ? this.size : 1);
    const width = Math.ceil(blockSize / count / 32) * 32;
    return Array.from({ length: Math.ceil(blockSize / width) }, (_, index) => ({
      offset: index * width,
      width: Math.min(width, blockSize - index * width),
    }));
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((it) => it.close()));
  }

  #start(): Thread {
    const thread = new Thread();
    this.#all.push(thread);
    void thread.ask({ type: "kernel", bytes: kernelBytes() }).catch(() => undefined);
    return thread;
  }
}

class Thread {
  readonly #worker = startWorker(parityWorkerMain);
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #failed: Error | undefined;

  constructor() {
    this.#worker.unref();
    this.#worker.on("message", (reply: ParityReply) => this.#settle(reply));
    this.#worker.on("error", (error: Error) => this.#fail(error));
    this.#worker.on("exit", () =>
      this.#fail(new AirferryError("ERR_INTERNAL", "cannot compute parity: its thread ended")),
    );
  }

  ask(job: ParityJob): Promise<ParityAnswer> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed);
    const id = this.#nextId++;
    this.#worker.ref();
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...job, id });
    });
  }

  async close(): Promise<void> {
    this.#worker.removeAllListeners("exit");
    await this.#worker.terminate();
  }

  #settle({ id, value, error }: ParityReply): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (error === undefined) waiting?.resolve(value ?? {});
    else waiting?.reject(faultOf(error));
  }

  #fail(error: Error): void {
    this.#failed ??= error;
    for (const it of this.#waiting.values()) it.reject(this.#failed);
    this.#waiting.clear();
  }
}

const CODES = {
  ENOSPC: "ERR_SPACE",
  EDQUOT: "ERR_SPACE",
  EFBIG: "ERR_FILE_TOO_LARGE",
  ESHORT: "ERR_SIZE_MISMATCH",
  ENOTFILE: "ERR_PATH_UNSAFE",
  ELOOP: "ERR_PATH_UNSAFE",
} as const;

function faultOf({ message, code, file }: NonNullable<ParityReply["error"]>): Error {
  const cause = Object.assign(new Error(message), { code });
  // Only system errors have a code: anything else is a bug.
  if (code === undefined) return new AirferryError("ERR_INTERNAL", `cannot compute parity: ${message}`, { cause });
  const own = CODES[code as keyof typeof CODES] ?? "ERR_IO";
  return new AirferryError(own, `cannot compute parity with "${file}": ${message}`, { path: file, cause });
}
