/** A body that upstream encoded although that was not asked for: recorded as it is without the encoding. */
import type { Transform } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import type { RecordingSink } from "./relay.ts";

/** Of bombs no more than this is written. */
const MAX_RATIO = 200;
const ALWAYS_BYTES = 64 * 1024 * 1024;
const MAX_WAITING_BYTES = 1024 * 1024;

/** Files whose name says that they are compressed: the label is a habit of old servers, and the bytes are the file. */
const COMPRESSED_NAME = /\.(?:gz|tgz|taz|gzip|zst|tzst|br|z|bz2|tbz2?|xz|txz)$/i;

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  "x-gzip": createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
};

/** Makes a decoder for bytes labelled with `encoding`; undefined if they are recorded as they are. */
export function decoderFor(encoding: string | undefined, path: string): (() => Transform) | undefined {
  if (encoding === undefined || COMPRESSED_NAME.test(path.replace(/\?.*$/s, ""))) return undefined;
  const name = encoding.trim().toLowerCase();
  return Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined;
}

export class DecodedBody implements RecordingSink {
  onProgress: () => void = () => {};
  readonly #decoder: Transform;
  readonly #ended: Promise<unknown>;
  #received = 0;
  #waiting = 0;
  #fault: Error | undefined;

  constructor(decoder: Transform, body: RecordingSink & { readonly size: number }) {
    this.#decoder = decoder;
    body.onProgress = () => {
      if (!body.isFull) decoder.resume();
      this.onProgress();
    };
    decoder.on("data", (chunk: Buffer) => {
      if (body.size + chunk.length > Math.max(ALWAYS_BYTES, this.#received * MAX_RATIO))
        return void decoder.destroy(new Error("it grows without end"));
      body.push(chunk);
      if (body.isFull) decoder.pause();
    });
    this.#ended = new Promise((resolve) => {
      decoder.once("end", resolve);
      decoder.once("error", (error) => {
        this.#fault = error;
        resolve(undefined);
        this.onProgress();
      });
    });
  }

  get isFull(): boolean {
    return this.#fault === undefined && this.#waiting > MAX_WAITING_BYTES;
  }

  push(chunk: Buffer): void {
    if (this.#fault !== undefined) return;
    this.#received += chunk.length;
    this.#waiting += chunk.length;
    this.#decoder.write(chunk, () => {
      this.#waiting -= chunk.length;
      this.onProgress();
    });
  }

  /** Waits for the last bytes; returns what is wrong with the encoding. */
  async end(): Promise<string | undefined> {
    this.#decoder.end();
    await this.#ended;
    return this.#fault?.message;
  }

  destroy(): void {
    this.#decoder.destroy();
  }
}
