/**
 * Shared types of the server: one request, its access to the store, and the mounting of handlers. Each kind of content
 * has a separate handler; router.ts selects one by prefix.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import type { Release, StoreReader } from "../../store/types.ts";
import type { TrustedProxies } from "./forwarded.ts";
import type { Resources } from "./resources.ts";

/**
 * One GET or HEAD, its target decoded and made safe: no `.`, `..`, NUL, backslash or doubled slash is left in `path`.
 */
export interface ServerRequest {
  req: IncomingMessage;
  res: ServerResponse;
  /** Resources shared by all responses of the site. */
  readonly resources: Resources;
  head: boolean;
  /** Begins with `/`; percent-decoded; `/s/STREAM` already removed. */
  path: string;
  query: URLSearchParams;
  /** Set when the request was `/s/STREAM/…`. */
  stream?: string;
  /** Body bytes written to the socket so far, maintained by the send functions, for the access log and metrics. */
  sent: number;
  /** The answer is one that was recorded: a 404 too is what upstream said. */
  isRecorded?: boolean;
  /** The client had to log in for the answer. */
  isGuarded?: boolean;
  /** Absent on listeners without pages. */
  readonly notFoundPage?: NotFoundPage | undefined;
}

/**
 * Answers a browser with a page for what is not here, with these further headers. Returns false, and sends nothing,
 * when it cannot.
 */
export type NotFoundPage = (
  request: ServerRequest,
  hints: readonly string[],
  headers: Readonly<Record<string, string>>,
) => boolean;

/** An entry of the merged tree, with its release. */
export interface Found {
  entry: InventoryEntry;
  release: Release;
}

/** Pages are written down as files: there is no program behind them that searches, counts or continues a list. */
export interface WrittenPages {
  /** There is configuration to lead to. */
  readonly hasConfig: boolean;
}

/** All current releases as one tree; replaced when a release changes. Immutable. */
export interface TreeView {
  /** Stands for this view, for whoever must not keep it alive. */
  readonly mark: object;
  readonly releases: readonly Release[];
  /** Set for a tree that is written down as files. */
  readonly written?: WrittenPages | undefined;
  /**
   * Looks up an entry path (no leading slash). Several streams with the same digest count as one;
   * different digests give the qualified URLs instead.
   */
  find(path: string, stream?: string): Found | { conflict: string[] } | undefined;
  /** Names directly below a directory path, sorted; directories end in `/`. None when there is no such directory. */
  names(directory: string, stream?: string): Iterable<string>;
}

export interface ServeContext {
  readonly store: StoreReader;
  /** The current tree. Cheap; checks for a new release at most once a second. */
  view(): Promise<TreeView>;
  /** Reports something unusable in a release to the operator, once each, however often it is requested. */
  tellFault(error: unknown): void;
  /**
   * Base URL that this client should use: `--url`, or scheme and host of the request, as a trusted proxy got it. No
   * trailing slash.
   */
  baseUrl(req: IncomingMessage): string;
  /** Proxies whose word on the client's address counts. */
  readonly proxies?: TrustedProxies | undefined;
  /** PEM of the CA that signed the server's certificate, with `--tls auto`. */
  readonly caCertificate?: string;
  /** Set when the server answers under the names of the origins. */
  readonly origins?: {
    /** PEM of the CA that signs the certificates of these hosts, made or renewed for them. */
    caCertificate(hosts: readonly string[]): Promise<string>;
    /** Where origins are answered without a proxy. */
    readonly ports: { http: readonly number[]; https: readonly number[] };
    /** The port of the proxy, where there is one. */
    readonly proxyPort?: number;
  };
  /**
   * The current tree when it was looked at less than a second ago; otherwise {@link ServeContext.view} must look again.
   */
  freshView(): TreeView | undefined;
}

/** Handles one request completely, its errors included. Returns false for paths that it does not handle. */
type Handler = (request: ServerRequest, context: ServeContext) => Promise<boolean> | boolean;

/** Handlers are asked in order of the longest matching prefix first. */
export interface Mount {
  /** `/v2`, `/isos`, … without a trailing slash; matches itself and everything below. */
  prefix: string;
  handle: Handler;
  /** The handler is also given methods other than GET and HEAD, and refuses them in its own protocol. */
  anyMethod?: boolean;
  /**
   * Finds the entry that `handle` answers a GET of a path with (as in {@link ServerRequest}), where that depends on the
   * path and the view alone, and on listeners that have several hosts on `authority`, and goes to everybody: the fast
   * path asks. Undefined where `handle` returns false. Absent
   * for handlers that never answer so.
   */
  entry?: (path: string, stream: string | undefined, view: TreeView, authority: string) => ReturnType<TreeView["find"]>;
  /** Answers for a handler that threw before anything was sent, in the protocol's words; absent: in plain text. */
  sendFault?: (request: ServerRequest, error: unknown) => void;
}
