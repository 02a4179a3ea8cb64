/**
 * The turns of one request at the hosts that it is redirected to. While it waits for one it holds none, so that no two
 * requests can wait for each other.
 */
import type { HostLimits } from "./hosts.ts";

export class Turns {
  readonly #limits: HostLimits;
  readonly #signal: AbortSignal | undefined;
  #kept: { origin: string; release: () => void } | undefined;

  constructor(limits: HostLimits, signal: AbortSignal | undefined) {
    this.#limits = limits;
    this.#signal = signal;
  }

  /** The turn for the next hop: the kept one, an additional free one, or one to wait for. */
  async take(origin: string): Promise<() => void> {
    if (this.#kept?.origin === origin) {
      const { release } = this.#kept;
      this.#kept = undefined;
      return release;
    }
    const beside = this.#kept && this.#limits.enterBeside(origin);
    if (beside !== undefined) return beside;
    this.drop();
    return this.#limits.enter(origin, this.#signal);
  }

  /** Keeps a turn that is needed again soon, after hops to other hosts. */
  keep(origin: string, release: () => void): void {
    this.drop();
    this.#kept = { origin, release };
  }

  /** Returns the kept turn. */
  drop(): void {
    this.#kept?.release();
    this.#kept = undefined;
  }
}
