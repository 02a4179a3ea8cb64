/**
 * Routes each HTTP request to the handler of the longest matching prefix, refuses anything but a GET or HEAD of a valid
 * target, and responds for handlers that throw. Independent of the kinds of content.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { AirferryError } from "../../errors.ts";
import { printable } from "../../io/printable.ts";
import { type BlobContent, entryContent } from "./blob.ts";
import type { Mount, NotFoundPage, ServeContext, ServerRequest, TreeView } from "./context.ts";
import { HostCheck } from "./host-header.ts";
import { parseTarget, type RequestTarget } from "./request-target.ts";
import type { Resources } from "./resources.ts";
import { faultStatus, sendNotFound, sendText } from "./text-responses.ts";

class RoutedRequest implements ServerRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly resources: Resources;
  readonly head: boolean;
  path = "/";
  stream?: string;
  sent = 0;
  /** The last handler that got the request. */
  mount?: Mount;
  #search = "";
  #query: URLSearchParams | undefined;
  readonly notFoundPage: NotFoundPage | undefined;

  constructor(req: IncomingMessage, res: ServerResponse, resources: Resources, notFoundPage?: NotFoundPage) {
    this.notFoundPage = notFoundPage;
    this.req = req;
    this.res = res;
    this.resources = resources;
    this.head = req.method === "HEAD";
  }

  get query(): URLSearchParams {
    this.#query ??= new URLSearchParams(this.#search);
    return this.#query;
  }

  setSearch(search: string): void {
    this.#search = search;
  }
}

/** Observes responses, for counting and logging. */
export interface Observer {
  /** Called for each request before it is routed; it may observe the end of `request.res`. */
  begin(request: ServerRequest): void;
}
/** Called with server-side errors and the requested path. */
export type FaultReporter = (error: unknown, path: string) => void;

/** What a listener does with requests. */
export interface Router {
  /** Answers any request. It never throws and never rejects. */
  answer(req: IncomingMessage, res: ServerResponse): void;
  /**
   * The content that a plain GET of a target is answered with, where that depends on the view alone; see {@link
   * Mount.entry}.
   */
  content(target: string, view: TreeView, authority: string): { path: string; content: BlobContent } | undefined;
}

/** What some listeners have of their own. */
export interface RouterOptions {
  notFoundPage?: NotFoundPage;
  /** Makes the target of a request safe; default {@link parseTarget}. */
  parse?: (target: string) => RequestTarget | string;
}

/** Makes the router of a listener. */
export function createRouter(
  mounts: readonly Mount[],
  context: ServeContext,
  resources: Resources,
  observer: Observer,
  reportFault: FaultReporter,
  { notFoundPage, parse = parseTarget }: RouterOptions = {},
): Router {
  const hosts = new HostCheck();
  const byLength = mounts
    .map((mount) => ({ ...mount, below: `${mount.prefix}/` }))
    .sort((a, b) => b.prefix.length - a.prefix.length);

  async function route(request: RoutedRequest): Promise<void> {
    const { req, path } = request;
    const plain = req.method === "GET" || request.head;
    for (const mount of byLength) {
      if (path !== mount.prefix && !path.startsWith(mount.below)) continue;
      if (!plain && mount.anyMethod !== true) continue;
      request.mount = mount;
      if (await mount.handle(request, context)) return;
    }
    if (plain) sendNotFound(request);
    else refuseMethod(request);
  }

  function answer(req: IncomingMessage, res: ServerResponse): void {
    // A disconnecting client is not a fault; without a listener its error would end the process.
    res.on("error", ignore);
    const fault = hosts.fault(req) ?? context.proxies?.fault(req);
    const request = new RoutedRequest(req, res, resources, notFoundPage);
    const target = parse(req.url ?? "");
    if (typeof target !== "string") {
      request.path = target.path;
      request.setSearch(target.query);
      if (target.stream !== undefined) request.stream = target.stream;
    }
    // Intermediaries must not mistake an unread body for the next request.
    if (hasBody(req)) res.shouldKeepAlive = false;
    observer.begin(request);
    const refused =
      fault ?? (typeof target === "string" && (req.method === "GET" || request.head) ? target : undefined);
    if (refused !== undefined) {
      sendText(request, 400, `400: bad request: ${refused}`, { Connection: "close" });
      return;
    }
    route(request).catch((error) => {
      reportFault(error, request.path);
      answerFault(request, error);
    });
  }

  function content(rawTarget: string, view: TreeView, authority: string) {
    const target = parse(rawTarget);
    if (typeof target === "string") return undefined;
    const { path, stream } = target;
    for (const mount of byLength) {
      if (path !== mount.prefix && !path.startsWith(mount.below)) continue;
      const found = mount.entry?.(path, stream, view, authority);
      if (found === undefined && mount.entry !== undefined) continue;
      return found === undefined || "conflict" in found
        ? undefined
        : {
            // Counts are by kind of content, which a path of somebody else does not show.
            path: parse === parseTarget ? path : `/${found.entry.path}`,
            content: entryContent(found.entry, context.store),
          };
    }
    return undefined;
  }

  return { answer, content };
}

function ignore(): void {}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

function refuseMethod(request: ServerRequest): void {
  const refusal = `405: ${request.req.method} is not possible: this server is read-only, it answers GET and HEAD`;
  sendText(request, 405, refusal, { Allow: "GET, HEAD" });
}

function answerFault(request: RoutedRequest, error: unknown): void {
  if (request.res.headersSent || request.res.destroyed) {
    // The announced length is wrong now: only a cut connection signals that to the client.
    request.res.destroy();
    return;
  }
  if (request.mount?.sendFault !== undefined) {
    request.mount.sendFault(request, error);
    return;
  }
  const hint = error instanceof AirferryError ? error.hint : undefined;
  const fault = error instanceof AirferryError ? error.message : "the stored bytes cannot be read";
  const { status, headers } = faultStatus(error);
  const text = `${status}: ${printable(fault)}\n${hint ?? "see the server's log; then run: airferry status"}`;
  sendText(request, status, text, headers);
}
