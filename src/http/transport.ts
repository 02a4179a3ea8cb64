/**
 * One request, one response, on Node's own client: no redirects, no retries, no decoding here. The body stays on the
 * socket until `pump` takes it or `discard` gets rid of it. Only this file sends.
 */
import { type ClientRequest, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { LookupFunction } from "node:net";
import type { Readable } from "node:stream";
import { AirferryError } from "../errors.ts";
import { VERSION } from "../version.ts";
import type { AgentPair } from "./agents.ts";
import { AttemptFailure, NoAnswer, socketFailure, upstreamError } from "./failure.ts";
import { dnsLookup, guardedLookup, type Lookup } from "./guarded-lookup.ts";
import type { Reach } from "./named.ts";
import type { Watch, Watchdog } from "./watchdog.ts";

/** An unwanted body is read up to this size, to reuse the connection. */
const MAX_DISCARD_BYTES = 64 * 1024;
const USER_AGENT = `airferry/${VERSION}`;

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH";

interface TransportRequest {
  method: Method;
  /** Without user and password. */
  url: URL;
  headers: Record<string, string>;
  /** A stream is read as fast as it is consumed; that time does not count as a stall. */
  body?: string | Buffer | Readable | undefined;
  agents: AgentPair;
  proxy: string | undefined;
  /** How near the host may be; undefined: anywhere. */
  reach?: Reach | undefined;
  /** How long to wait for the next byte, if not the default. */
  patienceMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** A response whose body has not been read. Exactly one of `pump` (body.ts) and `discard` ends it. */
export interface Exchange {
  method: TransportRequest["method"];
  status: number;
  headers: IncomingHttpHeaders;
  response: IncomingMessage;
  watch: Watch;
  /** The address of the connection; undefined behind a proxy. */
  remoteAddress: string | undefined;
  /** Whether the whole request was sent; a response may arrive before. */
  isSent: () => boolean;
  /** The reason, once it has stalled. */
  stalled: () => string | undefined;
  /** Closes the connection. */
  destroy(): void;
}

export class Transport {
  readonly #watchdog: Watchdog;
  readonly #lookup: Lookup;

  constructor(watchdog: Watchdog, lookup: Lookup = dnsLookup) {
    this.#watchdog = watchdog;
    this.#lookup = lookup;
  }

  /**
   * Sends a request and waits for the response's headers. @throws {AttemptFailure}; the signal's reason when aborted
   */
  send(request: TransportRequest): Promise<Exchange> {
    const { url, signal } = request;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const sending = this.#start(request);
      let stallReason: string | undefined;
      const abort = () => {
        watch.end();
        sending.destroy();
        reject(signal?.reason);
      };
      const watch = this.#watchdog.watch((reason) => {
        stallReason = reason;
        const error = upstreamError("ERR_UPSTREAM", url, `the transfer stalled: ${reason}`, {
          cause: new NoAnswer(reason),
          hint: "the network or upstream is too slow or stuck; run the same command to resume",
        });
        sending.destroy();
        reject(new AttemptFailure(error, { transient: true, stalled: true, fault: reason }));
      }, request.patienceMs);
      const settled = () => {
        signal?.removeEventListener("abort", abort);
      };
      signal?.addEventListener("abort", abort, { once: true });
      // Stays for the life of the request: it reports on it again when the body is cut, which `pump` sees for itself.
      sending.on("error", (error: NodeJS.ErrnoException) => {
        settled();
        watch.end();
        if (signal?.aborted) return reject(signal.reason);
        // What was to be sent was no good: upstream has no part in it.
        if (error instanceof AirferryError) return reject(error);
        const failure = socketFailure(url, error, request.proxy);
        const died = sending.reusedSocket && /ECONNRESET|EPIPE/.test(String((failure.error.cause as Error).message));
        const { fault, code } = failure;
        reject(died ? new AttemptFailure(failure.error, { transient: true, free: true, fault, code }) : failure);
      });
      sending.once("response", (response: IncomingMessage) => {
        settled();
        watch.began();
        response.on("error", () => {});
        resolve({
          method: request.method,
          status: response.statusCode ?? 0,
          headers: response.headers,
          response,
          watch,
          remoteAddress: request.proxy === undefined ? response.socket?.remoteAddress : undefined,
          isSent: () => sending.writableFinished,
          stalled: () => stallReason,
          destroy: () => {
            watch.end();
            response.destroy();
            sending.destroy();
          },
        });
      });
      sendBody(sending, request.body, watch);
    });
  }

  /** @throws {AirferryError} when our certificates are no good; {AttemptFailure} for what no request can be made of */
  #start({ url, method, headers, agents, proxy, reach }: TransportRequest): ClientRequest {
    const options = {
      method,
      headers: { "user-agent": USER_AGENT, ...headers },
      ...(reach !== undefined && { lookup: guardedLookup(reach, this.#lookup) as LookupFunction }),
    };
    try {
      return url.protocol === "https:"
        ? // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
          httpsRequest(url, { ...options, agent: agents.https, rejectUnauthorized: true })
        : httpRequest(url, { ...options, agent: agents.http });
    } catch (error) {
      throw error instanceof AirferryError ? error : socketFailure(url, error, proxy);
    }
  }
}

/** The time that a stream takes is nobody's fault. */
function sendBody(sending: ClientRequest, body: TransportRequest["body"], watch: Watch): void {
  if (body === undefined || typeof body === "string" || Buffer.isBuffer(body)) {
    sending.end(body);
    return;
  }
  watch.pause(true);
  body.once("close", () => watch.pause(false));
  body.once("error", (error) => sending.destroy(error));
  sending.once("close", () => body.destroy());
  body.pipe(sending);
}

/** Discards a body: a small one is read so that the connection can be reused, otherwise it is closed. */
export function discard(exchange: Exchange): Promise<void> {
  const { response } = exchange;
  if (response.readableEnded || response.destroyed) {
    exchange.watch.end();
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    let left = MAX_DISCARD_BYTES;
    const done = () => {
      exchange.watch.end();
      resolve();
    };
    response.once("end", done).once("close", done).once("error", done);
    response.on("data", (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) exchange.destroy();
    });
    if (Number(exchange.headers["content-length"] ?? 0) > MAX_DISCARD_BYTES && exchange.method !== "HEAD")
      exchange.destroy();
    else response.resume();
  });
}
