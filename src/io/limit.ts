/**
 * Structured concurrency: runs several pieces of work at once that end together. A failure aborts the siblings of the
 * failed piece, and is thrown when all of them have ended. No work outlives the call, so callers may close their files
 * afterwards.
 *
 * The signal is available at any call depth: `currentSignal()` returns that of the innermost enclosing call. Everything
 * that waits or moves bytes (requests, retries, copies, hashes) ends when it is aborted.
 */
import { AsyncLocalStorage } from "node:async_hooks";

const signals = new AsyncLocalStorage<AbortSignal | undefined>();

/** The signal of the calling work; undefined if there is none. */
export function currentSignal(): AbortSignal | undefined {
  return signals.getStore();
}

/** A point where work may end. @throws the signal's reason once it is aborted */
export function throwIfAborted(): void {
  currentSignal()?.throwIfAborted();
}

/** Runs `work` under an additional signal. */
export function runUnder<R>(signal: AbortSignal, work: () => Promise<R>): Promise<R> {
  const outer = currentSignal();
  return signals.run(outer === undefined ? signal : AbortSignal.any([outer, signal]), work);
}

/** Runs `work` to its end even if the surrounding work is aborted: for cleanup. */
export function runToEnd<R>(work: () => Promise<R>): Promise<R> {
  return signals.run(undefined, work);
}

/**
 * Calls `work` for every item, at most `limit` at once, started in order. After the first failure nothing new is
 * started and running work is aborted; when all of it has ended, that failure is thrown. The same happens, with the
 * signal's reason, when the caller's own signal is aborted. Siblings see an AbortError, never another item's failure.
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
