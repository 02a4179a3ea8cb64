/**
 * A server as several processes over one port. The first one serves too (fewer processes, less memory); it starts
 * workers, replaces those that die, sums their counters, and stops them gracefully. Each process listens on the same
 * port (SO_REUSEPORT) and the kernel distributes the connections. Workers run this program again with the same
 * arguments, so it works from source, from a single-file bundle and from an executable.
 */
import cluster, { type Worker } from "node:cluster";
import { isSea } from "node:sea";
import { AirferryError } from "../../errors.ts";
import type { TlsMaterial } from "../http/listener.ts";
import { type Counters, emptyCounters, sumCounters } from "./counters.ts";
import { type FromWorker, sendMessage } from "./messages.ts";
import type { SiteSettings } from "./site.ts";

const COLLECT_TIMEOUT_MS = 500;
const RESTART_DELAY_MS = 500;
const MAX_RESTART_DELAY_MS = 30_000;
/** Extra time for a worker after the grace time before it is killed. */
const KILL_AFTER_MS = 2000;

/** Returns whether this process is a worker, which runs only worker.ts. */
export function isWorkerProcess(): boolean {
  return cluster.isWorker;
}

/** Returns whether several processes can listen on one port here. */
export function canSharePort(): boolean {
  return process.platform === "linux";
}

/** The worker processes of one server, seen from the first process. */
export class WorkerGroup {
  #settings: SiteSettings;
  readonly #report: (message: string) => void;
  readonly #workers = new Set<Worker>();
  /** The last counters of each living worker. */
  readonly #counted = new Map<Worker, Counters>();
  /** The counters of ended workers. */
  #lost = emptyCounters();
  readonly #collections = new Map<number, (worker: Worker) => void>();
  #lastCollection = 0;
  #restartDelayMs = RESTART_DELAY_MS;
  #stopping = false;
  readonly #own: () => Counters;

  /** @param own returns the counters of this process */
  constructor(settings: SiteSettings, own: () => Counters, report: (message: string) => void) {
    this.#settings = settings;
    this.#own = own;
    this.#report = report;
    cluster.setupPrimary(thisProgram());
  }

  /** Starts `count` workers and resolves when all serve. @throws {AirferryError} of the first one that failed */
  async start(count: number): Promise<void> {
    try {
      await Promise.all(Array.from({ length: count }, () => this.#startOne()));
    } catch (error) {
      await this.close(0);
      throw error;
    }
  }

  #startOne(): Promise<void> {
    const worker = cluster.fork();
    this.#workers.add(worker);
    return new Promise((resolve, reject) => {
      let ready = false;
      worker.on("message", (message: FromWorker) => {
        if (message.kind === "ready") {
          ready = true;
          this.#restartDelayMs = RESTART_DELAY_MS;
          resolve();
        } else if (message.kind === "failed") {
          reject(new AirferryError(message.code, message.message, { hint: message.hint }));
          worker.kill("SIGKILL");
        } else {
          this.#take(worker, message);
        }
      });
      worker.on("exit", (code, signal) => {
        this.#forget(worker);
        reject(
          new AirferryError(
            "ERR_INTERNAL",
            `cannot start a worker process: it ended with ${signal ?? `status ${code}`}`,
          ),
        );
        if (ready && !this.#stopping) this.#replace(signal ?? `status ${code}`);
      });
      worker.on("error", () => {});
      sendMessage(worker, { kind: "start", settings: this.#settings });
    });
  }

  setTls(tls: TlsMaterial): void {
    this.#settings = { ...this.#settings, tls };
    for (const worker of this.#workers) sendMessage(worker, { kind: "tls", tls });
  }

  async close(graceMs: number): Promise<void> {
    this.#stopping = true;
    const ends = [...this.#workers].map((worker) => {
      const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
      const kill = setTimeout(() => worker.kill("SIGKILL"), graceMs + KILL_AFTER_MS);
      sendMessage(worker, { kind: "stop", graceMs });
      return ended.finally(() => clearTimeout(kill));
    });
    await Promise.all(ends);
  }

  #take(worker: Worker, message: FromWorker): void {
    if (message.kind === "report") {
      this.#report(message.message);
    } else if (message.kind === "counted") {
      this.#counted.set(worker, message.counters);
      this.#collections.get(message.id)?.(worker);
    } else if (message.kind === "sum") {
      this.#counted.set(worker, message.counters);
      this.#collectWorkers(worker).then((counters) => {
        sendMessage(worker, { kind: "summed", id: message.id, counters: sumCounters([counters, this.#own()]) });
      });
    }
  }

  /**
   * The counters of all processes; `own` are those of this one. For a worker too busy to answer its last counters are
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
        for (const worker of missing) sendMessage(worker, { kind: "count", id });
      });
      this.#collections.delete(id);
    }
    return sumCounters([...this.#counted.values(), this.#lost]);
  }

  #forget(worker: Worker): void {
    this.#workers.delete(worker);
    const last = this.#counted.get(worker);
    this.#counted.delete(worker);
    if (last !== undefined) this.#lost = { ...sumCounters([this.#lost, last]), connections: 0, memory: {} };
  }

  #replace(how: string): void {
    this.#report(`a worker process ended with ${how}; starting another`);
    const again = (): void => {
      if (this.#stopping) return;
      this.#startOne().catch((error) => {
        this.#report(`${error instanceof Error ? error.message : String(error)}; trying again`);
        this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, MAX_RESTART_DELAY_MS);
        setTimeout(again, this.#restartDelayMs);
      });
    };
    setTimeout(again, this.#restartDelayMs);
  }
}

/** How to run this program again. An executable passes all arguments to the program; Node needs the script first. */
function thisProgram(): { exec: string; args: string[]; execArgv: string[] } {
  const [exec = "", ...args] = process.argv.slice(isSea() ? 2 : 1);
  return { exec, args, execArgv: isSea() ? [] : process.execArgv };
}
