/**
 * The fast path: plain GETs of small files, answered from the bytes of a connection without Node's HTTP, which takes
 * half of the processor's time of such an answer. A connection that brings anything else goes to Node's HTTP for good,
 * with the bytes that it brought: what this file does not know it never answers. See docs/serve.md, "Large and small
 * files".
 */
import type { Socket } from "node:net";
import { type BlobContent, formatHead } from "./blob.ts";
import type { ServeContext, TreeView } from "./context.ts";
import { type PlainHeaders, type PlainRequest, PlainRequests } from "./plain-request.ts";
import type { Resources } from "./resources.ts";
import { HEADROOM_BYTES, MAX_SMALL_BYTES, type SmallFile } from "./small-files.ts";

/** Answers are composed in a buffer of this size, or of that of the largest. */
const SMALLER_BYTES = 32 * 1024;
/**
 * What answers that slow clients have not taken may hold; beyond it connections go to Node's HTTP, whose files share
 * memory.
 */
const MAX_HELD_BYTES = 8 * 1024 * 1024;
const MAX_ANSWERS = 16_384;
/** Longer targets, and those with a query, come in endless variants. */
const MAX_TARGET_LENGTH = 400;
/** Added to the time that answers promise, as Node's HTTP does: what is sent at its very end still finds somebody. */
const KEEP_ALIVE_GRACE_MS = 1000;
/** What Node's HTTP takes as a target in origin form, without a query. */
const TARGET = /^\/[!->@-~]*$/;

/** An answer that is over. */
export interface FastAnswer {
  readonly url: string;
  readonly bytes: number;
  /** Whether the socket took all of it. */
  readonly whole: boolean;
  /** The address of who asked. */
  readonly client: string | undefined;
  readonly headers: PlainHeaders;
  /** performance.now() when the request had arrived. */
  readonly startedMs: number;
}

/** Time limits of connections; as Node's HTTP has them. */
interface FastPathLimits {
  /** For the first request to arrive. */
  headersTimeoutMs: number;
  /** Between an answer and the next request, as answers promise it. */
  keepAliveTimeoutMs: number;
}

/** What the fast path asks of the rest. */
export interface FastPathOptions {
  readonly context: ServeContext;
  readonly resources: Resources;
  /** Finds the content for a target; see {@link Router}. */
  content(target: string, view: TreeView): { path: string; content: BlobContent } | undefined;
  /** The counts that answers for a path add to. */
  tally(path: string): Tally;
  /** Called with each answer when it is over. */
  log?: ((answer: FastAnswer) => void) | undefined;
}

/** Counts of answers of a kind. */
export interface Tally {
  answers: number;
  bytes: number;
}

/** How a target of the current view is answered. */
interface Known {
  readonly head: string;
  readonly file: SmallFile;
  readonly tally: Tally;
}

/**
 * Where answers are composed; what a slow client leaves of one stays in its buffer, and the next is composed in
 * another.
 */
interface Slot {
  readonly size: number;
  free: Buffer | undefined;
}

/** The fast path of one listener. */
export class FastPath {
  readonly #options: FastPathOptions;
  readonly #requests = new PlainRequests();
  readonly #connections = new Set<Connection>();
  readonly #smaller: Slot = { size: SMALLER_BYTES, free: undefined };
  readonly #larger: Slot = { size: HEADROOM_BYTES + MAX_SMALL_BYTES, free: undefined };
  #held = 0;
  #view: TreeView | undefined;
  readonly #known = new Map<string, Known>();
  #clockIsRight = false;
  #second = 0;
  #tail = "";
  readonly limits: FastPathLimits;

  constructor(options: FastPathOptions, limits: FastPathLimits) {
    this.#options = options;
    this.limits = limits;
    this.#lookAtClock();
  }

  /** Takes a connection; `handOver` gives it to Node's HTTP. */
  accept(socket: Socket, handOver: (socket: Socket) => void): void {
    this.#connections.add(new Connection(this, socket, handOver));
  }

  /** Ends connections that had an answer and wait for the next request. */
  closeIdle(): void {
    for (const it of this.#connections) if (it.isIdle) it.socket.destroy();
  }

  /** Ends all connections. */
  closeAll(): void {
    for (const it of this.#connections) it.socket.destroy();
  }

  /** Takes note that a connection is gone, or no longer here. */
  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  parse(bytes: Buffer): PlainRequest | undefined {
    return this.#requests.parse(bytes);
  }

  /** How a request is answered; a promise while the store is looked at; undefined when not here. */
  find(target: string): Known | undefined | Promise<unknown> {
    const view = this.#options.context.freshView();
    if (view === undefined) return this.#options.context.view();
    if (view !== this.#view) {
      this.#view = view;
      this.#known.clear();
    }
    return this.#known.get(target) ?? this.#learn(target, view);
  }

  #learn(target: string, view: TreeView): Known | undefined {
    if (target.length > MAX_TARGET_LENGTH || !TARGET.test(target)) return undefined;
    const found = this.#options.content(target, view);
    if (found === undefined || found.content.file === undefined) return undefined;
    const { file, size, digest } = found.content;
    if (size > MAX_SMALL_BYTES) return undefined;
    const head = `HTTP/1.1 200 OK\r\n${formatHead(found.content)}`;
    if (head.length + this.#tail.length > HEADROOM_BYTES) return undefined;
    const tally = this.#options.tally(found.path);
    const known = { head, tally, file: this.#options.resources.small.at(file, size, digest) };
    if (this.#known.size >= MAX_ANSWERS) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(copyOf(target), known);
    return known;
  }

  /**
   * Composes an answer, to be written at once or held. Undefined when the file has to be loaded first, and when slow
   * clients hold too much; `bytes` are those of the file where it was.
   */
  compose(known: Known, bytes?: Buffer): Buffer | undefined {
    if (!this.#clockIsRight) this.#lookAtClock();
    const { head, file } = known;
    const inMemory = bytes ?? this.#options.resources.small.inMemory(file);
    if (inMemory !== undefined && inMemory === file.bytes) {
      if (file.ready?.by === known && file.ready.second === this.#second) return file.ready.answer;
      if (file.sending === 0) return this.#makeReady(known, inMemory);
    }
    if (this.#held > MAX_HELD_BYTES) return undefined;
    const headSize = head.length + this.#tail.length;
    const size = headSize + file.size;
    const slot = size <= SMALLER_BYTES ? this.#smaller : this.#larger;
    slot.free ??= Buffer.allocUnsafeSlow(slot.size);
    const buffer = slot.free;
    if (inMemory !== undefined) buffer.set(inMemory, headSize);
    else if (!this.#options.resources.small.readNow(file, buffer, headSize)) return undefined;
    this.#writeHead(head, buffer, 0);
    return buffer.subarray(0, size);
  }

  /** Puts the header fields before the bytes in memory. */
  #makeReady(known: Known, bytes: Buffer): Buffer {
    const { head, file } = known;
    const headSize = head.length + this.#tail.length;
    const answer = Buffer.from(bytes.buffer, bytes.byteOffset - headSize, headSize + file.size);
    this.#writeHead(head, answer, 0);
    file.ready = { answer, by: known, second: this.#second };
    return answer;
  }

  #writeHead(head: string, buffer: Buffer, offset: number): void {
    buffer.write(head, offset, "latin1");
    buffer.write(this.#tail, offset + head.length, "latin1");
  }

  load({ file }: Known): Promise<Buffer> {
    return this.#options.resources.small.load(file);
  }

  /** The socket still needs what was composed last. Returns what ends that. */
  hold({ file }: Known, composed: Buffer): () => void {
    if (composed === file.ready?.answer) {
      file.sending++;
      return () => {
        file.sending--;
      };
    }
    const slot = this.#smaller.free?.buffer === composed.buffer ? this.#smaller : this.#larger;
    slot.free = undefined;
    this.#held += slot.size;
    return () => {
      this.#held -= slot.size;
    };
  }

  get log(): FastPathOptions["log"] {
    return this.#options.log;
  }

  /** Header fields that are the same for all answers of a second, and the empty line. */
  #lookAtClock(): void {
    const now = Date.now();
    this.#second = Math.floor(now / 1000);
    const seconds = Math.floor(this.limits.keepAliveTimeoutMs / 1000);
    const date = new Date(now).toUTCString();
    this.#tail = `Date: ${date}\r\nConnection: keep-alive\r\nKeep-Alive: timeout=${seconds}\r\n\r\n`;
    this.#clockIsRight = true;
    const expire = (): void => {
      this.#clockIsRight = false;
    };
    setTimeout(expire, 1000 - (now % 1000)).unref();
  }
}

/** One connection on the fast path. */
class Connection {
  readonly socket: Socket;
  readonly #path: FastPath;
  readonly #client: string | undefined;
  readonly #handOver: (socket: Socket) => void;
  /** To be called when the answer that is partly with the socket is done, or never will be. */
  #pending: ((whole: boolean) => void) | undefined;
  /** The request that came meanwhile. */
  #next: Buffer | undefined;
  #loading = false;
  #answered = false;
  /** The client has nothing more to ask. */
  #ended = false;
  #startedMs = 0;

  constructor(path: FastPath, socket: Socket, handOver: (socket: Socket) => void) {
    this.#path = path;
    this.socket = socket;
    this.#handOver = handOver;
    this.#client = socket.remoteAddress;
    socket.setTimeout(path.limits.headersTimeoutMs);
    socket.on("timeout", this.#onTimeout);
    socket.on("error", ignore);
    socket.on("close", this.#onClose);
    socket.on("end", this.#onEnd);
    socket.on("data", this.#onData);
  }

  get isIdle(): boolean {
    return this.#answered && !this.#isBusy;
  }

  get #isBusy(): boolean {
    return this.#pending !== undefined || this.#loading;
  }

  #onData = (bytes: Buffer): void => {
    if (this.#isBusy) {
      // One answer at a time, as in pipeline-queue.ts: nothing more is read until this one is with the socket.
      this.#next = this.#next === undefined ? bytes : Buffer.concat([this.#next, bytes]);
      this.socket.pause();
      return;
    }
    const request = this.#path.parse(bytes);
    if (request === undefined) {
      this.#leave(bytes);
      return;
    }
    if (this.#path.log !== undefined) this.#startedMs = performance.now();
    this.#answer(request, bytes);
  };

  #answer(request: PlainRequest, bytes: Buffer): void {
    const known = this.#path.find(request.url);
    if (known === undefined) {
      this.#leave(bytes);
    } else if (known instanceof Promise) {
      this.#wait(known, bytes, () => this.#answer(request, bytes));
    } else {
      const composed = this.#path.compose(known);
      if (composed !== undefined) this.#send(request, known, composed);
      else
        this.#wait(this.#path.load(known), bytes, (content) => {
          const loaded = this.#path.compose(known, content as Buffer);
          if (loaded !== undefined) this.#send(request, known, loaded);
          else this.#leave(bytes);
        });
    }
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
    if (!this.#answered) {
      this.#answered = true;
      socket.setTimeout(this.#path.limits.keepAliveTimeoutMs + KEEP_ALIVE_GRACE_MS);
    }
    known.tally.answers++;
    known.tally.bytes += known.file.size;
    socket.write(composed, this.#onWritten);
    if (socket.writableLength === 0) {
      if (this.#path.log !== undefined) this.#log(request, known, true);
      return;
    }
    const release = this.#path.hold(known, composed);
    this.#pending = (whole) => {
      release();
      this.#log(request, known, whole);
    };
  }

  #log({ url, headers }: PlainRequest, { file }: Known, whole: boolean): void {
    const startedMs = this.#startedMs;
    this.#path.log?.({ url, headers, bytes: file.size, whole, client: this.#client, startedMs });
  }

  #onWritten = (error: Error | null | undefined): void => {
    if (this.#pending === undefined || error) return;
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
    if (bytes !== undefined) this.#onData(bytes);
    if (this.#isBusy) return;
    if (this.#ended) this.socket.end();
    else if (this.socket.isPaused()) this.socket.resume();
  }

  /** Leaves the fast path: Node's HTTP gets the connection and the bytes that it brought last. */
  #leave(bytes: Buffer): void {
    const { socket } = this;
    // A stream that has ended takes nothing back; Node's HTTP does not answer such clients either, except at once.
    if (this.#ended) {
      socket.end();
      return;
    }
    const all = this.#next === undefined ? bytes : Buffer.concat([bytes, this.#next]);
    this.#next = undefined;
    socket.off("timeout", this.#onTimeout);
    socket.off("error", ignore);
    socket.off("close", this.#onClose);
    socket.off("end", this.#onEnd);
    socket.off("data", this.#onData);
    this.#path.forget(this);
    socket.setTimeout(0);
    this.#handOver(socket);
    socket.unshift(all);
    if (socket.isPaused()) socket.resume();
  }

  #onTimeout = (): void => {
    // A client that takes its answer slowly may do so.
    if (this.#isBusy) return;
    if (this.#answered) this.socket.destroy();
    else this.socket.end("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", () => this.socket.destroy());
  };

  /** What the client has asked for is sent first. This comes while the socket is paused, too. */
  #onEnd = (): void => {
    this.#ended = true;
    if (!this.#isBusy) this.socket.end();
  };

  #onClose = (): void => {
    this.#path.forget(this);
    this.#finish(false);
  };
}

function ignore(): void {}

/** A string with memory of its own; V8 makes a slice of another refer to all of that: here, to a whole request. */
function copyOf(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("latin1");
}
