/** A body that upstream encoded although that was not asked for: recorded as it is without the encoding. */
import type { Transform } from "node:stream";
import type { RecordingSink } from "./relay.ts";

/** Of bombs no more than this is written, nor handed on between two decoders. */
const MAX_RATIO = 200;
const ALWAYS_BYTES = 64 * 1024 * 1024;
const MAX_WAITING_BYTES = 1024 * 1024;

export class DecodedBody implements RecordingSink {
  onProgress: () => void = () => {};
  readonly #decoders: readonly Transform[];
  readonly #ended: Promise<unknown>;
  #received = 0;
  #waiting = 0;
  #fault: Error | undefined;

  /** @param decoders at least one, in the order in which they undo the encoding */
  constructor(decoders: readonly Transform[], body: RecordingSink & { readonly size: number }) {
    this.#decoders = decoders;
    const last = decoders.at(-1);
    body.onProgress = () => {
      if (!body.isFull) last?.resume();
      this.onProgress();
    };
    const fail = (error: Error) => {
      if (this.#fault !== undefined) return;
      this.#fault = error;
      this.destroy();
      this.onProgress();
    };
    for (const [at, decoder] of decoders.entries()) {
      const next = decoders[at + 1];
      let made = 0;
      decoder.on("error", fail);
      decoder.on("data", (chunk: Buffer) => {
        made += chunk.length;
        if (made > Math.max(ALWAYS_BYTES, this.#received * MAX_RATIO)) fail(new Error("it grows without end"));
        else if (next === undefined) {
          body.push(chunk);
          if (body.isFull) decoder.pause();
        } else if (!next.write(chunk)) {
          decoder.pause();
          next.once("drain", () => decoder.resume());
        }
      });
      if (next !== undefined) decoder.once("end", () => next.end());
    }
    this.#ended = new Promise((resolve) => {
      last?.once("end", resolve);
      last?.once("close", resolve);
    });
  }

  get isFull(): boolean {
    return this.#fault === undefined && this.#waiting > MAX_WAITING_BYTES;
  }

  push(chunk: Buffer): void {
    if (this.#fault !== undefined) return;
    this.#received += chunk.length;
    this.#waiting += chunk.length;
    this.#decoders[0]?.write(chunk, () => {
      this.#waiting -= chunk.length;
      this.onProgress();
    });
  }

  /** Waits for the last bytes; returns what is wrong with the encoding. Nothing at all needs none. */
  async end(): Promise<string | undefined> {
    if (this.#received === 0) {
      this.destroy();
      return undefined;
    }
    if (this.#fault === undefined) this.#decoders[0]?.end();
    await this.#ended;
    return this.#fault?.message;
  }

  destroy(): void {
    for (const it of this.#decoders) it.destroy();
  }
}
