/**
 * Answers under the names of the origins: scheme, host, port and path of a request are those of a URL that upstream
 * has, and what a release has of it is the answer. Nothing is ever forwarded. docs/origins.md.
 */
import type { IncomingMessage } from "node:http";
import { isIP, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { digestOf } from "../../io/digest.ts";
import { printable } from "../../io/printable.ts";
import { findOrigin, literalUrl, type OriginAnswer, urlOfRequest } from "../../origins/find-origin.ts";
import { bareHostOf, hasAuthority } from "../../origins/known-origins.ts";
import type { GitAnswers } from "../git/git-handler.ts";
import { entryContent, sendBlob } from "../http/blob.ts";
import type { Mount, ServeContext, ServerRequest, TreeView } from "../http/context.ts";
import { authorityOf } from "../http/host-header.ts";
import type { RequestTarget } from "../http/request-target.ts";
import { sendGenerated, sendText } from "../http/text-responses.ts";

import { type FoundAnswer, sendWebAnswer, type WebAnswers } from "./web-answers.ts";

/** How a request's scheme is known: by its listener, or by its own URL, which a proxy is sent. */
type OriginScheme = "https" | "http" | "proxy";

const ABSOLUTE_FORM = /^(https?):\/\/[^/?#]*/i;
const TOKEN_SECONDS = 3600;

/** The target of a request as it is: which paths there are is for the origins to say. */
export function originTarget(target: string): RequestTarget | string {
  const absolute = ABSOLUTE_FORM.exec(target)?.[0];
  if (absolute === undefined && !target.startsWith("/")) return "the target must be a path";
  const rest = target.slice(absolute?.length ?? 0);
  const question = rest.indexOf("?");
  const path = question === -1 ? rest : rest.slice(0, question);
  return { path: path || "/", query: question === -1 ? "" : rest.slice(question + 1) };
}

/**
 * Whether a connection may ask for a host: in TLS, for the one that its certificate is for. A client that named none
 * can only mean an address.
 */
export function admitsHost(socket: Socket, authority: string): boolean {
  const { encrypted, servername } = socket as Partial<TLSSocket> & { servername?: string | false };
  if (encrypted !== true || servername === authority) return true;
  const host = bareHostOf(authority);
  return typeof servername === "string" ? bareHostOf(servername) === host : isIP(host) !== 0;
}

/** Other parts of a site that answer for origins. */
interface OriginParts {
  /** What answers below `/ns`. */
  registry: Mount;
  web: WebAnswers;
  git: GitAnswers;
}

/** Answers everything under the names of the origins. */
export function originMount(scheme: OriginScheme, parts: OriginParts): Mount {
  return {
    prefix: "",
    anyMethod: true,
    async handle(request, context) {
      const view = await context.view();
      const place = placeOf(scheme, request.req, view);
      if ("fault" in place) sendText(request, place.status, `${place.status}: ${printable(place.fault)}`);
      else await send(request, context, view, place, parts);
      return true;
    },
    entry(path, _stream, view, authority) {
      if (scheme === "proxy") return undefined;
      const url = urlOf(scheme, authority, path);
      if (url === undefined || parts.web.mayHave(view.releases, url)) return undefined;
      const found = findOrigin(view.releases, url);
      return found?.kind === "entry" ? found : undefined;
    },
  };
}

/** `literal`: the URL as it was asked for, where it differs. */
interface Asked {
  url: string;
  literal?: string | undefined;
}

type Place = Asked | { status: 400 | 421; fault: string };

function placeOf(listener: OriginScheme, req: IncomingMessage, view: TreeView): Place {
  const { url: target = "/", socket } = req;
  const authority = authorityOf(req);
  const named = ABSOLUTE_FORM.exec(target);
  const scheme = named?.[1]?.toLowerCase() ?? listener;
  if (authority === "") return { status: 400, fault: "the request names no host, and each origin is one" };
  if (listener === "proxy" ? scheme === "proxy" : scheme !== listener) {
    return { status: 421, fault: `this is ${listener}, and the request is for a URL of ${scheme}` };
  }
  if (!hasAuthority(view.releases, authority)) return { status: 421, fault: unknownHost(authority) };
  if (!admitsHost(socket, authority)) {
    return { status: 421, fault: `this connection was made to another host than ${authority}` };
  }
  const path = target.slice(named?.[0].length ?? 0);
  try {
    const start = path.startsWith("/") ? path : `/${path}`;
    const url = urlOfRequest(scheme as "https" | "http", authority, start);
    const literal = literalUrl(scheme as "https" | "http", authority, start);
    return literal === url ? { url } : { url, literal };
  } catch (error) {
    return { status: 400, fault: `the URL ${(error as Error).message}` };
  }
}

/** What a client hears that asks for a host of no release. */
export function unknownHost(authority: string): string {
  return `no release here has anything of ${authority}; nothing is forwarded, so only the origins that /config/origins/ of this server lists answer`;
}

function urlOf(scheme: "https" | "http", authority: string, path: string): string | undefined {
  try {
    return urlOfRequest(scheme, authority, path);
  } catch {
    return undefined;
  }
}

async function send(
  request: ServerRequest,
  context: ServeContext,
  view: TreeView,
  { url, literal }: Asked,
  { registry, web, git }: OriginParts,
) {
  const found = findOrigin(view.releases, url);
  const { method } = request.req;
  const urls = literal === undefined ? [url] : [literal, url];
  const isPlain = method === "GET" || request.head;
  const answers = isPlain ? await web.find(request, context, view.releases, urls) : [];
  const [answer, ...others] = answers;
  if (answer !== undefined && others.length === 0 && isExact(answer, found, url))
    return sendWebAnswer(request, context, answer);
  if (found?.kind === "registry") {
    request.path = `/ns/${found.host}${found.path}`;
    await registry.handle(request, context);
    return;
  }
  if (await git.answer(request, context, view, [url])) return;
  if (!isPlain) {
    const refusal = `405: ${method} is not possible: this server is read-only, it answers GET and HEAD`;
    sendText(request, 405, refusal, { Allow: "GET, HEAD" });
    return;
  }
  if (found === undefined || (found.kind === "text" && found.isMadeUp)) {
    if (answer !== undefined && others.length === 0) return sendWebAnswer(request, context, answer);
    if (answer !== undefined) return sendMissing(request, url, conflictLines([answer, ...others].map(pathOf)));
  }
  await sendAnswer(request, context, view, url, found);
}

/**
 * Whether a recorded answer is better than what is found for its URL: where its own release has that URL as part of a
 * repository, a file or a registry too, it is what upstream said, with its signatures. What images are made of is the
 * registry's, which may require a login.
 */
function isExact({ answer, entry, release }: FoundAnswer, found: OriginAnswer | undefined, url: string): boolean {
  if (found === undefined || found.kind === "token" || answer.status >= 400) return false;
  if (found.kind === "registry")
    return found.path.replace(/\/$/, "") !== "/v2" && entry?.path.startsWith("images/") !== true;
  return findOrigin([release], url) !== undefined;
}

async function sendAnswer(
  request: ServerRequest,
  { store }: ServeContext,
  view: TreeView,
  url: string,
  found: Exclude<OriginAnswer, { kind: "registry" }> | undefined,
): Promise<void> {
  switch (found?.kind) {
    case "entry":
      request.path = `/${found.entry.path}`;
      // Who asks for another server is not sent to a third.
      return sendBlob(request, { ...entryContent(found.entry, store), mayRedirect: false });
    case "keys": {
      const files = request.resources.files;
      const read = await Promise.all(found.entries.map((it) => files.readWhole(store.blobPath(it.digest))));
      const bytes = Buffer.from(read.map((it) => `${it.toString("utf8").trimEnd()}\n`).join("\n"));
      const contentType = "text/plain; charset=utf-8";
      return sendBlob(request, { bytes, size: bytes.length, digest: digestOf(bytes), contentType });
    }
    case "text": {
      const bytes = Buffer.from(found.text);
      const { contentType } = found;
      return sendBlob(request, { bytes, size: bytes.length, digest: digestOf(bytes), contentType });
    }
    case "token": {
      const token = { token: "anonymous", access_token: "anonymous", expires_in: TOKEN_SECONDS };
      const issued = { ...token, issued_at: new Date().toISOString() };
      return sendGenerated(request, 200, "application/json", `${JSON.stringify(issued)}\n`, {
        "Cache-Control": "no-store",
      });
    }
    case "conflict":
      return sendMissing(request, url, conflictLines(found.paths));
    default:
      return sendMissing(request, url, hintsFor(view, url));
  }
}

function conflictLines(paths: readonly string[]): string[] {
  return ["it is here several times, with different content; at this server's own address they are:", ...paths];
}

function pathOf({ release, entry, answer }: FoundAnswer): string {
  return `/s/${release.stream}/${entry?.path ?? `: status ${answer.status}`}`;
}

/** Upstream sends clients from http to https; which of the two a build uses is in its own configuration. */
function hintsFor(view: TreeView, url: string): string[] {
  const other = url.startsWith("https:") ? url.replace("https:", "http:") : url.replace("http:", "https:");
  const found = findOrigin(view.releases, other);
  return found === undefined || found.kind === "registry" ? [] : [`it is here as ${other}`];
}

function sendMissing(request: ServerRequest, url: string, hints: readonly string[]): void {
  const lines = [`404: no release here has ${url}`, ...hints].map((it) => printable(it));
  sendText(request, 404, lines.join("\n"));
}
