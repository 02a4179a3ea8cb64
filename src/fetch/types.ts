/**
 * What the fetch engine promises its callers. Types only.
 */
import type { Authenticator } from "../http/authenticator.ts";
import type { BodySink } from "../http/body.ts";
import type { Named } from "../http/named.ts";
import type { Integrity } from "../io/integrity.ts";

/** What is known about the bytes before they are fetched. */
export interface FetchTarget {
  /** Mirrors in the order to try; original URLs, rewrites are applied by the engine. */
  urls: readonly string[];
  /** Who named these: decides which secrets they get, and where they may lead. Required. */
  named: Named;
  /** Exact size when known; a different Content-Length is refused before any byte is read. */
  size?: number | undefined;
  /**
   * Several algorithms: `fetchBytes` checks every one. `fetchInto` leaves that to its caller, but only if this is set
   * may it resume the bytes of one mirror from another.
   */
  integrity?: Integrity | undefined;
  /**
   * Even with a digest, the bytes of one response are resumed only if its validator proves that the file is the same.
   */
  unmixed?: boolean | undefined;
  /** Refuses bodies over this many bytes. Required if the size is unknown. */
  maxBytes?: number | undefined;
  auth?: Authenticator | undefined;
  headers?: Record<string, string> | undefined;
  /**
   * ETag or Last-Modified pinned in the lock, per URL order irrelevant: the digest decides, this only explains drift.
   */
  etag?: string | undefined;
  /** Consecutive failures before a mirror is given up, if fewer than the engine's default. */
  retries?: number | undefined;
}

/** Where `fetchInto` writes. Positions count from 0 for the artifact, regardless of the underlying file. */
export interface FetchSink extends BodySink {
  /** Bytes [0, position) are in place from an earlier run. */
  readonly position: number;
  /** The validator (strong ETag or Last-Modified) and URL, in recordable form, of the bytes below `position`. */
  readonly validator?: { url: string; etag?: string; lastModified?: string } | undefined;
  /** Discards everything written: the next write is at 0. */
  restart(): Promise<void>;
  /** Called once per response whose bytes will be appended. */
  began?(response: { url: string; etag?: string; lastModified?: string; size?: number }): void;
}

/** An upstream's metadata of a resource, without its body. */
export interface HeadResult {
  url: string;
  /** After redirects, safe to show (io/redact.ts). */
  finalUrl: string;
  size?: number;
  etag?: string;
  lastModified?: string;
  acceptRanges: boolean;
  contentType?: string;
  /** The bytes came in several responses: if their digest is wrong, one whole fetch is worth it. */
  mixed?: true;
}

/** A small body, whole, in memory. */
export interface FetchedBytes extends HeadResult {
  bytes: Buffer;
  /** The URL that was requested first, safe to show: after rewrites, before redirects. */
  askedUrl: string;
  status: number;
  headers: Record<string, string | string[] | undefined>;
}

/** One line per request, for progress, logs and tests. */
export interface FetchEvent {
  type: "request" | "retry" | "failover" | "resume" | "done";
  url: string;
  /** Bytes received so far for this artifact. */
  bytes?: number;
  attempt?: number;
  delayMs?: number;
  reason?: string;
}

/**
 * The engine, as sources and pack see it (fetcher.ts implements it). Every call also ends with an AbortError when the
 * surrounding work is aborted (io/limit.ts) and when the engine is closed.
 */
export interface Fetcher {
  head(target: FetchTarget, signal?: AbortSignal): Promise<HeadResult>;
  /**
   * Fetches a small body; `maxBytes` is required. Checks `size` and `integrity` when given. 304/404 throw like any
   * other status. `link`: the resolved continuation from an earlier response of the only URL; requested instead of it,
   * unchanged, without rewrites, and under the rules of a redirect.
   */
  fetchBytes(
    target: FetchTarget & {
      maxBytes: number;
      method?: "GET" | "POST";
      body?: string | Buffer;
      link?: string | undefined;
    },
    signal?: AbortSignal,
  ): Promise<FetchedBytes>;
  /**
   * Streams a body into the sink, resuming, retrying and failing over. Checks the size; the caller checks the digest.
   */
  fetchInto(target: FetchTarget, sink: FetchSink, signal?: AbortSignal): Promise<HeadResult>;
  /** Aborts running requests, and closes all connections. */
  close(): Promise<void>;
}
