/**
 * The fast path: plain GETs of small files, answered from the bytes of a connection without Node's HTTP, which takes
 * half of the processor's time of such an answer. A connection that brings anything else goes to Node's HTTP for good,
 * with the bytes that it brought: what this file does not know it never answers. See docs/serve.md, "Large and small
 * files".
 */
import type { Socket } from "node:net";
import { type BlobContent, formatHead } from "./blob.ts";
import type { ServeContext, TreeView } from "./context.ts";
import type { FastAnswer, Known, Tally } from "./fast-answer.ts";
import { endLate, FastConnection, type Front } from "./fast-connection.ts";
import { type PlainRequest, PlainRequests } from "./plain-request.ts";
import type { Resources } from "./resources.ts";
import { HEADROOM_BYTES, MAX_SMALL_BYTES } from "./small-files.ts";

/** Answers are composed in a buffer of this size, or of that of the largest. */
const SMALLER_BYTES = 32 * 1024;
/**
 * What answers that slow clients have not taken may hold in the whole process; beyond it connections go to Node's HTTP,
 * whose files share memory.
 */
const MAX_HELD_BYTES = 8 * 1024 * 1024;
const MAX_ANSWERS = 16_384;
/** Longer targets, and those with a query, come in endless variants. */
const MAX_TARGET_LENGTH = 400;
/** Added to the time that answers promise, as Node's HTTP does: what is sent at its very end still finds somebody. */
const KEEP_ALIVE_GRACE_S = 1;
/**
 * How much connections read at once: more than a plain request is long, and few enough pipelined ones for Node's HTTP,
 * which makes objects of all that it is given before anybody can tell it to stop.
 */
const READ_BYTES = 8 * 1024;
/** What Node's HTTP takes as a target in origin form, without a query. */
const TARGET = /^\/[!->@-~]*$/;

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
  content(target: string, view: TreeView, authority: string): { path: string; content: BlobContent } | undefined;
  /** Where the answer depends on the host as well: whether a connection may ask for it. */
  admits?: ((socket: Socket, authority: string) => boolean) | undefined;
  /** The counts that answers for a path add to. */
  tally(path: string): Tally;
  /** Called with each answer when it is over. */
  log?: ((answer: FastAnswer) => void) | undefined;
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
export class FastPath implements Front {
  readonly #options: FastPathOptions;
  readonly #requests = new PlainRequests();
  readonly #connections = new Set<FastConnection>();
  /** Connections that Node's HTTP has now, with a first request that has not arrived yet, and their deadlines. */
  readonly #arriving = new Map<Socket, number>();
  readonly #smaller: Slot = { size: SMALLER_BYTES, free: undefined };
  readonly #larger: Slot = { size: HEADROOM_BYTES + MAX_SMALL_BYTES, free: undefined };
  #held = 0;
  /** Of the view that the answers are of. */
  #mark: object | undefined;
  readonly #known = new Map<string, Known>();
  /** Seconds in which there were connections: what their deadlines are in. */
  #ticks = 0;
  #isTicking = false;
  #second = 0;
  #tail = "";
  readonly #limits: FastPathLimits;
  readonly readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);

  constructor(options: FastPathOptions, limits: FastPathLimits) {
    this.#options = options;
    this.#limits = limits;
  }

  /**
   * Takes a connection; `handOver` gives it to Node's HTTP. Returns the socket that stands for the connection from now
   * on.
   */
  accept(socket: Socket, handOver: (socket: Socket) => void): Socket {
    this.#tick();
    const connection = new FastConnection(this, socket, handOver);
    this.#connections.add(connection);
    return connection.socket;
  }

  /** Ends connections that had an answer and wait for the next request. */
  closeIdle(): void {
    for (const it of this.#connections) if (it.isIdle) it.socket.destroy();
  }

  /** Ends all connections. */
  closeAll(): void {
    for (const it of this.#connections) it.socket.destroy();
  }

  forget(connection: FastConnection): void {
    this.#connections.delete(connection);
  }

  leave(connection: FastConnection, deadline: number | undefined): void {
    this.#connections.delete(connection);
    if (deadline === undefined) return;
    const { socket } = connection;
    this.#arriving.set(socket, deadline);
    socket.once("close", () => this.#arriving.delete(socket));
  }

  /** Node's HTTP has a request. */
  arrived(socket: Socket): void {
    this.#arriving.delete(socket);
  }

  get firstDeadline(): number {
    return this.#ticks + Math.ceil(this.#limits.headersTimeoutMs / 1000);
  }

  get nextDeadline(): number {
    return this.#ticks + Math.ceil(this.#limits.keepAliveTimeoutMs / 1000) + KEEP_ALIVE_GRACE_S;
  }

  parse(buffer: Buffer, length: number): PlainRequest | undefined {
    return this.#requests.parse(buffer, length);
  }

  find({ url, headers }: PlainRequest, socket: Socket): Known | undefined | Promise<unknown> {
    const { admits } = this.#options;
    if (admits !== undefined && !admits(socket, headers.host)) return undefined;
    const view = this.#options.context.freshView();
    if (view === undefined) return this.#options.context.view();
    if (view.mark !== this.#mark) {
      this.#mark = view.mark;
      this.#known.clear();
    }
    const key = admits === undefined ? url : headers.host + url;
    return this.#known.get(key) ?? this.#learn(url, headers.host, key, view);
  }

  #learn(target: string, host: string, key: string, view: TreeView): Known | undefined {
    if (target.length > MAX_TARGET_LENGTH || !TARGET.test(target)) return undefined;
    const found = this.#options.content(target, view, host);
    if (found === undefined || found.content.file === undefined) return undefined;
    const { file, size, digest } = found.content;
    const { redirect } = this.#options.resources;
    const isElsewhere = redirect !== undefined && found.content.mayRedirect === true && size >= redirect.above;
    if (size > MAX_SMALL_BYTES || isElsewhere) return undefined;
    const head = `HTTP/1.1 200 OK\r\n${formatHead(found.content)}`;
    if (head.length + this.#tail.length > HEADROOM_BYTES) return undefined;
    const tally = this.#options.tally(found.path);
    const known = { head, tally, file: this.#options.resources.small.at(file, size, digest) };
    if (this.#known.size >= MAX_ANSWERS) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(copyOf(key), known);
    return known;
  }

  compose(known: Known, bytes?: Buffer): Buffer | undefined {
    const { head, file } = known;
    const inMemory = bytes ?? this.#options.resources.small.inMemory(file);
    if (inMemory !== undefined && inMemory === file.bytes) {
      if (file.ready?.by === known && file.ready.second === this.#second) return file.ready.answer;
      if (file.sending === 0) return this.#makeReady(known, inMemory);
    }
    if (this.#held > MAX_HELD_BYTES / this.#options.resources.sites) return undefined;
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

  /**
   * What happens once a second while there are connections: those that are overdue end, and the header fields that are
   * the same for all answers of a second are made.
   */
  #tick(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.#ticks++;
    for (const it of this.#connections) it.endIfOverdue(this.#ticks);
    for (const [socket, deadline] of this.#arriving) if (deadline < this.#ticks) endLate(socket);
    const now = Date.now();
    this.#second = Math.floor(now / 1000);
    const seconds = Math.floor(this.#limits.keepAliveTimeoutMs / 1000);
    const date = new Date(now).toUTCString();
    this.#tail = `Date: ${date}\r\nConnection: keep-alive\r\nKeep-Alive: timeout=${seconds}\r\n\r\n`;
    const next = (): void => {
      this.#isTicking = false;
      if (this.#connections.size + this.#arriving.size > 0) this.#tick();
    };
    setTimeout(next, 1000 - (now % 1000)).unref();
  }
}

/** A string with memory of its own; V8 makes a slice of another refer to all of that: here, to a whole request. */
function copyOf(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("latin1");
}
