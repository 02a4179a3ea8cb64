/**
 * Opens xz data with the WebAssembly decoder of xz-decompress (xz-embedded), a piece at a time.
 */
import { ReadableStream } from "node:stream/web";
// CommonJS whose names Node cannot see: only the default import works.
import xz from "xz-decompress";
import { Pace } from "../io/pace.ts";

const FEED_BYTES = 256 * 1024;

/** Yields the open bytes of one xz stream, with pauses. Throws what the decoder throws on damaged or cut data. */
export async function* decodeXz(bytes: Uint8Array): AsyncGenerator<Buffer> {
  let at = 0;
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(Uint8Array.prototype.slice.call(bytes, at, at + FEED_BYTES));
      at += FEED_BYTES;
    },
  });
  const reader = new xz.XzReadableStream(source as never).getReader();
  let finished = false;
  const pace = new Pace((fault) => new Error(fault));
  try {
    for (;;) {
      if (pace.isDue) await pace.rest();
      const { done, value } = await reader.read();
      if (done) break;
      // The decoder's own memory: it is reused for the next piece.
      yield Buffer.from(value);
    }
    finished = true;
  } finally {
    if (!finished) await reader.cancel().catch(() => undefined);
  }
}
