/**
 * Moves a response's body into a sink: in order, in large pieces, with back-pressure, and never a byte beyond the limit. What
 * arrives while the sink writes is written in one piece afterwards.
 */
import type { Exchange } from "./transport.ts";

/** Largest piece handed on. */
const PIECE_BYTES = 1024 * 1024;
/** The socket is paused while this much waits for the sink. */
const HIGH_WATER_BYTES = 2 * 1024 * 1024;

/** How a body ended. */
export interface BodyEnd {
  /** Bytes that the sink took. */
  bytes: number;
  /** `end`: as the protocol wants it; `cut`: the connection broke; `over`: more than `limit` came, the excess was not taken. */
  how: "end" | "cut" | "over";
  cause?: Error | undefined;
}

/**
 * Reads the body to its end. A failing `write` closes the connection and its error is thrown as it is.
 * @throws the signal's reason when aborted
 */
export function pump(
  exchange: Exchange,
  limit: number,
  write: (chunk: Uint8Array) => Promise<void>,
  signal?: AbortSignal,
): Promise<BodyEnd> {
  const { response, watch } = exchange;
  return new Promise((resolve, reject) => {
    let waiting: Buffer[] = [];
    let waitingBytes = 0;
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
      // A write that is under way ends first: nobody may find bytes moving below a sink that was given up.
      if (!writing) settle(() => reject(failed?.error));
    };
    const abort = () => fail(signal?.reason);
    const finish = (how: BodyEnd["how"], cause?: Error) => {
      if (ended || failed) return;
      ended = { how, cause };
      watch.end();
      if (how !== "end") exchange.destroy();
      if (!writing) void drain();
    };
    const drain = async () => {
      writing = true;
      try {
        while (waiting.length > 0 && !failed) {
          const piece = takePiece();
          await write(piece);
          taken += piece.length;
          if (waitingBytes < HIGH_WATER_BYTES && response.isPaused() && !ended) {
            watch.pause(false);
            response.resume();
          }
        }
        writing = false;
        if (failed) fail(failed.error);
        else if (ended) settle(() => resolve({ ...(ended as BodyEnd), bytes: taken }));
      } catch (error) {
        writing = false;
        fail(error);
      }
    };
    /** Everything that waits, up to the piece size, as one buffer. */
    const takePiece = (): Buffer => {
      let count = 0;
      let size = 0;
      while (count < waiting.length && (count === 0 || size + (waiting[count] as Buffer).length <= PIECE_BYTES)) {
        size += (waiting[count++] as Buffer).length;
      }
      waitingBytes -= size;
      const parts = waiting.slice(0, count);
      waiting = waiting.slice(count);
      return count === 1 ? (parts[0] as Buffer) : Buffer.concat(parts, size);
    };

    signal?.addEventListener("abort", abort, { once: true });
    response.on("data", (chunk: Buffer) => {
      if (ended || failed) return;
      watch.bytes(chunk.length);
      received += chunk.length;
      const excess = received - limit;
      const wanted = excess > 0 ? chunk.subarray(0, Math.max(0, chunk.length - excess)) : chunk;
      if (wanted.length > 0) {
        waiting.push(wanted);
        waitingBytes += wanted.length;
      }
      if (excess > 0) return finish("over");
      if (waitingBytes >= HIGH_WATER_BYTES) {
        response.pause();
        watch.pause(true);
      }
      if (!writing) void drain();
    });
    response.once("end", () => finish(response.complete ? "end" : "cut"));
    response.once("error", (error: Error) => finish("cut", error));
    response.once("close", () => finish(response.complete ? "end" : "cut"));
    // An empty body may have ended before anybody listened.
    if (response.readableEnded) finish("end");
    else if (response.destroyed) finish("cut");
    if (signal?.aborted) abort();
    else response.resume();
  });
}
