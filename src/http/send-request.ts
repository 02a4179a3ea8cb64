/**
 * From a caller's URL to its final response: rewrite, credentials, proxy, turn at the host, redirects, one 401.
 * Credentials, cookies and client certificates stay with the origin they belong to (RFC 9110 15.4, CVE-2020-15157).
 */
import type { Readable } from "node:stream";
import { redactUrl } from "../io/redact.ts";
import type { AgentPair, Agents } from "./agents.ts";
import type { Authenticator } from "./authenticator.ts";
import type { Credentials, TlsIdentity } from "./credentials.ts";
import { AttemptFailure, upstreamError } from "./failure.ts";
import type { HostLimits } from "./hosts.ts";
import { type Named, type Reach, type Resolve, reachOf, stepFault } from "./named.ts";
import { type ProxyEnv, proxyFor } from "./proxy.ts";
import { type Rewrite, rewriteUrl } from "./rewrite.ts";
import type { Method } from "./sending.ts";
import { discard, type Exchange, type Transport } from "./transport.ts";
import { Turns } from "./turns.ts";

const MAX_REDIRECTS = 10;
/**
 * A redirect that waited longer than this for its turn is requested again: presigned URLs may be valid for seconds
 * only.
 */
const STALE_REDIRECT_MS = 1000;
const REDIRECT_STATUS = new Set([301, 302, 303, 307, 308]);
/** The caller's headers that another origin may see. */
const HARMLESS_HEADERS = new Set(["accept", "accept-encoding", "range", "if-range", "user-agent", "cache-control"]);

export interface OpenParts {
  transport: Transport;
  agents: Agents;
  credentials: Credentials;
  limits: HostLimits;
  rewrites: readonly Rewrite[];
  proxyEnv: ProxyEnv;
  allowPrivateRedirects: boolean;
  /** How host names are resolved. */
  resolve: Resolve;
}

interface OpenRequest {
  method: Method;
  /** Original URL: rewrites apply here. */
  url: string;
  named: Named;
  /** See `Fetcher.fetchBytes`. */
  link?: string | undefined;
  /** Names in lower case. */
  headers: Record<string, string>;
  /** A function returns a new stream each time the body is sent. */
  body?: string | Buffer | (() => Readable) | undefined;
  /** Whether redirects are followed (default); else the redirect is returned. */
  follow?: boolean | undefined;
  /** How long to wait for the next byte of the response, if not the default. */
  patienceMs?: number | undefined;
  auth?: Authenticator | undefined;
  signal?: AbortSignal | undefined;
  /** Called for each request that is sent. */
  onRequest?: ((url: URL) => void) | undefined;
}

export interface Opened {
  exchange: Exchange;
  /** The URL requested first: after rewrites, before redirects. */
  asked: URL;
  /** The URL that answered. */
  url: URL;
  auth: Authenticator | undefined;
  /** Origin of this turn, for `limits`. */
  origin: string;
  /** Returns the host's turn. Call it once the body is consumed. */
  release: () => void;
}

/** One hop: its URL, and which secrets it gets. */
interface Hop {
  url: URL;
  asked: boolean;
  /** How near it may be; undefined if the user named it. */
  reach?: Reach | undefined;
}

/**
 * Follows redirects to the final response, whatever its status. The caller reads or discards its body, then calls
 * `release`.
 * @throws {AttemptFailure}
 */
export async function openUrl(parts: OpenParts, request: OpenRequest): Promise<Opened> {
  const turns = new Turns(parts.limits, request.signal);
  try {
    return await follow(parts, request, turns);
  } finally {
    turns.drop();
  }
}

async function follow(parts: OpenParts, request: OpenRequest, turns: Turns): Promise<Opened> {
  const first = parseUrl(rewriteUrl(request.url, parts.rewrites), request.url);
  // Origins that the authenticator may use: the requested one, and those that challenged it themselves.
  const authOrigins = new Set([first.origin]);
  const start = await startOf(parts, request, first);
  let hop = start;
  let { method, body } = request;
  let redirects = 0;
  // Each origin may challenge once: the registry, and then the one it redirects to.
  const challenged = new Set<string>();
  let isRenewed = request.method === "POST";
  for (;;) {
    const since = Date.now();
    const release = await turns.take(hop.url.origin);
    if (!isRenewed && redirects > 0 && hop.url.origin !== first.origin && Date.now() - since > STALE_REDIRECT_MS) {
      // Once: if it is still refused as expired, the mirror loop starts again.
      isRenewed = true;
      turns.keep(hop.url.origin, release);
      hop = start;
      redirects = 0;
      continue;
    }
    const { opened, sent } = await sendOnce(parts, { ...request, method, body }, hop, first, authOrigins, release);
    const { exchange } = opened;
    try {
      const location = exchange.headers.location;
      if (request.follow !== false && REDIRECT_STATUS.has(exchange.status) && location !== undefined) {
        if (++redirects > MAX_REDIRECTS) {
          throw refused(request.url, `more than ${MAX_REDIRECTS} redirects`);
        }
        const next = await redirectTarget(parts, request.url, hop, location, exchange);
        if (method === "POST" && exchange.status !== 307 && exchange.status !== 308) {
          method = "GET";
          body = undefined;
        } else if (method === "POST" && next.url.origin !== hop.url.origin) {
          throw refused(request.url, "upstream redirects a POST to another origin");
        }
        await discard(exchange);
        opened.release();
        hop = { ...next, asked: start.asked && next.url.origin === start.url.origin };
        continue;
      }
      if (
        (exchange.status === 401 || exchange.status === 403) &&
        request.auth?.challenged &&
        !challenged.has(hop.url.origin)
      ) {
        const wanted = exchange.headers["www-authenticate"];
        if (exchange.status === 401 || wanted !== undefined) {
          challenged.add(hop.url.origin);
          const target = bare(hop.url);
          await discard(exchange);
          // The token is fetched by the same engine: no turn may be held meanwhile.
          opened.release();
          turns.drop();
          if (await request.auth.challenged(target, wanted, sent)) {
            authOrigins.add(target.origin);
            continue;
          }
        }
      }
      return opened;
    } catch (error) {
      exchange.destroy();
      opened.release();
      throw error;
    }
  }
}

async function sendOnce(
  parts: OpenParts,
  request: OpenRequest,
  hop: Hop,
  first: URL,
  authOrigins: ReadonlySet<string>,
  release: () => void,
): Promise<{ opened: Opened; sent: string | undefined }> {
  try {
    const url = bare(hop.url);
    const headers = await headersFor(parts, request, hop, url.origin === first.origin, authOrigins.has(url.origin));
    const proxy = proxyFor(url, parts.proxyEnv);
    const identity: TlsIdentity | undefined =
      url.protocol === "https:" ? parts.credentials.tls(url, hop.asked) : undefined;
    const agents: AgentPair = parts.agents.pair(proxy, identity);
    request.onRequest?.(url);
    const exchange = await parts.transport.send({
      method: request.method,
      url,
      headers,
      body: typeof request.body === "function" ? request.body() : request.body,
      patienceMs: request.patienceMs,
      agents,
      proxy,
      reach: proxy === undefined ? hop.reach : undefined,
      signal: request.signal,
    });
    const opened = { exchange, asked: bare(first), url, auth: request.auth, origin: url.origin, release };
    return { opened, sent: headers.authorization };
  } catch (error) {
    release();
    throw error;
  }
}

/** `own`: the requested origin, which gets the caller's headers; `known`: the authenticator may use it. */
async function headersFor(
  parts: OpenParts,
  request: OpenRequest,
  hop: Hop,
  own: boolean,
  known: boolean,
): Promise<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(request.headers)) {
    if (own || HARMLESS_HEADERS.has(name)) headers[name] = value;
  }
  if (request.auth && known) {
    for (const [name, value] of Object.entries(await request.auth.headers(bare(hop.url)))) {
      headers[name.toLowerCase()] = value;
    }
  }
  if (headers.authorization === undefined) {
    const authorization = parts.credentials.authorization(hop.url, hop.asked);
    if (authorization !== undefined) headers.authorization = authorization;
  }
  headers["accept-encoding"] = "identity";
  return headers;
}

/**
 * The first hop and its credentials. A URL that upstream named is treated like a redirect, unless a rewrite applies.
 */
async function startOf(parts: OpenParts, request: OpenRequest, first: URL): Promise<Hop> {
  const { named, link, url } = request;
  if (link !== undefined) return nextHop(parts, request, first, new URL(link));
  if (named.by === "user" || rewriteUrl(url, parts.rewrites) !== url) return { url: first, asked: true };
  const from = named.via === undefined ? undefined : parseUrl(rewriteUrl(named.via, parts.rewrites), named.via);
  return nextHop(parts, request, from, first);
}

/** A URL named by a response from `from`. Secrets are only for the requested origin. */
async function nextHop(parts: OpenParts, request: OpenRequest, from: URL | undefined, to: URL): Promise<Hop> {
  const reach = parts.allowPrivateRedirects
    ? undefined
    : from
      ? reachOf(from, parts.resolve)
      : () => Promise.resolve(0);
  const fault = await stepFault(from, to, reach);
  if (fault !== undefined) throw refused(request.url, `upstream leads ${fault}`);
  const asked = to.origin === from?.origin;
  const url = new URL(to);
  url.username = (asked && from?.username) || "";
  url.password = (asked && from?.password) || "";
  return { url, asked, reach: asked ? undefined : reach };
}

async function redirectTarget(
  parts: OpenParts,
  original: string,
  { url: from, reach }: Hop,
  location: string,
  exchange: Exchange,
): Promise<Pick<Hop, "url" | "reach">> {
  // Node reads header bytes as latin-1; servers send UTF-8.
  const text = Buffer.from(location, "latin1").toString("utf8");
  if (!URL.canParse(text, from.href))
    throw refused(original, `upstream redirects to an invalid URL: "${redactUrl(text)}"`);
  const next = new URL(text, from);
  next.hash = "";
  const here = reachOf(from, exchange.remoteAddress ?? from.hostname);
  const fault = await stepFault(from, next, parts.allowPrivateRedirects ? undefined : here);
  if (fault !== undefined) throw refused(original, `upstream redirects ${fault}`);
  const isSame = next.origin === from.origin;
  // Credentials in a Location would be sent wherever upstream likes.
  next.username = isSame ? from.username : "";
  next.password = isSame ? from.password : "";
  return { url: next, reach: isSame || parts.allowPrivateRedirects ? reach : here };
}

function refused(url: string, fault: string): AttemptFailure {
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, fault, {
      hint: "check the URL in the manifest, or name another mirror",
    }),
    { fault },
  );
}

function parseUrl(text: string, original: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "https:" || url?.protocol === "http:") return url;
  const via = text === original ? "" : ` (rewritten to "${redactUrl(text)}")`;
  throw new AttemptFailure(
    upstreamError("ERR_USAGE", original, `not an http:// or https:// URL${via}`, { hint: "correct the URL" }),
  );
}

function bare(url: URL): URL {
  if (url.username === "" && url.password === "" && url.hash === "") return url;
  const copy = new URL(url);
  copy.username = "";
  copy.password = "";
  copy.hash = "";
  return copy;
}
