/**
 * One request, one response, on got: no redirects, no retries, no decoding here. The body stays on the socket until `pump` takes
 * it or `discard` gets rid of it. Only this file knows got.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import got, { type Got } from "got";
import { AirferryError } from "../errors.ts";
import { VERSION } from "../version.ts";
import type { AgentPair } from "./agents.ts";
import { AttemptFailure, NoAnswer, socketFailure, upstreamError } from "./failure.ts";
import { dnsLookup, guardedLookup, type Lookup } from "./guarded-lookup.ts";
import type { Reach } from "./named.ts";
import type { Watch, Watchdog } from "./watchdog.ts";

/** A body of an answer that nobody wants is read up to this, to keep the connection. */
const MAX_DISCARD_BYTES = 64 * 1024;

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH";

interface Request {
  method: Method;
  /** Without user and password. */
  url: URL;
  headers: Record<string, string>;
  /** A stream is read as fast as it is taken; the time that it takes is nobody's fault. */
  body?: string | Buffer | Readable | undefined;
  agents: AgentPair;
  proxy: string | undefined;
  /** How near the host may turn out to be; undefined: anywhere. */
  reach?: Reach | undefined;
  /** How long to wait for the next byte, where that is not the usual time. */
  patienceMs?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** A response whose body has not been read. Exactly one of `pump` (body.ts) and `discard` ends it. */
export interface Exchange {
  method: Request["method"];
  status: number;
  headers: IncomingHttpHeaders;
  response: IncomingMessage;
  watch: Watch;
  /** Where the connection leads; undefined behind a proxy. */
  remoteAddress: string | undefined;
  /** Whether all of the request went out; an answer may come before. */
  isSent: () => boolean;
  /** Set once it stalled: the reason. */
  stalled: () => string | undefined;
  /** Closes the connection. */
  destroy(): void;
}

/** What of Node's request is looked at. */
interface Sending {
  reusedSocket?: boolean;
  writableFinished: boolean;
  once(event: "socket", then: () => void): void;
}

export class Transport {
  readonly #got: Got;
  readonly #watchdog: Watchdog;
  readonly #lookup: Lookup;

  constructor(watchdog: Watchdog, lookup: Lookup = dnsLookup) {
    this.#watchdog = watchdog;
    this.#lookup = lookup;
    // One instance: merging options anew for each request is what costs time.
    this.#got = got.extend({
      followRedirect: false,
      throwHttpErrors: false,
      decompress: false,
      strictContentLength: false,
      retry: { limit: 0 },
      headers: { "user-agent": `airferry/${VERSION}` },
    });
  }

  /** Sends a request and waits for the response's headers. @throws {AttemptFailure}; the signal's reason when aborted */
  send(request: Request): Promise<Exchange> {
    const { url, signal } = request;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const stream = this.#got.stream(url, {
        method: request.method,
        headers: request.headers,
        agent: request.agents,
        ...(request.reach !== undefined && { dnsLookup: guardedLookup(request.reach, this.#lookup) as never }),
        ...(request.body !== undefined && { body: request.body }),
      });
      let reused = false;
      let stallReason: string | undefined;
      const abort = () => {
        watch.end();
        stream.destroy();
        reject(signal?.reason);
      };
      const watch = this.#watchdog.watch((reason) => {
        stallReason = reason;
        const error = upstreamError("ERR_UPSTREAM", url, `the transfer stalled: ${reason}`, {
          cause: new NoAnswer(reason),
          hint: "the network or upstream is too slow or stuck; run the command again: it continues where it stopped",
        });
        stream.destroy();
        reject(new AttemptFailure(error, { transient: true, stalled: true, fault: reason }));
      }, request.patienceMs);
      const { body } = request;
      if (body !== undefined && typeof body !== "string" && !Buffer.isBuffer(body)) {
        watch.pause(true);
        body.once("close", () => watch.pause(false));
      }
      const settled = () => {
        signal?.removeEventListener("abort", abort);
      };
      signal?.addEventListener("abort", abort, { once: true });
      let sending: Sending | undefined;
      stream.once("request", (sent: Sending) => {
        sending = sent;
        sent.once("socket", () => {
          reused = sent.reusedSocket === true;
        });
      });
      // Stays for the life of the stream: got reports on it again when the body is cut, which `pump` sees for itself.
      stream.on("error", (error: NodeJS.ErrnoException) => {
        settled();
        watch.end();
        if (signal?.aborted) return reject(signal.reason);
        // Our own certificates were no good: upstream has no part in it.
        if (error.cause instanceof AirferryError) return reject(error.cause);
        const failure = socketFailure(url, error, request.proxy);
        const died = reused && /ECONNRESET|EPIPE/.test(String((failure.error.cause as Error).message));
        const { fault, code } = failure;
        reject(died ? new AttemptFailure(failure.error, { transient: true, free: true, fault, code }) : failure);
      });
      stream.once("response", (response: IncomingMessage) => {
        settled();
        watch.began();
        // The body is read here and not through got's own Duplex, which drops what it holds when a connection is cut.
        response.removeAllListeners("readable");
        resolve({
          method: request.method,
          status: response.statusCode ?? 0,
          headers: response.headers,
          response,
          watch,
          remoteAddress: request.proxy === undefined ? response.socket?.remoteAddress : undefined,
          isSent: () => sending?.writableFinished === true,
          stalled: () => stallReason,
          destroy: () => {
            watch.end();
            response.on("error", () => {});
            response.destroy();
            stream.destroy();
          },
        });
      });
    });
  }
}

/** Gets rid of a body: a small one is read so that the connection can be used again, else it is closed. */
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
    response.once("end", done).once("close", done).on("error", done);
    response.on("data", (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) exchange.destroy();
    });
    if (Number(exchange.headers["content-length"] ?? 0) > MAX_DISCARD_BYTES && exchange.method !== "HEAD")
      exchange.destroy();
    else response.resume();
  });
}
