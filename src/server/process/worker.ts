/**
 * One worker process of a server: waits for its settings, serves, and ends on request. See cluster.ts.
 */
import cluster from "node:cluster";
import { AirferryError } from "../../errors.ts";
import type { StoreReader } from "../../store/types.ts";
import type { Counters } from "./counters.ts";
import { sendMessage, type ToWorker } from "./messages.ts";
import { type Site, startSite } from "./site.ts";

const COUNT_INTERVAL_MS = 2000;
const SUM_TIMEOUT_MS = 1000;

/**
 * Serves under control of the first process. Resolves when this process has stopped serving and has nothing left to do.
 */
export async function runWorker(openStore: (dir: string) => Promise<StoreReader>): Promise<void> {
  // A Ctrl-C reaches the whole process group, but the first process decides when workers stop.
  process.on("SIGINT", ignore);
  process.on("SIGTERM", ignore);
  const sums = new SumRequests();
  let site: Site | undefined;

  await new Promise<void>((stopped) => {
    process.on("message", (message: ToWorker) => {
      if (message.kind === "start") {
        start(message).catch(fail);
      } else if (message.kind === "tls") {
        site?.setTls(message.tls);
      } else if (message.kind === "count") {
        if (site !== undefined) sendMessage(process, { kind: "counted", id: message.id, counters: site.counters() });
      } else if (message.kind === "summed") {
        sums.answer(message.id, message.counters);
      } else {
        (site?.close(message.graceMs) ?? Promise.resolve()).then(stopped, stopped);
      }
    });

    async function start({ settings }: { settings: Parameters<typeof startSite>[0] }): Promise<void> {
      site = await startSite(settings, {
        openStore,
        collect: (own) => sums.ask(own),
        report: (message) => sendMessage(process, { kind: "report", message }),
      });
      sendMessage(process, { kind: "ready" });
      const { counters } = site;
      // This process's counters must outlive it.
      setInterval(
        () => sendMessage(process, { kind: "counted", id: 0, counters: counters() }),
        COUNT_INTERVAL_MS,
      ).unref();
    }

    function fail(error: unknown): void {
      const known = error instanceof AirferryError ? error : undefined;
      const message = error instanceof Error ? error.message : String(error);
      sendMessage(process, { kind: "failed", code: known?.code ?? "ERR_INTERNAL", message, hint: known?.hint });
    }
  });
  cluster.worker?.disconnect();
}

function ignore(): void {}

/** Pending requests for the total counters. */
class SumRequests {
  #last = 0;
  readonly #waiting = new Map<number, (counters: Counters) => void>();

  /** Asks the first process; if it is slow, returns this process's own counters. */
  ask(own: Counters): Promise<Counters> {
    this.#last++;
    const id = this.#last;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.answer(id, own), SUM_TIMEOUT_MS);
      this.#waiting.set(id, (counters) => {
        clearTimeout(timer);
        resolve(counters);
      });
      sendMessage(process, { kind: "sum", id, counters: own });
    });
  }

  answer(id: number, counters: Counters): void {
    this.#waiting.get(id)?.(counters);
    this.#waiting.delete(id);
  }
}
