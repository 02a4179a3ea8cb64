/**
 * Which mirror to try next, and when to give up. A mirror that fails permanently is excluded; one that fails
 * temporarily waits for its backoff while the others are tried. An attempt that delivered new bytes neither counts nor
 * backs off.
 */
import { AirferryError, type Problem } from "../errors.ts";
import { AttemptFailure } from "../http/failure.ts";
import { type Backoff, backoffMs, sleep } from "../http/retry.ts";
import { redactUrl } from "../io/redact.ts";
import { withOtherMirrors } from "./faults.ts";
import type { FetchEvent } from "./types.ts";

/** An attempt that delivered less than this is a crumb … */
const CRUMB_BYTES = 64 * 1024;
/** … and this many of them mean that upstream makes no real progress. */
const MAX_CRUMBS = 10_000;
/** Changes of upstream after which there is no progress. */
const MAX_CHANGES = 3;
/** Consecutive dead keep-alive connections before it counts as a failure. */
const MAX_FREE = 8;

export interface Mirror {
  url: string;
  /** Consecutive. */
  failures: number;
  notBefore: number;
  /** Set when it is excluded. */
  fault?: AttemptFailure;
  last?: AttemptFailure;
  /** It answered ranges wrongly: only whole bodies from here on. */
  wholeOnly: boolean;
}

interface MirrorOptions {
  /** Consecutive failures per mirror before it is excluded. */
  retries: number;
  backoff: Backoff;
  signal?: AbortSignal | undefined;
  onEvent?: ((event: FetchEvent) => void) | undefined;
  /** Bytes in place, to detect progress. */
  position(): number;
  /** The received bytes cannot be trusted. */
  distrust(): Promise<void>;
  /** How often upstream changed: progress restarts from 0 a few times. */
  changes?(): number;
}

/**
 * Runs `attempt` on one mirror after the other until one succeeds.
 * @throws {AirferryError} of the only mirror, or one that lists all of them; any other error of `attempt`, at once
 */
export async function tryMirrors<T>(
  urls: readonly string[],
  options: MirrorOptions,
  attempt: (mirror: Mirror, count: number) => Promise<T>,
): Promise<T> {
  if (urls.length === 0) throw new AirferryError("ERR_INTERNAL", "cannot fetch anything: no URL given");
  const mirrors: Mirror[] = urls.map((url) => ({ url, failures: 0, notBefore: 0, wholeOnly: false }));
  let current = mirrors[0] as Mirror;
  let highWater = options.position();
  let crumbs = 0;
  let free = 0;
  let changes = 0;
  for (let count = 1; ; count++) {
    options.signal?.throwIfAborted();
    let failure: AttemptFailure;
    try {
      return await attempt(current, count);
    } catch (error) {
      if (!(error instanceof AttemptFailure)) throw error;
      failure = error;
    }
    current.last = failure;
    const position = options.position();
    const seen = options.changes?.() ?? 0;
    const fresh = seen > changes && seen <= MAX_CHANGES;
    changes = seen;
    if (fresh) highWater = 0;
    const gained = position - highWater;
    highWater = Math.max(highWater, position);
    if (failure.distrust) {
      if (position > 0) await options.distrust();
      if (fresh) highWater = 0;
    }
    let delayMs = 0;
    if (!failure.transient) current.fault = failure;
    else if (failure.free && ++free <= MAX_FREE) {
      // A server may close a keep-alive connection at any time: that is not a failure.
    } else if (
      gained > 0 &&
      !failure.distrust &&
      (gained >= CRUMB_BYTES || (!failure.stalled && ++crumbs <= MAX_CRUMBS))
    ) {
      current.failures = 0;
      free = 0;
    } else if (++current.failures > Math.min(options.retries, failure.retries ?? options.retries))
      current.fault = failure;
    else if (!(failure.stalled && gained > 0)) {
      delayMs = backoffMs(current.failures, failure.retryAfterMs, options.backoff);
    }
    current.notBefore = Date.now() + delayMs;
    const next = choose(mirrors, current);
    if (next === undefined) throw summary(mirrors, failure);
    const waitMs = Math.max(0, Math.round(next.notBefore - Date.now()));
    options.onEvent?.({
      type: next === current ? "retry" : "failover",
      url: redactUrl(next.url),
      bytes: options.position(),
      attempt: count + 1,
      delayMs: waitMs,
      reason: failure.message,
    });
    if (waitMs > 0) await sleep(waitMs, options.signal);
    current = next;
  }
}

/** The same one while it makes progress; else the first one available, in the given order. */
function choose(mirrors: readonly Mirror[], current: Mirror): Mirror | undefined {
  const alive = mirrors.filter((it) => it.fault === undefined);
  if (alive.includes(current) && current.failures === 0) return current;
  const now = Date.now();
  const ready = alive.filter((it) => it.notBefore <= now);
  if (ready.length > 0) return ready.reduce((best, it) => (score(it) < score(best) ? it : best));
  return alive.length === 0 ? undefined : alive.reduce((best, it) => (it.notBefore < best.notBefore ? it : best));
}

function score(mirror: Mirror): number {
  return mirror.failures + (mirror.wholeOnly ? 0.5 : 0);
}

/** One error for all mirrors. A temporary failure outweighs a permanent one: "not found" only if no mirror has it. */
function summary(mirrors: readonly Mirror[], last: AttemptFailure): AirferryError {
  if (mirrors.length === 1) return last.error;
  const faults = mirrors.map((it) => it.fault ?? (it.last as AttemptFailure));
  const main = faults.find((it) => it.transient) ?? (faults[0] as AttemptFailure);
  const problems: Problem[] = faults.map((it, i) => ({
    code: it.error.code,
    path: redactUrl((mirrors[i] as Mirror).url),
    message: it.error.message,
  }));
  return withOtherMirrors(main.error, problems);
}
