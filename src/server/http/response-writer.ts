/**
 * Copies bytes from a reader to one response with a fixed amount of memory: while one buffer is written, the next is
 * read. A buffer is reused only after the socket has accepted it. See docs/serve.md, "Large and small files".
 */
import type { BufferPair } from "./buffers.ts";
import type { ServerRequest } from "./context.ts";
import type { Reader } from "./reader.ts";

/** The client disconnected or the connection broke; not a fault of this side. */
export class ClientGone extends Error {}

/** One response being sent. {@link ResponseWriter.close} must be called at its end, however it ended. */
export class ResponseWriter {
  readonly #request: ServerRequest;
  readonly #reader: Reader;
  #buffers: BufferPair | undefined;
  #gone = false;
  #abortWrite: ((error: Error) => void) | undefined;

  constructor(request: ServerRequest, reader: Reader) {
    this.#request = request;
    this.#reader = reader;
    request.res.on("close", this.#onClose);
    this.#gone = request.res.destroyed;
  }

  /**
   * Sends the content's bytes from `start` up to `end`, exclusive. @throws the reader's error, or {@link ClientGone}
   */
  async send(start: number, end: number): Promise<void> {
    if (end <= start) return;
    this.#buffers ??= this.#request.resources.buffers.take(end - start);
    let { first: current, second: next } = this.#buffers;
    let writing: Promise<void> | undefined;
    let position = start;
    while (position < end) {
      // With a single buffer the write must be over before the next read; with two, reading and writing overlap.
      if (current === next) await writing;
      const chunk = await this.#reader.read(current, position, Math.min(current.length, end - position));
      if (current !== next) await writing;
      writing = this.write(chunk);
      // It is awaited in the next round; until then a failure must not count as unhandled.
      writing.catch(() => {});
      position += chunk.length;
      [current, next] = [next, current];
    }
    await writing;
  }

  /** Writes bytes and resolves when the socket has accepted them. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#gone) {
        reject(new ClientGone());
        return;
      }
      this.#abortWrite = reject;
      this.#request.res.write(bytes, (error) => {
        if (error) {
          reject(new ClientGone());
          return;
        }
        this.#request.sent += bytes.length;
        resolve();
      });
    });
  }

  close(): void {
    this.#request.res.off("close", this.#onClose);
    if (this.#buffers === undefined) return;
    // After an abort it is unknown whether the kernel still reads from a buffer.
    const { buffers } = this.#request.resources;
    if (this.#gone || this.#request.res.destroyed) buffers.drop(this.#buffers);
    else buffers.giveBack(this.#buffers);
    this.#buffers = undefined;
  }

  #onClose = (): void => {
    this.#gone = true;
    this.#abortWrite?.(new ClientGone());
  };
}
