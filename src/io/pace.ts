/**
 * How long parsers may hold the main thread: those that can pause do so every 50 ms, so that a signal is handled at
 * once, and stop after a time that no honest input needs. Those that cannot pause run in a thread (parser-thread.ts).
 */
import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "./limit.ts";

/** Time after which the thread is released. */
const SLICE_MS = 50;
/** Covers the parser's own work, not waiting: the largest real metadata takes a tenth of it on a slow machine. */
const MAX_PARSE_MS = 5 * 60_000;

/** One parser's turns. */
export class Pace {
  readonly #tooLong: () => Error;
  #since = performance.now();
  #spentMs = 0;

  /** @param tooLong creates the error for input that takes too long */
  constructor(tooLong: (fault: string) => Error) {
    this.#tooLong = () => tooLong(`it takes more than ${MAX_PARSE_MS / 60_000} minutes to read`);
  }

  /** Call it after every few milliseconds of work; when true, {@link rest} is due. */
  get isDue(): boolean {
    return performance.now() - this.#since > SLICE_MS;
  }

  /** Lets signals and other work run. @throws the reason when the surrounding work is aborted (limit.ts) */
  async rest(): Promise<void> {
    this.#spentMs += performance.now() - this.#since;
    if (this.#spentMs > MAX_PARSE_MS) throw this.#tooLong();
    await setImmediate();
    throwIfAborted();
    this.#since = performance.now();
  }

  /** Waits for something whose time does not count as the parser's. */
  async wait<T>(work: Promise<T>): Promise<T> {
    this.#spentMs += performance.now() - this.#since;
    try {
      return await work;
    } finally {
      this.#since = performance.now();
    }
  }
}

/** Runs work that yields where it may pause, with pauses. */
export async function inTurns<T>(work: Generator<void, T>, pace: Pace): Promise<T> {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    if (pace.isDue) await pace.rest();
  }
}

/** The same without pauses, for small work. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}
