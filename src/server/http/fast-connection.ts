/**
 * One connection of the fast path: reads requests, has them answered one at a time, and goes to Node's HTTP with the
 * first that is not for here. See fast-path.ts.
 */
import type { Socket } from "node:net";
import type { FastAnswer, Known } from "./fast-answer.ts";
import type { PlainRequest } from "./plain-request.ts";
import { readInto } from "./shared-reads.ts";

/** The fast path, as its connections see it. */
export interface Front {
  /** What all connections read into: a request is read, understood and answered before the next is read. */
  readonly readBuffer: Buffer;
  /** Called with each answer when it is over. */
  readonly log: ((answer: FastAnswer) => void) | undefined;
  /** The last tick in which a connection made now may send its first request. */
  readonly firstDeadline: number;
  /** The last tick in which the next request may come after an answer now. */
  readonly nextDeadline: number;
  /** The request that these bytes are; undefined for anything but one plain GET. */
  parse(buffer: Buffer, length: number): PlainRequest | undefined;
  /** How a request is answered; a promise while the store is looked at; undefined when not here. */
  find(request: PlainRequest, socket: Socket): Known | undefined | Promise<unknown>;
  /**
   * Composes an answer, to be written at once or held. Undefined when the file has to be loaded first, and when slow
   * clients hold too much; `bytes` are those of the file where it was.
   */
  compose(known: Known, bytes?: Buffer): Buffer | undefined;
  load(known: Known): Promise<Buffer>;
  /** The socket still needs what was composed last. Returns what ends that. */
  hold(known: Known, composed: Buffer): () => void;
  /** Takes note that a connection is gone. */
  forget(connection: FastConnection): void;
  /** Takes note that a connection is no longer here; if its first request has not arrived yet, until when it must. */
  leave(connection: FastConnection, deadline: number | undefined): void;
}

/** Sent behind what the socket did not take at once, to learn when it has taken it. */
const NOTHING = Buffer.alloc(0);

export class FastConnection {
  readonly socket: Socket;
  readonly #path: Front;
  readonly #handOver: (socket: Socket) => void;
  readonly #client: string | undefined;
  /** To be called when the answer that is partly with the socket is done, or never will be. */
  #pending: ((whole: boolean) => void) | undefined;
  /** What came meanwhile. */
  #next: Buffer | undefined;
  #loading = false;
  #answered = false;
  /** The client has nothing more to ask. */
  #ended = false;
  /** Node's HTTP has the connection now. */
  #left = false;
  /** The last tick of {@link Front} in which the next request may come. */
  #deadline: number;
  #startedMs = 0;

  constructor(path: Front, accepted: Socket, handOver: (socket: Socket) => void) {
    this.#path = path;
    this.#handOver = handOver;
    this.#deadline = path.firstDeadline;
    const own = readInto(path.readBuffer, accepted, (buffer, length) => this.#onBytes(buffer, length));
    const socket = own ?? accepted;
    this.socket = socket;
    if (own === undefined) socket.on("data", this.#onData);
    this.#client = path.log && socket.remoteAddress;
    socket.on("error", ignore);
    socket.on("close", this.#onClose);
    socket.on("end", this.#onEnd);
  }

  get isIdle(): boolean {
    return this.#answered && !this.#isBusy;
  }

  /** A client that takes its answer slowly may do so. */
  endIfOverdue(tick: number): void {
    if (this.#deadline >= tick || this.#isBusy) return;
    if (this.#answered) this.socket.destroy();
    else endLate(this.socket);
  }

  get #isBusy(): boolean {
    return this.#pending !== undefined || this.#loading;
  }

  #onData = (bytes: Buffer): void => {
    this.#onBytes(bytes, bytes.length);
  };

  /** The bytes are valid during this call. Returns whether there may be more. */
  #onBytes(buffer: Buffer, length: number): boolean {
    if (this.#left) return this.socket.push(copyOf(buffer, length));
    if (this.#isBusy) {
      // One answer at a time, as in pipeline-queue.ts: nothing more is read until this one is with the socket.
      const bytes = copyOf(buffer, length);
      this.#next = this.#next === undefined ? bytes : Buffer.concat([this.#next, bytes]);
      this.socket.pause();
      return true;
    }
    const request = this.#path.parse(buffer, length);
    if (request === undefined) {
      this.#leave(copyOf(buffer, length));
      return true;
    }
    this.#startedMs = performance.now();
    this.#answer(request, buffer, length);
    return true;
  }

  #answer(request: PlainRequest, buffer: Buffer, length: number): void {
    const known = this.#path.find(request, this.socket);
    if (known === undefined) {
      this.#leave(copyOf(buffer, length));
    } else if (known instanceof Promise) {
      const bytes = copyOf(buffer, length);
      this.#wait(known, bytes, () => this.#answer(request, bytes, length));
    } else {
      const composed = this.#path.compose(known);
      if (composed !== undefined) this.#send(request, known, composed);
      else this.#loadAndAnswer(request, known, copyOf(buffer, length));
    }
  }

  #loadAndAnswer(request: PlainRequest, known: Known, bytes: Buffer): void {
    this.#wait(this.#path.load(known), bytes, (content) => {
      const loaded = this.#path.compose(known, content as Buffer);
      if (loaded !== undefined) this.#send(request, known, loaded);
      else this.#leave(bytes);
    });
  }

  /** Goes on when a promise is kept; where it is not, Node's HTTP takes the request and finds out why. */
  #wait(promise: Promise<unknown>, bytes: Buffer, then: (value: unknown) => void): void {
    this.#loading = true;
    this.socket.pause();
    const settle = (go: () => void) => {
      this.#loading = false;
      // With TLS the socket ends when the client does.
      if (!this.socket.writable) return;
      go();
      // The answer may have begun another wait.
      if (!this.#loading) this.#goOn();
    };
    promise.then(
      (value) => settle(() => then(value)),
      () => settle(() => this.#leave(bytes)),
    );
  }

  #send(request: PlainRequest, known: Known, composed: Buffer): void {
    const { socket } = this;
    this.#answered = true;
    this.#deadline = this.#path.nextDeadline;
    known.tally.answers++;
    known.tally.bytes += known.file.size;
    // Without a callback Node has nothing to do later, if the socket takes all of it at once.
    socket.write(composed);
    if (socket.writableLength === 0) {
      this.#over(request, known, true);
      return;
    }
    const release = this.#path.hold(known, composed);
    this.#pending = (whole) => {
      release();
      this.#over(request, known, whole);
    };
    socket.write(NOTHING, this.#onWritten);
  }

  /** Counts and logs an answer that is over. */
  #over({ url, headers }: PlainRequest, { file, tally }: Known, whole: boolean): void {
    const startedMs = this.#startedMs;
    const seconds = (performance.now() - startedMs) / 1000;
    tally.seconds += seconds;
    const at = tally.classOf(seconds);
    tally.durations[at] = (tally.durations[at] ?? 0) + 1;
    this.#path.log?.({ url, headers, bytes: file.size, whole, client: this.#client, startedMs });
  }

  #onWritten = (error: Error | null | undefined): void => {
    if (this.#pending === undefined || error) return;
    this.#deadline = this.#path.nextDeadline;
    this.#finish(true);
    this.#goOn();
  };

  #finish(whole: boolean): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.(whole);
  }

  #goOn(): void {
    const bytes = this.#next;
    this.#next = undefined;
    if (bytes !== undefined) this.#onBytes(bytes, bytes.length);
    if (this.#left || this.#isBusy) return;
    if (this.#ended) this.socket.end();
    else if (this.socket.isPaused()) this.socket.resume();
  }

  /** Leaves the fast path: Node's HTTP gets the connection and the bytes that it brought last. */
  #leave(bytes: Buffer): void {
    const { socket } = this;
    // A stream that has ended takes nothing back. Only with TLS it can end while something waits here.
    if (this.#ended) {
      socket.end();
      return;
    }
    const all = this.#next === undefined ? bytes : Buffer.concat([bytes, this.#next]);
    this.#next = undefined;
    this.#left = true;
    socket.off("data", this.#onData);
    socket.off("error", ignore);
    socket.off("close", this.#onClose);
    socket.off("end", this.#onEnd);
    this.#path.leave(this, this.#answered ? undefined : this.#deadline);
    this.#handOver(socket);
    socket.unshift(all);
    if (socket.isPaused()) socket.resume();
  }

  /** What the client has asked for is sent first. */
  #onEnd = (): void => {
    this.#ended = true;
    if (!this.#isBusy) this.socket.end();
  };

  #onClose = (): void => {
    this.#path.forget(this);
    this.#finish(false);
  };
}

/** Ends a connection whose first request did not arrive in time, as Node's HTTP does. */
export function endLate(socket: Socket): void {
  socket.end("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", () => socket.destroy());
}

function ignore(): void {}

function copyOf(buffer: Buffer, length: number): Buffer {
  return Buffer.from(buffer.subarray(0, length));
}
