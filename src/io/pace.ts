/**
 * How long parsers may hold the main thread: those that can pause do so every 50 ms, so that a signal is heeded at once, and
 * stop for good after a time that no honest input needs. What cannot pause runs in a thread (parser-thread.ts).
 */
import { setImmediate } from "node:timers/promises";
import { throwIfAborted } from "./limit.ts";

/** The thread is given back after so long. */
const SLICE_MS = 50;
/** Of the parser's own work, not of waiting: the largest real metadata takes a tenth of it on a slow machine. */
const MAX_PARSE_MS = 5 * 60_000;

/** One parser's turns. */
export class Pace {
  readonly #tooLong: () => Error;
  #since = performance.now();
  #spentMs = 0;

  /** @param tooLong makes the error for input that takes more time than any honest one */
  constructor(tooLong: (fault: string) => Error) {
    this.#tooLong = () => tooLong(`it takes more than ${MAX_PARSE_MS / 60_000} minutes to read`);
  }

  /** To be asked after every piece of work of a few milliseconds; when true, {@link rest} is due. */
  get isDue(): boolean {
    return performance.now() - this.#since > SLICE_MS;
  }

  /** Lets signals and other work through. @throws the reason when the work that it parses for is aborted (limit.ts) */
  async rest(): Promise<void> {
    this.#spentMs += performance.now() - this.#since;
    if (this.#spentMs > MAX_PARSE_MS) throw this.#tooLong();
    await setImmediate();
    throwIfAborted();
    this.#since = performance.now();
  }

  /** Waits for something else, whose time is not the parser's. */
  async wait<T>(work: Promise<T>): Promise<T> {
    this.#spentMs += performance.now() - this.#since;
    try {
      return await work;
    } finally {
      this.#since = performance.now();
    }
  }
}

/** Runs work that yields wherever it may pause, with pauses. */
export async function inTurns<T>(work: Generator<void, T>, pace: Pace): Promise<T> {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    if (pace.isDue) await pace.rest();
  }
}

/** Runs the same without a pause, for little of it. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}
