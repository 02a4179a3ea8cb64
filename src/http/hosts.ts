/**
 * Limits concurrent requests to one host and to all hosts, in request order. A 429 halves a host's share and delays all
 * requests as long as it says; good responses raise it again one by one.
 */
import { sleep } from "./retry.ts";

/** Good responses that raise a lowered limit by one. */
const RECOVER_AFTER = 20;

interface Host {
  limit: number;
  active: number;
  good: number;
  /** No request before this time (Date.now). */
  notBefore: number;
  queue: (() => void)[];
}

export class HostLimits {
  readonly #perHost: number;
  readonly #total: number;
  readonly #hosts = new Map<string, Host>();
  #active = 0;

  constructor(perHost: number, total: number) {
    this.#perHost = perHost;
    this.#total = total;
  }

  /**
   * Waits for a turn at a host (an origin) and returns the function that gives it back; calling it twice does nothing.
   */
  async enter(origin: string, signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    const host = this.#host(origin);
    if (host.active < host.limit && this.#active < this.#total) this.#take(host);
    else await this.#queued(host, signal);
    const leave = this.#leave(host, true);
    try {
      for (let wait = host.notBefore - Date.now(); wait > 0; wait = host.notBefore - Date.now())
        await sleep(wait, signal);
    } catch (error) {
      leave();
      throw error;
    }
    return leave;
  }

  /**
   * A turn at a host for a caller who holds an idle one at another host; undefined unless one is free at once. Counts
   * only for its host.
   */
  enterBeside(origin: string): (() => void) | undefined {
    const host = this.#host(origin);
    if (host.active >= host.limit || host.notBefore > Date.now()) return undefined;
    host.active++;
    return this.#leave(host, false);
  }

  #leave(host: Host, isCounted: boolean): () => void {
    let left = false;
    return () => {
      if (left) return;
      left = true;
      host.active--;
      if (isCounted) this.#active--;
      this.#wake();
    };
  }

  #take(host: Host): void {
    host.active++;
    this.#active++;
  }

  /** The host said 429, or 503 with Retry-After: fewer at once, and none before that time is over. */
  slowDown(origin: string, retryAfterMs: number): void {
    const host = this.#host(origin);
    host.limit = Math.max(1, Math.floor(host.limit / 2));
    host.good = 0;
    host.notBefore = Math.max(host.notBefore, Date.now() + retryAfterMs);
  }

  /** A good response. */
  speedUp(origin: string): void {
    const host = this.#host(origin);
    if (host.limit >= this.#perHost || ++host.good < RECOVER_AFTER) return;
    host.good = 0;
    host.limit++;
    this.#wake();
  }

  /** The current limit of a host. */
  limitOf(origin: string): number {
    return this.#host(origin).limit;
  }

  #host(origin: string): Host {
    let host = this.#hosts.get(origin);
    if (host === undefined) {
      host = { limit: this.#perHost, active: 0, good: 0, notBefore: 0, queue: [] };
      this.#hosts.set(origin, host);
    }
    return host;
  }

  #queued(host: Host, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      };
      const abort = () => {
        host.queue.splice(host.queue.indexOf(turn), 1);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      host.queue.push(turn);
    });
  }

  /** Gives free places to waiting requests; the place is reserved for them, so no other can take it in between. */
  #wake(): void {
    for (const host of this.#hosts.values()) {
      while (host.queue.length > 0 && host.active < host.limit && this.#active < this.#total) {
        this.#take(host);
        host.queue.shift()?.();
      }
    }
  }
}
