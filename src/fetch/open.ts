/**
 * From a URL as the caller wrote it to the response that answers it: rewrite, credentials, proxy, turn at the host, redirects,
 * one 401. Credentials, cookies and client certificates stay with the origin they belong to (RFC 9110 15.4, CVE-2020-15157).
 */
import type { AgentPair, Agents } from "./agents.ts";
import type { Credentials, TlsIdentity } from "./credentials.ts";
import { AttemptFailure, upstreamError } from "./failure.ts";
import type { HostLimits } from "./hosts.ts";
import { networkRank } from "./network-rank.ts";
import { type ProxyEnv, proxyFor } from "./proxy.ts";
import { redactUrl } from "./redact.ts";
import { type Rewrite, rewriteUrl } from "./rewrite.ts";
import { discard, type Exchange, type Transport } from "./transport.ts";
import { Turns } from "./turns.ts";
import type { Authenticator } from "./types.ts";

const MAX_REDIRECTS = 10;
/** A redirect that waited longer than this for its turn is asked for anew: presigned URLs may live for seconds. */
const STALE_REDIRECT_MS = 1000;
const REDIRECT_STATUS = new Set([301, 302, 303, 307, 308]);
/** What another origin may see of the caller's own headers. */
const HARMLESS_HEADERS = new Set(["accept", "accept-encoding", "range", "if-range", "user-agent", "cache-control"]);

export interface OpenParts {
  transport: Transport;
  agents: Agents;
  credentials: Credentials;
  limits: HostLimits;
  rewrites: readonly Rewrite[];
  proxyEnv: ProxyEnv;
  allowPrivateRedirects: boolean;
}

export interface OpenRequest {
  method: "GET" | "HEAD" | "POST";
  /** Original URL: rewrites apply here. */
  url: string;
  /** See `Fetcher.fetchBytes`, as the next. */
  link?: string | undefined;
  isFromUpstream?: boolean | undefined;
  /** Names in lower case. */
  headers: Record<string, string>;
  body?: string | Buffer | undefined;
  auth?: Authenticator | undefined;
  signal?: AbortSignal | undefined;
  /** Told of each request that goes out. */
  onRequest?: ((url: URL) => void) | undefined;
}

export interface Opened {
  exchange: Exchange;
  /** The URL that was asked first: after rewrites, before redirects. */
  asked: URL;
  /** The URL that answered. */
  url: URL;
  auth: Authenticator | undefined;
  /** Origin whose turn this is, for `limits`. */
  origin: string;
  /** Gives the turn at the host back. Call it once the body is dealt with. */
  release: () => void;
}

/** One hop: where, and with which of our secrets. */
interface Hop {
  url: URL;
  asked: boolean;
}

/**
 * Follows redirects to the final response, whatever its status. The caller reads or discards its body, then calls `release`.
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
  // Origins that the authenticator may speak to: the one asked, and those that challenged it themselves.
  const authOrigins = new Set([first.origin]);
  const isOurs = request.isFromUpstream !== true;
  const start: Hop = request.link === undefined ? { url: first, asked: isOurs } : linked(first, request.link);
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
      // Once: should it be refused as too old all the same, the mirror loop starts again.
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
      if (REDIRECT_STATUS.has(exchange.status) && location !== undefined) {
        if (++redirects > MAX_REDIRECTS) {
          throw refused(request.url, `more than ${MAX_REDIRECTS} redirects`);
        }
        const next = redirectTarget(parts, request.url, hop.url, location, exchange);
        if (method === "POST" && exchange.status !== 307 && exchange.status !== 308) {
          method = "GET";
          body = undefined;
        } else if (method === "POST" && next.origin !== hop.url.origin) {
          throw refused(request.url, "upstream redirects a POST to another origin");
        }
        await discard(exchange);
        opened.release();
        hop = { url: next, asked: isOurs && next.origin === first.origin };
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
          // The token comes through this same engine: no turn may be held while it is asked for.
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
      body: request.body,
      agents,
      proxy,
      signal: request.signal,
    });
    const opened = { exchange, asked: bare(first), url, auth: request.auth, origin: url.origin, release };
    return { opened, sent: headers.authorization };
  } catch (error) {
    release();
    throw error;
  }
}

/** `own`: the origin that was asked, which gets the caller's headers; `known`: the authenticator may speak to it. */
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

/** Whoever gave the link gave it as in a redirect: what is ours is for the origin that was asked alone. */
function linked(first: URL, link: string): Hop {
  const url = new URL(link);
  const asked = url.origin === first.origin;
  url.username = asked ? first.username : "";
  url.password = asked ? first.password : "";
  return { url, asked };
}

function redirectTarget(parts: OpenParts, original: string, from: URL, location: string, exchange: Exchange): URL {
  // Header bytes are latin-1 to Node; people put UTF-8 there.
  const text = Buffer.from(location, "latin1").toString("utf8");
  if (!URL.canParse(text, from.href))
    throw refused(original, `upstream redirects to an address that is none: "${redactUrl(text)}"`);
  const next = new URL(text, from);
  next.hash = "";
  if (next.protocol !== "https:" && next.protocol !== "http:") {
    throw refused(original, `upstream redirects to "${redactUrl(next)}", which is neither http nor https`);
  }
  if (from.protocol === "https:" && next.protocol === "http:") {
    throw refused(original, `upstream redirects from https to http, to "${redactUrl(next)}"`);
  }
  if (next.origin !== from.origin) {
    // Credentials in a Location would be ours to send wherever upstream likes.
    next.username = "";
    next.password = "";
    const here = Math.max(networkRank(from.hostname), networkRank(exchange.remoteAddress ?? from.hostname));
    if (!parts.allowPrivateRedirects && networkRank(next.hostname) > here) {
      throw refused(original, `upstream redirects into a private network, to "${redactUrl(next)}"`);
    }
  } else {
    next.username = from.username;
    next.password = from.password;
  }
  return next;
}

function refused(url: string, fault: string): AttemptFailure {
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, fault, {
      hint: "check the URL in the manifest, or name another mirror",
    }),
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
