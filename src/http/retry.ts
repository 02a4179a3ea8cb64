/**
 * When to try again, and after how long: exponential backoff with jitter, Retry-After in seconds or as HTTP date, both
 * capped. RFC 9110 sections 10.2.3 and 5.6.7. No I/O.
 */
import { setTimeout as delay } from "node:timers/promises";

/** Statuses that another attempt may change. */
const TRANSIENT_STATUS = new Set([408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529]);

/** Returns whether a status is worth another attempt at the same URL. */
export function isTransientStatus(status: number): boolean {
  return TRANSIENT_STATUS.has(status);
}

/** Milliseconds of a Retry-After header; undefined when it is absent or invalid. */
export function parseRetryAfter(value: string | undefined, now = Date.now()): number | undefined {
  const text = value?.trim();
  if (!text) return undefined;
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000;
  // Date.parse accepts almost anything; all three forms begin with the day of the week.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) return undefined;
  // The asctime form of HTTP dates names no zone and means UTC.
  const date = Date.parse(/(GMT|UTC|Z|[+-]\d{4})$/.test(text) ? text : `${text} GMT`);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

export interface Backoff {
  /** Delay after the first failure, in milliseconds; doubles with each further one. */
  baseMs: number;
  /** Longest delay without Retry-After. */
  maxMs: number;
  /** Longest Retry-After to wait for; a longer one is reduced to this. */
  maxRetryAfterMs: number;
}

/** Milliseconds to wait after the n-th failure in a row (from 1). Jitter only lengthens the server's delay. */
export function backoffMs(failures: number, retryAfterMs: number | undefined, backoff: Backoff): number {
  const own = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(failures - 1, 20));
  const jittered = own * (0.5 + Math.random() / 2);
  if (retryAfterMs === undefined) return jittered;
  const asked = Math.min(retryAfterMs, backoff.maxRetryAfterMs);
  return asked + Math.min(jittered, 0.1 * asked);
}

/** Sleeps; an abort rejects with the signal's reason. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await delay(ms, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
}
