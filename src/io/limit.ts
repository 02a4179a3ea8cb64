/**
 * Work that runs side by side, a few pieces at a time, and ends together: a failure aborts the siblings of the piece that failed,
 * and is thrown when all of them have ended. No work outlives the call, so whoever opened a file may close it afterwards.
 *
 * The signal goes with the work, however deep it calls: `currentSignal()` there is the one of the innermost call around it.
 * Whatever waits or moves bytes (requests, retries, copies, hashes) ends when it is aborted.
 */
import { AsyncLocalStorage } from "node:async_hooks";

const signals = new AsyncLocalStorage<AbortSignal | undefined>();

/** The signal that the calling work has to end by; undefined where nobody gave one. */
export function currentSignal(): AbortSignal | undefined {
  return signals.getStore();
}

/** A place where work may end. @throws the signal's reason once it is aborted */
export function throwIfAborted(): void {
  currentSignal()?.throwIfAborted();
}

/** Runs `work` under a signal, beside the one that it would have anyway. */
export function runUnder<R>(signal: AbortSignal, work: () => Promise<R>): Promise<R> {
  const outer = currentSignal();
  return signals.run(outer === undefined ? signal : AbortSignal.any([outer, signal]), work);
}

/** Runs `work` to its end whatever is aborted around it: for what leaves things in order. */
export function runToEnd<R>(work: () => Promise<R>): Promise<R> {
  return signals.run(undefined, work);
}

/**
 * Calls `work` for every item, at most `limit` at once, started in order. After the first failure nothing new is started and what
 * runs is aborted; when all of it has ended, that failure is thrown. Likewise, with the signal's reason, when the caller's own
 * signal is aborted. The reason that siblings see is an AbortError, never somebody else's failure.
 */
export async function eachLimited<T>(
  items: Iterable<T>,
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const stop = new AbortController();
  let failure: { error: unknown } | undefined;
  const lane = async () => {
    while (failure === undefined && currentSignal()?.aborted !== true) {
      const next = iterator.next();
      if (next.done) return;
      try {
        await work(next.value);
      } catch (error) {
        failure ??= { error };
        stop.abort();
      }
    }
  };
  await runUnder(stop.signal, () => Promise.all(Array.from({ length: Math.max(1, limit) }, lane)));
  if (failure !== undefined) throw failure.error;
  throwIfAborted();
}

/** Like {@link eachLimited}, with the results in the items' order. */
export async function mapLimited<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  await eachLimited(items.entries(), Math.min(limit, items.length), async ([index, item]) => {
    results[index] = await work(item, index);
  });
  return results;
}
