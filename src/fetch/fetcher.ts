/**
 * The fetch engine: the only way to upstream. Combines the parts of this folder behind the `Fetcher` of types.ts;
 * docs/fetch.md describes its behaviour towards upstreams.
 */

import { homedir } from "node:os";
import { join } from "node:path";
import { Agents } from "../http/agents.ts";
import { Credentials } from "../http/credentials.ts";
import { dnsLookup, type Lookup, resolveBy } from "../http/guarded-lookup.ts";
import { HostLimits } from "../http/hosts.ts";
import type { ProxyEnv } from "../http/proxy.ts";
import type { Rewrite } from "../http/rewrite.ts";
import type { Opened } from "../http/send-request.ts";
import { Transport } from "../http/transport.ts";
import { Watchdog } from "../http/watchdog.ts";
import { currentSignal } from "../io/limit.ts";
import { redactUrl } from "../io/redact.ts";
import type { HostCredentials } from "../manifest/schema.ts";
import { integrityFault } from "./check-integrity.ts";
import { downloadInto, type Engine } from "./download.ts";
import { headOf } from "./head.ts";
import { MemorySink } from "./memory-sink.ts";
import type { FetchEvent, FetchedBytes, Fetcher } from "./types.ts";

export interface FetcherOptions {
  /** URL prefixes or registry hosts to request elsewhere. */
  rewrites?: readonly Rewrite[];
  /** Concurrent requests to one host (default 6). */
  concurrency?: number;
  /** Concurrent requests to all hosts (default 16, or `concurrency` if larger). */
  totalConcurrency?: number;
  /** Credentials by host or host:port, as in the manifest. */
  hosts?: Record<string, HostCredentials>;
  /** Folder that the paths in `hosts` are relative to (default: the working directory). */
  baseDir?: string;
  /** Path of the netrc file; default $NETRC, else ~/.netrc; false: none. */
  netrc?: string | false;
  /** PEM file with more CAs to trust for every host. */
  caFile?: string;
  /** The same as PEM text. */
  ca?: string;
  /** Environment for proxies and the variables of `hosts` (default: process.env). */
  env?: ProxyEnv;
  /** Failures in a row per mirror before it is given up (default 5). */
  retries?: number;
  /** Delay after a first failure (default 500 ms), doubling up to 30 s. */
  backoffMs?: number;
  /** Longest Retry-After to wait for (default 120 s). */
  maxRetryAfterMs?: number;
  /** A transfer without a byte for this long is aborted and resumed (default 30 s). */
  stallTimeoutMs?: number;
  /** Bytes per second below which, over the stall time, a transfer counts as stalled (default 1000). */
  minimumRate?: number;
  /** Concurrent requests for one file of 8 MiB or more of known size, if upstream supports ranges (default 1). */
  segments?: number;
  /** How host names are resolved (default: by the system). */
  lookup?: Lookup;
  /** Allows public hosts to redirect to private networks and to this host. */
  allowPrivateRedirects?: boolean;
  /** Every URL in an event is redacted. */
  onEvent?: (event: FetchEvent) => void;
}

/** Creates a fetcher. Opens no connection before the first request; the caller closes it. */
export function createFetcher(options: FetcherOptions = {}): Fetcher {
  // Every look into the environment itself is a call of the system's library: thousands of requests have several each.
  const env = options.env ?? { ...process.env };
  const perHost = options.concurrency ?? 6;
  const watchdog = new Watchdog(options.stallTimeoutMs ?? 30_000, options.minimumRate ?? 1000);
  const agents = new Agents({ caFile: options.caFile, ca: options.ca });
  const netrc = options.netrc ?? env.NETRC ?? join(homedir(), ".netrc");
  const engine: Engine = {
    transport: new Transport(watchdog, options.lookup),
    agents,
    credentials: new Credentials({
      env,
      ...(options.hosts && { hosts: options.hosts }),
      ...(options.baseDir !== undefined && { baseDir: options.baseDir }),
      ...(netrc !== false && { netrc }),
    }),
    limits: new HostLimits(perHost, options.totalConcurrency ?? Math.max(16, perHost)),
    rewrites: options.rewrites ?? [],
    proxyEnv: env,
    resolve: resolveBy(options.lookup ?? dnsLookup),
    allowPrivateRedirects: options.allowPrivateRedirects ?? false,
    retries: options.retries ?? 5,
    backoff: { baseMs: options.backoffMs ?? 500, maxMs: 30_000, maxRetryAfterMs: options.maxRetryAfterMs ?? 120_000 },
    onEvent: options.onEvent,
    segments: Math.min(options.segments ?? 1, perHost),
  };
  const closed = new AbortController();
  const running = new Set<Promise<unknown>>();
  // Thousands of requests belong to one piece of work.
  const ends = new WeakMap<AbortSignal, AbortSignal>();
  const endOf = (work: AbortSignal | undefined): AbortSignal => {
    if (work === undefined) return closed.signal;
    const known = ends.get(work) ?? AbortSignal.any([closed.signal, work]);
    ends.set(work, known);
    return known;
  };
  /** Aborted with the surrounding work, by the caller, and with the fetcher. */
  const run = <R>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<R>): Promise<R> => {
    const around = endOf(currentSignal());
    const done = work(signal === undefined ? around : AbortSignal.any([around, signal]));
    running.add(done);
    const end = () => running.delete(done);
    done.then(end, end);
    return done;
  };
  return {
    head: (target, signal) => run(signal, (it) => headOf(engine, target, it)),
    fetchBytes: (target, signal) => run(signal, (it) => fetchBytes(engine, target, it)),
    fetchInto: (target, sink, signal) => run(signal, (it) => downloadInto(engine, { ...target, signal: it }, sink)),
    async close() {
      closed.abort();
      await Promise.allSettled(running);
      watchdog.close();
      agents.close();
    },
  };
}

async function fetchBytes(
  engine: Engine,
  target: Parameters<Fetcher["fetchBytes"]>[0],
  signal: AbortSignal | undefined,
): Promise<FetchedBytes> {
  const sink = new MemorySink();
  let last: Opened | undefined;
  const { integrity } = target;
  const head = await downloadInto(
    engine,
    {
      ...target,
      signal,
      check(opened, pieced) {
        last = opened;
        return integrity === undefined ? undefined : integrityFault(opened.url, sink.bytes(), integrity, pieced);
      },
    },
    sink,
  );
  const { asked, exchange } = last as Opened;
  return {
    ...head,
    bytes: sink.bytes(),
    askedUrl: redactUrl(asked),
    status: exchange.status,
    headers: exchange.headers,
  };
}
