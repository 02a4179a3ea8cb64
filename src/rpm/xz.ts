/**
 * Decompresses xz data with the WebAssembly decoder of xz-decompress (xz-embedded), a piece at a time.
 */
import { ReadableStream } from "node:stream/web";
// CommonJS whose named exports Node cannot see: only the default import works.
import xz from "xz-decompress";
import { Pace } from "../io/pace.ts";

const FEED_BYTES = 256 * 1024;

/**
 * Yields the decompressed bytes of one xz stream in memory, with pauses. Throws what the decoder throws on damaged or
 * truncated data.
 */
export async function* decodeXz(bytes: Uint8Array): AsyncGenerator<Buffer> {
  const pace = new Pace((fault) => new Error(fault));
  for await (const chunk of decodeXzStream(pieces(bytes))) {
    if (pace.isDue) await pace.rest();
    yield chunk;
  }
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += FEED_BYTES)
    yield Uint8Array.prototype.slice.call(bytes, at, at + FEED_BYTES);
}

/** The same for a source of any length, on demand. Bytes of `source` must not change afterwards. */
export async function* decodeXzStream(
  source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Buffer> {
  const reader = new xz.XzReadableStream(ReadableStream.from(source) as never).getReader();
  let finished = false;
  try {
    for (;;) {
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
