/**
 * A sink that keeps a small body in memory; it never holds more than the transfer's limit.
 */
import type { FetchSink } from "./types.ts";

export class MemorySink implements FetchSink {
  #chunks: Buffer[] = [];
  #position = 0;

  get position(): number {
    return this.#position;
  }

  write(chunk: Uint8Array): Promise<void> {
    // Writers may reuse their chunks.
    this.#chunks.push(Buffer.from(chunk));
    this.#position += chunk.length;
    return Promise.resolve();
  }

  restart(): Promise<void> {
    this.#chunks = [];
    this.#position = 0;
    return Promise.resolve();
  }

  /** Everything written, as one buffer. */
  bytes(): Buffer {
    // Instead of the chunks: it is asked for again, and may be large.
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks, this.#position)];
    return (this.#chunks[0] as Buffer | undefined) ?? Buffer.alloc(0);
  }
}
