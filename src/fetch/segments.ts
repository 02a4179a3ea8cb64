/**
 * Fetches one large file with several concurrent requests, passed on in order: the sink only appends, and its content
 * is always a prefix that any later run can resume. Memory is one segment per request.
 */

/** Bytes per request. */
export const SEGMENT_BYTES = 4 * 1024 * 1024;

/**
 * Fetches [from, size) in pieces, at most `ahead` at once, and writes them in order. The first failure stops the others
 * and is thrown; everything before it has been written.
 */
export async function inSegments(options: {
  from: number;
  size: number;
  ahead: number;
  /** Returns exactly the bytes [from, to). */
  fetch: (from: number, to: number, signal: AbortSignal) => Promise<Uint8Array>;
  write: (bytes: Uint8Array) => Promise<void>;
  signal?: AbortSignal | undefined;
  segmentBytes?: number;
}): Promise<void> {
  const { from, size, ahead, fetch, write, segmentBytes = SEGMENT_BYTES } = options;
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const running: Promise<Uint8Array>[] = [];
  let next = from;
  const start = () => {
    const to = Math.min(next + segmentBytes, size);
    const segment = fetch(next, to, signal);
    // Requests that are no longer awaited may fail silently.
    segment.catch(() => {});
    running.push(segment);
    next = to;
  };
  try {
    while (next < size && running.length < ahead) start();
    while (running.length > 0) {
      const bytes = await running[0];
      running.shift();
      if (next < size) start();
      await write(bytes as Uint8Array);
    }
  } finally {
    stop.abort();
    await Promise.allSettled(running);
  }
}
