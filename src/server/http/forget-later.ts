/** What could not be read is tried again: it may have been repaired meanwhile. */

/** Not with every request: whoever asks often must not make the server read a large damaged file each time. */
export const RETRY_MS = 10_000;

/** Forgets what is known of `key`, which failed, when it is time for another attempt. */
export function forgetLater<K extends object>(known: WeakMap<K, unknown>, key: K): void {
  setTimeout(() => known.delete(key), RETRY_MS).unref();
}
