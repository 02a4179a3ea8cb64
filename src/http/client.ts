/**
 * Asks hosts that the site itself names (its registry, its airferry), and returns their response, whatever the status:
 * nothing is tried again, no mirror is looked for. Goes straight there, through no proxy; everything else is as for
 * upstreams (send-request.ts).
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Readable } from "node:stream";
import { Agents, type Trust } from "./agents.ts";
import type { Authenticator } from "./authenticator.ts";
import { type BodySink, pump } from "./body.ts";
import { Credentials } from "./credentials.ts";
import { AttemptFailure, NoAnswer, upstreamError } from "./failure.ts";
import { dnsLookup, type Lookup, resolveBy } from "./guarded-lookup.ts";
import { HostLimits } from "./hosts.ts";
import { BY_USER, type Named } from "./named.ts";
import { type OpenParts, openUrl } from "./send-request.ts";
import type { Method } from "./sending.ts";
import { discard, Transport } from "./transport.ts";
import { Watchdog } from "./watchdog.ts";

const PATIENCE_MS = 60_000;
/** Minimum bytes per second of a response over the stall time: a trickle never ends. */
const MINIMUM_RATE = 1000;
/** Callers have their own limits. */
const CONCURRENCY = 64;

export interface ClientOptions {
  trust?: Trust | undefined;
  /** How long to wait for the next byte (default 60 s). */
  patienceMs?: number | undefined;
  lookup?: Lookup | undefined;
}

/** One request. */
export interface Call {
  method: Method;
  url: string;
  /** Default: the user. */
  named?: Named | undefined;
  /** Names in lower case. */
  headers?: Record<string, string> | undefined;
  /** A function returns a new stream each time the body is sent; its length is in `headers`. */
  body?: string | Buffer | (() => Readable) | undefined;
  auth?: Authenticator | undefined;
  /** Whether redirects are followed. */
  follow: boolean;
  /** Larger responses are refused. */
  maxBytes: number;
  patienceMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** A response without its body. */
export interface AnswerHead {
  status: number;
  /** Status and its text. */
  said: string;
  headers: IncomingHttpHeaders;
  /** The URL that answered: locations may be relative to it. */
  url: URL;
}

export interface ClientResponse extends AnswerHead {
  body: Buffer;
}

/** Keeps connections open. The caller closes it. */
export class HttpClient {
  readonly #watchdog: Watchdog;
  readonly #agents: Agents;
  readonly #parts: OpenParts;

  constructor({ trust, patienceMs = PATIENCE_MS, lookup = dnsLookup }: ClientOptions = {}) {
    this.#watchdog = new Watchdog(patienceMs, MINIMUM_RATE);
    this.#agents = new Agents(trust);
    this.#parts = {
      transport: new Transport(this.#watchdog, lookup),
      agents: this.#agents,
      credentials: new Credentials({ env: {} }),
      limits: new HostLimits(CONCURRENCY, CONCURRENCY),
      rewrites: [],
      proxyEnv: {},
      allowPrivateRedirects: false,
      resolve: resolveBy(lookup),
    };
  }

  /**
   * Returns the response with its body.
   * @throws {AttemptFailure} when there is none; errors of the body or the authenticator; the signal's reason
   */
  async send(call: Call): Promise<ClientResponse> {
    const chunks: Buffer[] = [];
    const head = await this.read(call, {
      write: async (chunk) => {
        chunks.push(Buffer.from(chunk));
      },
    });
    return { ...head, body: Buffer.concat(chunks) };
  }

  /** The same, with the body into a sink. */
  async read(call: Call, sink: BodySink): Promise<AnswerHead> {
    const { method, url, named = BY_USER, headers = {}, body, auth, follow, maxBytes, patienceMs, signal } = call;
    // A request that could have a body declares that it has none.
    const whole = method === "GET" || method === "HEAD" ? body : (body ?? Buffer.alloc(0));
    const request = { method, url, named, headers, body: whole, auth, follow, patienceMs, signal };
    const opened = await openUrl(this.#parts, request);
    const { exchange } = opened;
    try {
      if (method === "HEAD") await discard(exchange);
      else {
        const { how } = await pump(exchange, maxBytes, sink, signal);
        if (how === "over") throw failure(url, `the answer is larger than ${maxBytes} bytes`, false);
        if (how === "cut") throw failure(url, exchange.stalled() ?? "the connection was cut", true);
      }
    } finally {
      // A server that answers before the end of the request does not need the rest.
      if (!exchange.isSent()) exchange.destroy();
      opened.release();
    }
    const said = `${exchange.status} ${exchange.response.statusMessage ?? ""}`.trim();
    return { status: exchange.status, said, headers: exchange.headers, url: opened.url };
  }

  close(): void {
    this.#watchdog.close();
    this.#agents.close();
  }
}

function failure(url: string, fault: string, transient: boolean): AttemptFailure {
  const error = upstreamError("ERR_UPSTREAM", url, fault, { cause: new NoAnswer(fault) });
  return new AttemptFailure(error, { transient, fault });
}
