/**
 * What the parts of the server share: one request, what it may ask of the store, and where handlers are mounted.
 * Each kind of content has a handler of its own in this folder; router.ts picks one by prefix.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import type { Release, StoreReader } from "../../store/types.ts";
import type { Resources } from "./resources.ts";
import type { ResponseCache } from "./response-cache.ts";

/** One GET or HEAD, its target decoded and made safe: no `.`, `..`, NUL, backslash or doubled slash is left in `path`. */
export interface ServerRequest {
  req: IncomingMessage;
  res: ServerResponse;
  /** What all answers of the site share. */
  readonly resources: Resources;
  head: boolean;
  /** Begins with `/`; percent-decoded; `/s/STREAM` already taken off. */
  path: string;
  query: URLSearchParams;
  /** Set when the request was `/s/STREAM/…`. */
  stream?: string;
  /** Bytes of the body handed to the socket so far; sendContent and its like keep it, for the access log and metrics. */
  sent: number;
  /** The answer is for this client alone: not to be remembered for others. */
  isPrivate?: boolean;
}

/** An entry found in the merged tree, with the release that has it. */
export interface Found {
  entry: InventoryEntry;
  release: Release;
}

/** All current releases as one tree; replaced when a release changes. Immutable. */
export interface TreeView {
  readonly releases: readonly Release[];
  /**
   * Looks up an entry path (no leading slash). Several streams with the same digest count as one;
   * different digests give the qualified URLs instead.
   */
  find(path: string, stream?: string): Found | { conflict: string[] } | undefined;
  /** Names directly below a directory path, sorted; directories end in `/`. Undefined when there is no such directory. */
  list(directory: string, stream?: string): string[] | undefined;
}

export interface ServeContext {
  readonly store: StoreReader;
  /** The current tree. Cheap; looks for a new release at most once a second. */
  view(): Promise<TreeView>;
  /** Tells the operator of something in a release that cannot be used; each thing once, however often it is asked for. */
  tellFault(error: unknown): void;
  /** Base URL that this client should use: `--url`, or scheme and Host of the request. No trailing slash. */
  baseUrl(req: IncomingMessage): string;
  /** PEM of the CA that signed the server's certificate, when `--tls auto` made one. */
  readonly caCertificate?: string;
  /** Answers that depend on the URL and the current view alone; a handler may add its own. */
  readonly hot: ResponseCache;
  /** Whether the current view was looked at less than a second ago: what {@link ServeContext.hot} has may be used. */
  isFresh(): boolean;
}

/** Handles one request completely, its errors included. Returns false when the path is not its business. */
type Handler = (request: ServerRequest, context: ServeContext) => Promise<boolean> | boolean;

/** Handlers are asked in order of the longest matching prefix first. */
export interface Mount {
  /** `/v2`, `/isos`, … without a trailing slash; matches itself and everything below. */
  prefix: string;
  handle: Handler;
  /** The handler is also given methods other than GET and HEAD, and refuses them in its own protocol's words. */
  anyMethod?: boolean;
  /** Answers for a handler that threw before anything was sent, in the protocol's words; absent: in plain text. */
  sendFault?: (request: ServerRequest, error: unknown) => void;
}
