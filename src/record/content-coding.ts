/**
 * What an answer's Content-Encoding says of its body: codings that have to be undone before it is recorded, since
 * bodies are kept as they are without one.
 */
import { Transform, type TransformCallback } from "node:stream";
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
} from "node:zlib";

/** Servers apply one, rarely two. */
const MAX_CODINGS = 4;
/** RFC 9659: 8 MiB. Larger windows are memory that a small answer could take. */
const ZSTD_WINDOW_LOG = 23;

/** Files whose name says that they are compressed: the label is a habit of old servers, and the bytes are the file. */
const OWN_CODINGS: Readonly<Record<string, RegExp>> = {
  gzip: /\.(?:gz|tgz|taz|gzip|svgz)$/i,
  zstd: /\.(?:zst|tzst)$/i,
  br: /\.br$/i,
  compress: /\.(?:z|taz)$/i,
  bzip2: /\.(?:bz2|tbz2?)$/i,
  xz: /\.(?:xz|txz)$/i,
};

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  deflate: () => new AnyInflate(),
  br: createBrotliDecompress,
  zstd: () => createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG } }),
};

/**
 * Decoders for bytes that are labelled with `encoding`, in the order in which they undo it; none if the bytes are
 * recorded as they are. A fault if they cannot be undone.
 * @param path the path or URL of the answer, whose name may say that the file itself is compressed
 */
export function decodersFor(
  encoding: string | undefined,
  path: string,
): { decoders: (() => Transform)[] } | { fault: string } {
  const names = (encoding ?? "")
    .toLowerCase()
    .split(",")
    .map((it) => it.trim().replace(/^x-/, ""))
    .filter((it) => it !== "" && it !== "identity");
  const [first = ""] = names;
  // The first that was applied is the file's own.
  if (Object.hasOwn(OWN_CODINGS, first) && OWN_CODINGS[first]?.test(path.replace(/\?.*$/s, ""))) names.shift();
  const unknown = names.find((it) => !Object.hasOwn(DECODERS, it));
  if (unknown !== undefined) return { fault: `the encoding ${unknown.slice(0, 20)}` };
  if (names.length > MAX_CODINGS) return { fault: `${names.length} encodings` };
  return { decoders: names.reverse().flatMap((it) => DECODERS[it] ?? []) };
}

/** `deflate`: with the zlib header that RFC 9110 asks for, or without, as some servers send it. */
class AnyInflate extends Transform {
  #inner: Transform | undefined;

  override _transform(chunk: Buffer, _: string, done: TransformCallback): void {
    this.#inner ??= this.#begin(chunk);
    this.#inner.write(chunk, done);
  }

  override _flush(done: TransformCallback): void {
    if (this.#inner === undefined) done();
    else this.#inner.once("end", () => done()).end();
  }

  override _read(size: number): void {
    this.#inner?.resume();
    super._read(size);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#inner?.destroy();
    done(error);
  }

  #begin(chunk: Buffer): Transform {
    const [method = 0, flags = 0] = chunk;
    const hasHeader = (method & 15) === 8 && (method * 256 + flags) % 31 === 0;
    const inner = hasHeader || chunk.length === 1 ? createInflate() : createInflateRaw();
    inner.on("data", (it: Buffer) => {
      if (!this.push(it)) inner.pause();
    });
    inner.on("error", (error) => this.destroy(error));
    return inner;
  }
}
