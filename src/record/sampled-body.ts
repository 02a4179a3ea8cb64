/** A body on its way into the recording, whose first bytes are looked at in the end: credentials are not recorded. */
import type { IncomingBody } from "./body-store.ts";
import type { RecordingSink } from "./relay.ts";

/** Bodies up to this are looked at as a whole. */
export const SAMPLE_BYTES = 256 * 1024;

export class SampledBody implements RecordingSink {
  readonly #body: IncomingBody;
  readonly #first: Buffer[] = [];
  #held = 0;

  constructor(body: IncomingBody) {
    this.#body = body;
  }

  get onProgress(): () => void {
    return this.#body.onProgress;
  }

  set onProgress(call: () => void) {
    this.#body.onProgress = call;
  }

  get isFull(): boolean {
    return this.#body.isFull;
  }

  /** Bytes received. */
  get size(): number {
    return this.#body.size;
  }

  push(chunk: Buffer): void {
    if (this.#held < SAMPLE_BYTES) {
      const part = chunk.subarray(0, SAMPLE_BYTES - this.#held);
      this.#first.push(part);
      this.#held += part.length;
    }
    this.#body.push(chunk);
  }

  /** The first bytes; all of them if `isWhole`. */
  get bytes(): Buffer {
    return Buffer.concat(this.#first);
  }

  get isWhole(): boolean {
    return this.#body.size === this.#held;
  }
}
