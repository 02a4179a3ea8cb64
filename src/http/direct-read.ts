/**
 * Large bodies straight from the socket into the memory where they are wanted. Node's parser copies every piece of a
 * body out of the buffer that it was read into, and a stream hands it on: for a gigabyte that takes the processor
 * longer than hashing it. Once the head is parsed and the length is known, neither is needed for the rest.
 */
import type { IncomingMessage } from "node:http";
import type { OnReadOpts } from "node:net";
import type { Duplex } from "node:stream";

/** Connections read into this, unless a body is read directly. */
const SCRATCH_BYTES = 64 * 1024;

/** The parser never learns of the rest, so the connection serves no other request: the body has to be worth that. */
const WORTH_BYTES = 64 * 1024 * 1024;

/** Where the bytes of a body go. */
interface DirectTarget {
  /** Memory for the next bytes; empty while there is none. Asked for before the first read and after each `took`. */
  memory(): Uint8Array;
  /** `bytes` are the first of what `memory` returned last; or, where that was empty, a copy elsewhere. */
  took(bytes: Uint8Array): void;
}

/** Decides where one connection reads to. */
export class DirectReader {
  static readonly #readers = new WeakMap<Duplex, DirectReader>();
  /** Of all connections: what is read is taken before anything else is. */
  static #scratch: Buffer | undefined;
  #socket: Duplex | undefined;
  #target: DirectTarget | undefined;
  /** Bytes that the target still wants. */
  #left = 0;
  #isScratch = true;

  /** Opens a connection with `connect`, which passes `onread` on to the socket that it makes. */
  static connect<T extends Duplex | null | undefined>(connect: (onread: OnReadOpts) => T): T {
    const reader = new DirectReader();
    const socket = connect({
      buffer: () => reader.#next(),
      callback: (count, memory) => reader.#took(memory.subarray(0, count)),
    });
    if (socket) {
      reader.#socket = socket;
      DirectReader.#readers.set(socket, reader);
    }
    return socket;
  }

  /**
   * The reader for the rest of a body of which nothing was read yet. Undefined unless its length is known, within
   * `limit`, and more than {@link WORTH_BYTES}.
   */
  static of(response: IncomingMessage, limit: number): DirectReader | undefined {
    const { "content-length": length, "transfer-encoding": coding } = response.headers;
    if (coding !== undefined || !(Number(length) > WORTH_BYTES) || Number(length) > limit) return undefined;
    const { socket } = response;
    // What the socket keeps the parser has not seen.
    if (response.readableFlowing !== null || socket.destroyed || socket.readableLength > 0) return undefined;
    return DirectReader.#readers.get(socket);
  }

  /** Whether the target has the whole body. */
  get isAtEnd(): boolean {
    return this.#target !== undefined && this.#left === 0;
  }

  /**
   * Reads the body into a target, beginning with what the parser has of it. At its end the caller closes the
   * connection.
   */
  start(response: IncomingMessage, target: DirectTarget): void {
    this.#left = Number(response.headers["content-length"]) - response.readableLength;
    this.#target = target;
    this.resume();
    for (let chunk = response.read(); chunk !== null; chunk = response.read()) target.took(chunk);
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  #next(): Uint8Array {
    let memory = this.#target?.memory();
    this.#isScratch = memory === undefined || memory.length === 0;
    if (memory === undefined || this.#isScratch) {
      DirectReader.#scratch ??= Buffer.allocUnsafeSlow(SCRATCH_BYTES);
      memory = DirectReader.#scratch;
    }
    return this.#target === undefined ? memory : memory.subarray(0, Math.max(1, this.#left));
  }

  /** Returns whether to read on. */
  #took(bytes: Uint8Array): boolean {
    if (this.#target !== undefined) {
      if (bytes.length > this.#left) return false;
      this.#left -= bytes.length;
      this.#target.took(this.#isScratch ? Buffer.from(bytes) : bytes);
      return this.#left > 0;
    }
    // A copy: a paused parser leaves it with the socket, while other connections read into the same memory.
    return this.#socket?.push(Buffer.from(bytes)) ?? false;
  }
}
