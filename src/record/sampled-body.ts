/** A body on its way into the recording, whose first bytes are looked at in the end: credentials are not recorded. */
import type { IncomingBody } from "./body-store.ts";
import type { RecordingSink } from "./relay.ts";

/** Bodies up to this are looked at as a whole. */
export const SAMPLE_BYTES = 256 * 1024;

export class SampledBody implements RecordingSink {
  readonly #body: IncomingBody;
  /** All of it, while that is little: larger bodies are in their files. */
  #all: Buffer[] = [];

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
    if (this.#body.size + chunk.length <= SAMPLE_BYTES) this.#all.push(chunk);
    else this.#all = [];
    this.#body.push(chunk);
  }

  /** All bytes; only if `isWhole`. */
  get bytes(): Buffer {
    if (this.#all.length !== 1) this.#all = [Buffer.concat(this.#all)];
    return this.#all[0] ?? Buffer.alloc(0);
  }

  /** The first bytes of a body that has come to its end; all of them if `isWhole`. */
  first(): Promise<Buffer> | Buffer {
    return this.isWhole ? this.bytes : this.#body.head(SAMPLE_BYTES);
  }

  get isWhole(): boolean {
    return this.#body.size <= SAMPLE_BYTES;
  }
}
