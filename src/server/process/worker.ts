/**
 * One worker thread of a server: serves with the settings that it was started with, and ends on request. See
 * workers.ts.
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import type { CacheAnswer, CacheOrder } from "../../cache/types.ts";
import { AirferryError, bug } from "../../errors.ts";
import type { Digest } from "../../io/digest.ts";
import type { StoreSource } from "../../store/bundle-store.ts";
import type { ReleaseFeed } from "../../store/fed-store.ts";
import type { StoreReader } from "../../store/types.ts";
import type { Counters } from "./counters.ts";
import type { IndexOrder } from "./index-maker.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { type SiteSettings, startSite } from "./site.ts";

type Cached = Extract<ToWorker, { kind: "cached" }>;
type Released = Extract<ToWorker, { kind: "releases" }>;
type Indexed = Extract<ToWorker, { kind: "indexed" }>;

const COUNT_INTERVAL_MS = 2000;
const SUM_TIMEOUT_MS = 1000;

/** Serves under control of the first thread. Resolves when this one has stopped serving and has nothing left to do. */
export async function runWorker(
  openStore: (source: StoreSource, feed: ReleaseFeed) => Promise<StoreReader>,
): Promise<void> {
  const port = parentPort ?? bug("a worker that nobody started");
  const send = (message: FromWorker): void => port.postMessage(message);
  const sums = new SumRequests(port);
  const indexes = new IndexRequests(port);
  const cache = new CacheRequests(port);
  const releases = new ReleaseRequests(port);
  const starting = startSite(workerData as SiteSettings, {
    openStore: (source) => openStore(source, (known) => releases.ask(known)),
    collect: (own) => sums.ask(own),
    makeIndex: (order) => indexes.ask(order),
    askCache: (order) => cache.ask(order),
    noteWanted: (batch) => send({ kind: "wanted", batch }),
    noteOrigins: (origins) => send({ kind: "origins", origins }),
    report: (message) => send({ kind: "report", message }),
  });
  starting.then(() => send({ kind: "ready" }), fail);
  const stopped = new Promise<void>((resolve) => {
    port.on("message", (message: ToWorker) => {
      if (message.kind === "summed") sums.answer(message.id, message.counters);
      else if (message.kind === "indexed") indexes.answer(message);
      else if (message.kind === "cached") cache.answer(message);
      else if (message.kind === "releases") releases.answer(message);
      else
        starting.then((site) => {
          if (message.kind === "tls") site.setTls(message.tls);
          else if (message.kind === "look") site.look();
          else if (message.kind === "reopenLog") site.reopenLog();
          else if (message.kind === "count") send({ kind: "counted", id: message.id, counters: site.counters() });
          else site.close(message.graceMs).finally(resolve);
        }, resolve);
    });
  });
  // This thread's counters must outlive it.
  const count = setInterval(
    () =>
      starting.then(
        (site) => send({ kind: "counted", id: 0, counters: site.counters() }),
        () => {},
      ),
    COUNT_INTERVAL_MS,
  ).unref();
  await stopped;
  clearInterval(count);
  port.close();

  function fail(error: unknown): void {
    const known = error instanceof AirferryError ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    send({ kind: "failed", code: known?.code ?? "ERR_INTERNAL", message, hint: known?.hint });
  }
}

/** Pending requests for the total counters. */
class SumRequests {
  #last = 0;
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (counters: Counters) => void>();

  constructor(port: MessagePort) {
    this.#port = port;
  }

  /** Asks the first thread; if it is slow, returns this thread's own counters. */
  ask(own: Counters): Promise<Counters> {
    this.#last++;
    const id = this.#last;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.answer(id, own), SUM_TIMEOUT_MS);
      this.#waiting.set(id, (counters) => {
        clearTimeout(timer);
        resolve(counters);
      });
      this.#port.postMessage({ kind: "sum", id, counters: own } satisfies FromWorker);
    });
  }

  answer(id: number, counters: Counters): void {
    this.#waiting.get(id)?.(counters);
    this.#waiting.delete(id);
  }
}

/** Indexes of packages that the first thread makes for all. */
class IndexRequests {
  #last = 0;
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (answer: Indexed) => void>();

  constructor(port: MessagePort) {
    this.#port = port;
  }

  async ask(order: IndexOrder): Promise<Uint8Array | undefined> {
    this.#last++;
    const id = this.#last;
    const { bytes, fault } = await new Promise<Indexed>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#port.postMessage({ kind: "index", id, order } satisfies FromWorker);
    });
    if (fault !== undefined) throw new Error(fault);
    return bytes;
  }

  answer(answer: Indexed): void {
    this.#waiting.get(answer.id)?.(answer);
    this.#waiting.delete(answer.id);
  }
}

/** What the first thread is asked of the releases that it reads for all. */
class ReleaseRequests {
  #last = 0;
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (answer: Released) => void>();

  constructor(port: MessagePort) {
    this.#port = port;
  }

  async ask(known: readonly Digest[]): Promise<Released["releases"]> {
    this.#last++;
    const id = this.#last;
    const { releases } = await new Promise<Released>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#port.postMessage({ kind: "releases", id, known } satisfies FromWorker);
    });
    return releases;
  }

  answer(answer: Released): void {
    this.#waiting.get(answer.id)?.(answer);
    this.#waiting.delete(answer.id);
  }
}

/** Orders to the thread that fills the cache. */
class CacheRequests {
  #last = 0;
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (answer: Cached) => void>();

  constructor(port: MessagePort) {
    this.#port = port;
  }

  async ask(order: CacheOrder): Promise<CacheAnswer> {
    this.#last++;
    const id = this.#last;
    const { answer, fault } = await new Promise<Cached>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#port.postMessage({ kind: "cache", id, order } satisfies FromWorker);
    });
    if (fault !== undefined) throw new AirferryError(fault.code, fault.message, { hint: fault.hint });
    return answer;
  }

  answer(answer: Cached): void {
    this.#waiting.get(answer.id)?.(answer);
    this.#waiting.delete(answer.id);
  }
}
