/**
 * Moves a response's body into a sink: in order, in large pieces of memory that are lent by the sink or reused, with
 * back-pressure, and never a byte beyond the limit.
 */
import { buffersUsed } from "../io/flat-memory.ts";
import { DirectReader } from "./direct-read.ts";
import type { Exchange } from "./transport.ts";

/**
 * Bytes are collected into pieces of this size: many small writes, and the garbage of their buffers, cost more than one
 * copy.
 */
const PIECE_BYTES = 1024 * 1024;
/** Bytes of a slow upstream are passed on after this time, so that a kill loses little. */
const HAND_ON_MS = 1000;
const NONE = new Uint8Array(0);

/** The target of a body. */
export interface BodySink {
  /**
   * Appends at `position`; the buffer may be reused once the promise is settled, unless it came from `lend`: then it
   * belongs to the sink again.
   */
  write(chunk: Uint8Array): Promise<void>;
  /**
   * Lends memory in which the next bytes are collected, from its start, before `write` gets them, so they are never
   * copied again. Returns the same memory until it is written. Without it the engine uses its own.
   */
  lend?(): Promise<Uint8Array>;
}

/** How a body ended. */
interface BodyEnd {
  /** Bytes written to the sink. */
  bytes: number;
  /** `end`: complete; `cut`: the connection broke; `over`: more than `limit` arrived, the excess was dropped. */
  how: "end" | "cut" | "over";
  cause?: Error | undefined;
}

/**
 * Reads the body to its end. A failing `write` closes the connection and its error is thrown unchanged.
 * @throws the signal's reason when aborted
 */
export function pump(exchange: Exchange, limit: number, sink: BodySink, signal?: AbortSignal): Promise<BodyEnd> {
  const { response, watch } = exchange;
  const lends = sink.lend !== undefined;
  const direct = exchange.method === "HEAD" ? undefined : DirectReader.of(response, limit);
  const source = direct ?? response;
  return new Promise((resolve, reject) => {
    const size = pieceSize(exchange, limit);
    /**
     * The piece being filled; empty while none is available. Of its own memory one piece is filled while the sink has
     * the other.
     */
    let filling: Uint8Array = lends ? NONE : Buffer.allocUnsafeSlow(size);
    let spare: Uint8Array | undefined;
    let filled = 0;
    /** Received bytes that do not fit; the socket is paused while there are any. */
    let waiting: Uint8Array[] = [];
    let isPaused = false;
    /** The next bytes are read into the piece being filled, which the sink must not get before. */
    let isAimed = false;
    let handedOn = Date.now();
    let received = 0;
    let taken = 0;
    let writing = false;
    let ended: Omit<BodyEnd, "bytes"> | undefined;
    let failed: { error: unknown } | undefined;
    let settled = false;

    const settle = (then: () => void) => {
      if (settled) return;
      settled = true;
      watch.end();
      signal?.removeEventListener("abort", abort);
      then();
    };
    const fail = (error: unknown) => {
      failed ??= { error };
      exchange.destroy();
      // A running write ends first: bytes must not change in a sink that was given up.
      if (!writing) settle(() => reject(failed?.error));
    };
    const abort = () => fail(signal?.reason);
    const finish = (how: BodyEnd["how"], cause?: Error) => {
      if (ended || failed) return;
      ended = { how, cause };
      isAimed = false;
      watch.end();
      if (how !== "end" || direct !== undefined) exchange.destroy();
      if (!writing) void drain();
    };
    const isDue = () => filled === filling.length || ended !== undefined || Date.now() - handedOn >= HAND_ON_MS;
    const drain = async () => {
      writing = true;
      try {
        while (!failed) {
          if (filling.length === 0 && (waiting.length > 0 || (!ended && received < limit))) {
            filling = (await sink.lend?.()) ?? NONE;
            gather();
          }
          if (filled === 0 || isAimed || !isDue()) break;
          const piece = filling;
          const length = filled;
          filling = lends ? NONE : (spare ?? Buffer.allocUnsafeSlow(size));
          filled = 0;
          handedOn = Date.now();
          gather();
          await sink.write(piece.subarray(0, length));
          spare = piece;
          taken += length;
          gather();
        }
        writing = false;
        if (failed) fail(failed.error);
        else if (ended) settle(() => resolve({ ...(ended as BodyEnd), bytes: taken }));
      } catch (error) {
        writing = false;
        fail(error);
      }
    };
    /** Copies waiting bytes into the piece being filled, and pauses or resumes the socket. */
    const gather = () => {
      let done = 0;
      for (; done < waiting.length && filled < filling.length; done++) {
        const chunk = waiting[done] as Uint8Array;
        const fits = Math.min(chunk.length, filling.length - filled);
        filling.set(fits === chunk.length ? chunk : chunk.subarray(0, fits), filled);
        filled += fits;
        if (fits < chunk.length) {
          waiting[done] = chunk.subarray(fits);
          break;
        }
      }
      waiting = done === waiting.length ? [] : waiting.slice(done);
      if (ended) return;
      if (waiting.length > 0 && !isPaused) {
        isPaused = true;
        source.pause();
        watch.pause(true);
      } else if (waiting.length === 0 && isPaused) {
        isPaused = false;
        watch.pause(false);
        source.resume();
      }
    };

    const arrived = (chunk: Uint8Array) => {
      if (ended || failed) return;
      watch.bytes(chunk.length);
      received += chunk.length;
      const excess = received - limit;
      const wanted = excess > 0 ? chunk.subarray(0, Math.max(0, chunk.length - excess)) : chunk;
      if (isAimed) {
        isAimed = false;
        filled += wanted.length;
      } else if (wanted.length > 0) {
        waiting.push(wanted);
        gather();
      }
      if (excess > 0) return finish("over");
      if (direct?.isAtEnd) return finish("end");
      if (!writing && isDue()) void drain();
    };
    const memory = () => {
      const next = ended || failed ? NONE : filling.subarray(filled);
      isAimed = next.length > 0;
      return next;
    };

    signal?.addEventListener("abort", abort, { once: true });
    response.once("end", () => finish(response.complete ? "end" : "cut"));
    response.once("error", (error: Error) => finish("cut", error));
    response.once("close", () => finish(response.complete ? "end" : "cut"));
    // An empty body may have ended before there was a listener.
    if (response.readableEnded) finish("end");
    else if (response.destroyed) finish("cut");
    if (signal?.aborted) abort();
    else if (!ended) {
      if (direct !== undefined) direct.start(response, { memory, took: arrived });
      else {
        response.on("data", (chunk: Buffer) => {
          buffersUsed(chunk.length);
          arrived(chunk);
        });
      }
      if (lends && !writing) void drain();
    }
  });
}

/** A piece need not be larger than the body. */
function pieceSize(exchange: Exchange, limit: number): number {
  const length = Number(exchange.headers["content-length"] ?? PIECE_BYTES);
  return Math.max(1, Math.min(PIECE_BYTES, limit, Number.isFinite(length) ? length : PIECE_BYTES));
}
