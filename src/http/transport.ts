/**
 * One request, one response: no redirects, no retries, no decoding here. The body stays on the socket until `pump`
 * takes it or `discard` discards it.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { LookupFunction } from "node:net";
import { Readable } from "node:stream";
import { AirferryError } from "../errors.ts";
import { AttemptFailure, NoAnswer, socketFailure, upstreamError } from "./failure.ts";
import { dnsLookup, guardedLookup, type Lookup } from "./guarded-lookup.ts";
import type { Reach } from "./named.ts";
import { type Message, Sender, type Sending } from "./sending.ts";
import type { Watch, Watchdog } from "./watchdog.ts";

/** An unwanted body is read up to this size, to reuse the connection. */
const MAX_DISCARD_BYTES = 64 * 1024;

interface TransportRequest extends Omit<Message, "lookup"> {
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
  readonly #sender = new Sender();
  readonly #watchdog: Watchdog;
  readonly #lookup: Lookup;

  constructor(watchdog: Watchdog, lookup: Lookup = dnsLookup) {
    this.#watchdog = watchdog;
    this.#lookup = lookup;
  }

  /**
   * Sends a request and waits for the response's headers. @throws {AttemptFailure}; the signal's reason when aborted
   */
  async send(request: TransportRequest): Promise<Exchange> {
    const { url, signal, reach, proxy, body } = request;
    const lookup = reach && (guardedLookup(reach, this.#lookup) as LookupFunction);
    await this.#sender.prepare(request);
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const sending = this.#start({ ...request, lookup }, proxy);
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
      // A stream is read as fast as it is consumed; that time does not count as a stall.
      if (body instanceof Readable) {
        watch.pause(true);
        body.once("close", () => watch.pause(false));
      }
      // Stays for the life of the request: it reports on it again when the body is cut, which `pump` sees for itself.
      sending.onError((error) => {
        settled();
        watch.end();
        if (signal?.aborted) return reject(signal.reason);
        // What was to be sent was no good: upstream has no part in it.
        if (error instanceof AirferryError) return reject(error);
        const failure = socketFailure(url, error, proxy);
        const died = sending.isReused() && /ECONNRESET|EPIPE/.test(String((failure.error.cause as Error).message));
        const { fault, code } = failure;
        reject(died ? new AttemptFailure(failure.error, { transient: true, free: true, fault, code }) : failure);
      });
      sending.onResponse((response: IncomingMessage) => {
        settled();
        watch.began();
        response.on("error", () => {});
        resolve({
          method: request.method,
          status: response.statusCode ?? 0,
          headers: response.headers,
          response,
          watch,
          remoteAddress: proxy === undefined ? response.socket?.remoteAddress : undefined,
          isSent: () => sending.isSent(),
          stalled: () => stallReason,
          destroy: () => {
            watch.end();
            response.destroy();
            sending.destroy();
          },
        });
      });
    });
  }

  /** @throws {AirferryError} when our certificates are no good; {AttemptFailure} for what no request can be made of */
  #start(message: Message, proxy: string | undefined): Sending {
    try {
      return this.#sender.send(message);
    } catch (error) {
      throw error instanceof AirferryError ? error : socketFailure(message.url, error, proxy);
    }
  }
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
