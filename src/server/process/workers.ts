/**
 * A server as several threads over one port. The first thread serves too; it starts workers, replaces those that end,
 * sums their counters, and stops them gracefully. Each listens on the same port (SO_REUSEPORT) and the kernel
 * distributes the connections. They are threads, not processes: a second Node takes 60 MB before it serves anything.
 */
import { getAsset, isSea } from "node:sea";
import { Worker, type WorkerOptions } from "node:worker_threads";
import type { AskCache } from "../../cache/types.ts";
import { AirferryError } from "../../errors.ts";
import type { ReleaseFeed } from "../../store/fed-store.ts";
import type { TlsMaterial } from "../http/endpoint.ts";
import { type Counters, emptyCounters, sumCounters } from "./counters.ts";
import type { MakeIndex } from "./index-maker.ts";
import type { FromWorker, ThreadFault, ToWorker } from "./messages.ts";
import type { SiteSettings } from "./site.ts";
import type { WantedBatch } from "./wanted-notes.ts";

/** Its name among the assets of the single-file build (scripts/build-binary-parts/main.ts). */
const ASSET = "serve-worker.cjs";
const COLLECT_TIMEOUT_MS = 500;
const RESTART_DELAY_MS = 500;
const MAX_RESTART_DELAY_MS = 30_000;
/** Extra time for a worker after the grace time before it is ended. */
const END_AFTER_MS = 2000;

/** Returns whether several threads can listen on one port here. */
export function canSharePort(): boolean {
  return process.platform === "linux";
}

/** What the first thread does for its workers. */
interface GroupHost {
  /** The counters of the first thread. */
  own(): Counters;
  makeIndex: MakeIndex;
  /** What the first thread serves. */
  releases: ReleaseFeed;
  /** Present where a cache is filled by the first thread. */
  askCache?: AskCache | undefined;
  noteWanted(batch: WantedBatch): void;
  report(message: string): void;
  noteOrigins(origins: string[]): void;
  /** Called when a worker ended that had sockets of its own: nobody accepts on them any more. */
  onSocketsLost(): void;
}

/** The worker threads of one server, seen from the first thread. */
export class WorkerGroup {
  #settings: SiteSettings;
  readonly #host: GroupHost;
  readonly #workers = new Set<Worker>();
  /** The last counters of each living worker. */
  readonly #counted = new Map<Worker, Counters>();
  /** The counters of ended workers. */
  #lost = emptyCounters();
  readonly #collections = new Map<number, (worker: Worker) => void>();
  #lastCollection = 0;
  #restartDelayMs = RESTART_DELAY_MS;
  #stopping = false;
  readonly #entry: URL | undefined;

  /** @param entry the module that workers run, which calls `runWorker`; default src/serve-worker.ts */
  constructor(settings: SiteSettings, host: GroupHost, entry?: URL) {
    this.#settings = settings;
    this.#host = host;
    this.#entry = entry;
  }

  /**
   * Starts `count` workers and resolves when all serve; `sockets` are those of each, where it has sockets of its own.
   * @throws {AirferryError} of the first one that failed
   */
  async start(count: number, sockets: readonly (readonly number[])[] = []): Promise<void> {
    try {
      await Promise.all(Array.from({ length: count }, (_, at) => this.#startOne(sockets[at])));
    } catch (error) {
      await this.close(0);
      throw error;
    }
  }

  #startOne(sockets?: readonly number[]): Promise<void> {
    const settings = sockets === undefined ? this.#settings : { ...this.#settings, sockets };
    const worker = startThread(this.#entry, { workerData: settings });
    this.#workers.add(worker);
    return new Promise((resolve, reject) => {
      let ready = false;
      let fault: string | undefined;
      worker.on("message", (message: FromWorker) => {
        if (message.kind === "ready") {
          ready = true;
          this.#restartDelayMs = RESTART_DELAY_MS;
          resolve();
        } else if (message.kind === "failed") {
          reject(new AirferryError(message.code, message.message, { hint: message.hint }));
          void worker.terminate();
        } else {
          this.#take(worker, message);
        }
      });
      worker.on("error", (error) => {
        fault = error instanceof Error ? error.message : String(error);
      });
      worker.on("exit", (status) => {
        const how = fault ?? `status ${status}`;
        this.#forget(worker);
        reject(new AirferryError("ERR_INTERNAL", `cannot start a worker thread: it ended with ${how}`));
        if (!ready || this.#stopping) return;
        if (sockets === undefined) this.#replace(how);
        else this.#host.onSocketsLost();
      });
    });
  }

  setTls(tls: TlsMaterial): void {
    this.#settings = { ...this.#settings, tls };
    for (const worker of this.#workers) send(worker, { kind: "tls", tls });
  }

  /** Lets all workers ask for the releases. */
  look(): void {
    for (const worker of this.#workers) send(worker, { kind: "look" });
  }

  reopenLog(): void {
    for (const worker of this.#workers) send(worker, { kind: "reopenLog" });
  }

  async close(graceMs: number): Promise<void> {
    this.#stopping = true;
    const ends = [...this.#workers].map((worker) => {
      const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
      const end = setTimeout(() => void worker.terminate(), graceMs + END_AFTER_MS);
      send(worker, { kind: "stop", graceMs });
      return ended.finally(() => clearTimeout(end));
    });
    await Promise.all(ends);
  }

  #take(worker: Worker, message: FromWorker): void {
    if (message.kind === "report") {
      this.#host.report(message.message);
    } else if (message.kind === "origins") {
      this.#host.noteOrigins(message.origins);
    } else if (message.kind === "wanted") {
      this.#host.noteWanted(message.batch);
    } else if (message.kind === "counted") {
      this.#counted.set(worker, message.counters);
      this.#collections.get(message.id)?.(worker);
    } else if (message.kind === "sum") {
      this.#counted.set(worker, message.counters);
      this.#collectWorkers(worker).then((counters) => {
        send(worker, { kind: "summed", id: message.id, counters: sumCounters([counters, this.#host.own()]) });
      });
    } else if (message.kind === "cache") {
      const { id, order } = message;
      const asked = this.#host.askCache?.(order) ?? Promise.reject(new Error("there is no cache"));
      asked.then(
        (answer) => send(worker, { kind: "cached", id, answer, fault: undefined }),
        (error: unknown) => send(worker, { kind: "cached", id, answer: undefined, fault: faultOf(error) }),
      );
    } else if (message.kind === "releases") {
      const { id, known } = message;
      this.#host.releases(known).then((releases) => send(worker, { kind: "releases", id, releases }));
    } else if (message.kind === "index") {
      const { id } = message;
      this.#host.makeIndex(message.order).then(
        (bytes) => send(worker, { kind: "indexed", id, bytes, fault: undefined }),
        (error: Error) => send(worker, { kind: "indexed", id, bytes: undefined, fault: error.message }),
      );
    }
  }

  /**
   * The counters of all threads; `own` are those of this one. For a worker too busy to answer its last counters are
   * used.
   */
  async collect(own: Counters): Promise<Counters> {
    return sumCounters([await this.#collectWorkers(undefined), own]);
  }

  async #collectWorkers(asking: Worker | undefined): Promise<Counters> {
    this.#lastCollection++;
    const id = this.#lastCollection;
    const missing = new Set([...this.#workers].filter((worker) => worker !== asking));
    if (missing.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, COLLECT_TIMEOUT_MS);
        this.#collections.set(id, (worker) => {
          missing.delete(worker);
          if (missing.size > 0) return;
          clearTimeout(timer);
          resolve();
        });
        for (const worker of missing) send(worker, { kind: "count", id });
      });
      this.#collections.delete(id);
    }
    return sumCounters([...this.#counted.values(), this.#lost]);
  }

  #forget(worker: Worker): void {
    this.#workers.delete(worker);
    const last = this.#counted.get(worker);
    this.#counted.delete(worker);
    if (last !== undefined) this.#lost = { ...sumCounters([this.#lost, last]), connections: 0 };
  }

  #replace(how: string): void {
    this.#host.report(`a worker thread ended with ${how}; starting another`);
    const again = (): void => {
      if (this.#stopping) return;
      this.#startOne().catch((error) => {
        this.#host.report(`${error instanceof Error ? error.message : String(error)}; trying again`);
        this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, MAX_RESTART_DELAY_MS);
        setTimeout(again, this.#restartDelayMs);
      });
    };
    setTimeout(again, this.#restartDelayMs);
  }
}

function faultOf(error: unknown): ThreadFault {
  if (error instanceof AirferryError) return { code: error.code, message: error.message, hint: error.hint };
  return { code: "ERR_INTERNAL", message: error instanceof Error ? error.message : String(error), hint: undefined };
}

function send(worker: Worker, message: ToWorker): void {
  worker.postMessage(message);
}

function startThread(entry: URL | undefined, options: WorkerOptions): Worker {
  if (entry === undefined && isSea()) {
    return new Worker(getAsset(ASSET, "utf8"), { ...options, eval: true, execArgv: [] });
  }
  return new Worker(entry ?? new URL("../../serve-worker.ts", import.meta.url), options);
}
