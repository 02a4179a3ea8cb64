/**
 * Detects stalled and very slow transfers: no byte for the stall time, or less than the minimum rate over a whole
 * window of that length. Time spent writing locally does not count. One timer serves all transfers.
 */

import { formatBytes } from "../io/format.ts";

export interface Watch {
  /** Bytes arrived. */
  bytes(count: number): void;
  /** Headers have arrived: from now on the minimum rate applies too. */
  began(): void;
  /** True while this side is not reading. */
  pause(paused: boolean): void;
  end(): void;
}

class WatchedTransfer implements Watch {
  readonly #dog: Watchdog;
  readonly onStall: (reason: string) => void;
  readonly #stallMs: number;
  #last = Date.now();
  #windowStart = this.#last;
  #windowBytes = 0;
  #streaming = false;
  #paused = false;

  constructor(dog: Watchdog, onStall: (reason: string) => void, stallMs: number) {
    this.#dog = dog;
    this.onStall = onStall;
    this.#stallMs = stallMs;
  }

  bytes(count: number): void {
    this.#last = Date.now();
    this.#windowBytes += count;
  }

  began(): void {
    this.#streaming = true;
    this.#reset(Date.now());
  }

  pause(paused: boolean): void {
    this.#paused = paused;
    if (!paused) this.#reset(Date.now());
  }

  end(): void {
    this.#dog.forget(this);
  }

  #reset(now: number): void {
    this.#last = now;
    this.#windowStart = now;
    this.#windowBytes = 0;
  }

  /** Returns why this transfer counts as stalled, or undefined. */
  check(now: number, minimumRate: number): string | undefined {
    const stallMs = this.#stallMs;
    if (this.#paused) return undefined;
    const seconds = (ms: number) => `${Math.round(ms / 100) / 10} s`;
    if (now - this.#last >= stallMs) return `no byte for ${seconds(now - this.#last)}`;
    const elapsed = now - this.#windowStart;
    if (elapsed < stallMs) return undefined;
    if (this.#streaming && this.#windowBytes < (minimumRate * elapsed) / 1000) {
      return `too slow: ${formatBytes(this.#windowBytes)} in ${seconds(elapsed)}`;
    }
    this.#windowStart = now;
    this.#windowBytes = 0;
    return undefined;
  }
}

export class Watchdog {
  readonly #stallMs: number;
  readonly #minimumRate: number;
  readonly #transfers = new Set<WatchedTransfer>();
  #timer: NodeJS.Timeout | undefined;

  /** `minimumRate` in bytes per second. */
  constructor(stallMs: number, minimumRate: number) {
    this.#stallMs = stallMs;
    this.#minimumRate = minimumRate;
  }

  /** Starts watching; `onStall` is called at most once. `stallMs`: if not the default. */
  watch(onStall: (reason: string) => void, stallMs = this.#stallMs): Watch {
    const transfer = new WatchedTransfer(this, onStall, stallMs);
    this.#transfers.add(transfer);
    this.#timer ??= setInterval(() => this.#tick(), Math.max(10, Math.min(1000, this.#stallMs / 4))).unref();
    return transfer;
  }

  forget(transfer: WatchedTransfer): void {
    this.#transfers.delete(transfer);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#transfers.clear();
  }

  #tick(): void {
    const now = Date.now();
    for (const transfer of this.#transfers) {
      const reason = transfer.check(now, this.#minimumRate);
      if (reason === undefined) continue;
      this.forget(transfer);
      transfer.onStall(reason);
    }
    if (this.#transfers.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
