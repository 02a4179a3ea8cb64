/**
 * Takes each HTTP request to the handler of the longest matching prefix, refuses what is not a GET or HEAD of a sound
 * target, and answers for handlers that throw. Nothing here knows any kind of content.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { AirferryError } from "../../errors.ts";
import { printable } from "../../io/printable.ts";
import type { Mount, ServeContext, ServerRequest } from "./context.ts";
import { HostCheck } from "./host-header.ts";
import { parseTarget } from "./request-target.ts";
import type { Resources } from "./resources.ts";
import { sendNotFound, sendText } from "./text-responses.ts";

class RoutedRequest implements ServerRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly resources: Resources;
  readonly head: boolean;
  path = "/";
  stream?: string;
  sent = 0;
  isPrivate?: boolean;
  /** Whose handler was given the request last. */
  mount?: Mount;
  #search = "";
  #query: URLSearchParams | undefined;

  constructor(req: IncomingMessage, res: ServerResponse, resources: Resources) {
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

/** Watches what is answered, for counting and logging. */
export interface Observer {
  /** Called for each request before it is routed; it may watch `request.res` for the end. */
  begin(request: ServerRequest): void;
  /** Called instead for an answer that was sent on the spot; absent when every request is to be seen at its beginning. */
  hot?(url: string, bytes: number): void;
}
/** Told of errors on this side, with the path that was asked for. */
export type FaultReporter = (error: unknown, path: string) => void;

/** Makes the function that answers every request of a listener. It never throws and never rejects. */
export function createRouter(
  mounts: readonly Mount[],
  context: ServeContext,
  resources: Resources,
  observer: Observer,
  reportFault: FaultReporter,
): (req: IncomingMessage, res: ServerResponse) => void {
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

  return function answer(req, res) {
    // A client that breaks off is no fault; without a listener its error would end the process.
    res.on("error", ignore);
    const fault = hosts.fault(req);
    if (fault === undefined && observer.hot !== undefined && context.isFresh()) {
      const bytes = context.hot.send(req, res);
      if (bytes !== -1) {
        observer.hot(req.url ?? "", bytes);
        return;
      }
    }
    const request = new RoutedRequest(req, res, resources);
    const target = parseTarget(req.url ?? "");
    if (typeof target !== "string") {
      request.path = target.path;
      request.setSearch(target.query);
      if (target.stream !== undefined) request.stream = target.stream;
    }
    // Bytes that nobody reads here must not be taken for the next request by anything on the way.
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
  };
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
    // The promised length cannot be kept any more: only a cut connection tells the client so.
    request.res.destroy();
    return;
  }
  if (request.mount?.sendFault !== undefined) {
    request.mount.sendFault(request, error);
    return;
  }
  const hint = error instanceof AirferryError ? error.hint : undefined;
  const fault = error instanceof AirferryError ? error.message : "the stored bytes cannot be read";
  sendText(request, 500, `500: ${printable(fault)}\n${hint ?? "see the server's log; then run: airferry status"}`);
}
