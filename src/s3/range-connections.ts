/**
 * Ranges of objects straight from the socket into the memory where they are wanted, over connections that are used
 * again. Node's parser copies every body out of a buffer of its own for each 64 KiB: five times the processor's time.
 * Only plain answers are read so, a 206 of a known length; whoever gets another one asks again in the usual way.
 */
import { connect, isIP, type OnReadOpts, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";

/** Bytes of a head. */
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_IDLE = 8;
/** Gateways close connections that are idle for longer. */
const IDLE_MS = 4000;
const END_OF_HEAD = Buffer.from("\r\n\r\n");

/** Limits of time, in milliseconds. */
interface RangeLimits {
  /** Until the head of an answer has arrived. */
  headMs: number;
  /** Without a byte. */
  idleMs: number;
  /** So many bytes in each such time. */
  pace: { ms: number; bytes: number };
}

/** Where the bytes of a range go, in order. */
export interface RangeSink {
  /** Memory for the next bytes. Not empty while there is something to come. */
  memory(): Uint8Array;
  /** So many bytes are in what `memory` returned last. */
  took(bytes: number): void;
}

/** The head of a plain answer. */
interface PlainHead {
  /** Of the whole object. */
  size: number;
  /** Of the body. */
  length: number;
  isKept: boolean;
}

/** Connections to one endpoint. Whoever makes it closes it. */
export class RangeConnections {
  readonly #limits: RangeLimits;
  readonly #ca: readonly string[] | undefined;
  readonly #idle: RangeConnection[] = [];
  readonly #open = new Set<RangeConnection>();

  /** @param ca certificates that are trusted; undefined: the usual ones */
  constructor(limits: RangeLimits, ca?: readonly string[]) {
    this.#limits = limits;
    this.#ca = ca;
  }

  /**
   * Reads the bytes from `start` up to `end`, exclusive, into a sink. Returns the size of the whole object; its end may
   * come before `end`. Undefined: the answer is not plain, and nothing was given to the sink.
   * @throws the system's error, or one that says what was waited for; the sink may have a part by then
   */
  async receive(url: URL, start: number, end: number, sink: RangeSink): Promise<number | undefined> {
    for (;;) {
      const known = this.#idle.pop();
      const connection = known ?? new RangeConnection(url, this.#ca, this.#limits);
      this.#open.add(connection);
      let isKept = false;
      try {
        const head = await connection.ask(url, start, end, sink);
        isKept = head?.isKept === true;
        return head?.size;
      } catch (error) {
        // The gateway closed it while nothing was asked for.
        if (known === undefined || connection.hasAnswered) throw error;
      } finally {
        this.#open.delete(connection);
        if (isKept && this.#idle.length < MAX_IDLE) this.#keep(connection);
        else connection.close();
      }
    }
  }

  close(): void {
    for (const it of [...this.#idle, ...this.#open]) it.close();
    this.#idle.length = 0;
  }

  #keep(connection: RangeConnection): void {
    this.#idle.push(connection);
    connection.rest(() => {
      const at = this.#idle.indexOf(connection);
      if (at >= 0) this.#idle.splice(at, 1);
    });
  }
}

/** A request that is being answered. */
interface Running {
  start: number;
  end: number;
  sink: RangeSink;
  /** Undefined until the head has arrived. */
  head: PlainHead | undefined;
  got: number;
  resolve(head: PlainHead | undefined): void;
  reject(error: Error): void;
}

/** One connection, with one request at a time. */
class RangeConnection {
  readonly #socket: Socket;
  readonly #limits: RangeLimits;
  readonly #head = Buffer.allocUnsafeSlow(MAX_HEAD_BYTES);
  #headBytes = 0;
  #running: Running | undefined;
  #onRest: (() => void) | undefined;
  hasAnswered = false;

  constructor(url: URL, ca: readonly string[] | undefined, limits: RangeLimits) {
    this.#limits = limits;
    const onread: OnReadOpts = {
      buffer: () => this.#memory(),
      callback: (count) => this.#took(count),
    };
    const isSecure = url.protocol === "https:";
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const port = Number(url.port || (isSecure ? 443 : 80));
    // Node takes `onread` for TLS too; its types do not know.
    const secure: ConnectionOptions & { onread: OnReadOpts } = {
      host,
      port,
      onread,
      ALPNProtocols: ["http/1.1"],
      ...(isIP(host) === 0 && { servername: host }),
      ...(ca !== undefined && { ca: [...ca] }),
    };
    this.#socket = isSecure ? connectTls(secure) : connect({ host, port, onread, noDelay: true });
    this.#socket.on("timeout", () => this.#fail(new Error(`no bytes for ${limits.idleMs / 1000} s`)));
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", () =>
      this.#fail(Object.assign(new Error("the connection was closed"), { code: "ECONNRESET" })),
    );
  }

  /** Sends a request. Undefined for an answer that is not plain: the connection is of no use then. */
  async ask(url: URL, start: number, end: number, sink: RangeSink): Promise<PlainHead | undefined> {
    this.#onRest = undefined;
    this.hasAnswered = false;
    this.#headBytes = 0;
    this.#socket.ref();
    this.#socket.setTimeout(0);
    const { headMs, idleMs, pace } = this.#limits;
    const late = setTimeout(() => this.#fail(new Error(`no answer within ${headMs / 1000} s`)), headMs);
    let counted = 0;
    const timer = setInterval(() => {
      const got = this.#running?.got ?? 0;
      if (got - counted < pace.bytes) this.#fail(new Error(`${got - counted} bytes in ${pace.ms / 1000} s`));
      counted = got;
    }, pace.ms);
    try {
      return await new Promise<PlainHead | undefined>((resolve, reject) => {
        const running: Running = { start, end, sink, head: undefined, got: 0, resolve, reject };
        this.#running = running;
        if (this.#socket.destroyed) this.#fail(Object.assign(new Error("closed"), { code: "ECONNRESET" }));
        this.#onHead = () => {
          clearTimeout(late);
          this.#socket.setTimeout(idleMs);
        };
        this.#socket.write(
          `GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nRange: bytes=${start}-${end - 1}\r\n\r\n`,
        );
      });
    } finally {
      clearTimeout(late);
      clearInterval(timer);
      this.#running = undefined;
    }
  }

  /** Keeps it for a next request for a while; `over` is called when it is closed. */
  rest(over: () => void): void {
    this.#onRest = over;
    this.#headBytes = 0;
    // Nobody waits for a connection that rests.
    this.#socket.unref();
    this.#socket.setTimeout(IDLE_MS);
  }

  close(): void {
    this.#socket.destroy();
  }

  #onHead: () => void = () => {};

  #fail(error: Error): void {
    this.#socket.destroy();
    this.#onRest?.();
    this.#onRest = undefined;
    this.#running?.reject(error);
  }

  #memory(): Uint8Array {
    const { head, sink, got } = this.#running ?? {};
    if (head === undefined || sink === undefined || got === undefined) return this.#head.subarray(this.#headBytes);
    const memory = sink.memory();
    return memory.subarray(0, Math.min(memory.length, head.length - got));
  }

  /** Returns whether to read on. */
  #took(count: number): boolean {
    const running = this.#running;
    // Nothing was asked for.
    if (running === undefined) {
      this.#fail(new Error("an answer to no request"));
      return false;
    }
    this.hasAnswered = true;
    if (running.head !== undefined) {
      running.got += count;
      running.sink.took(count);
      return this.#ended(running);
    }
    this.#headBytes += count;
    const all = this.#head.subarray(0, this.#headBytes);
    const at = all.indexOf(END_OF_HEAD);
    if (at < 0) {
      if (this.#headBytes < MAX_HEAD_BYTES) return true;
      running.resolve(undefined);
      return false;
    }
    const head = plainHead(all.toString("latin1", 0, at), running.start, running.end);
    let rest = all.subarray(at + END_OF_HEAD.length);
    if (head === undefined || rest.length > head.length) {
      running.resolve(undefined);
      return false;
    }
    this.#onHead();
    running.head = head;
    while (rest.length > 0) {
      const memory = running.sink.memory();
      const some = rest.subarray(0, memory.length);
      memory.set(some);
      running.got += some.length;
      running.sink.took(some.length);
      rest = rest.subarray(some.length);
    }
    return this.#ended(running);
  }

  #ended({ head, got, resolve }: Running): boolean {
    if (head === undefined || got < head.length) return true;
    this.#running = undefined;
    this.#headBytes = 0;
    resolve(head);
    return true;
  }
}

/** Reads the head of an answer. Undefined unless it is a 206 with exactly this range, of which the length is known. */
function plainHead(text: string, start: number, end: number): PlainHead | undefined {
  const [status = "", ...lines] = text.split("\r\n");
  if (!/^HTTP\/1\.1 206(?: |$)/.test(status)) return undefined;
  const fields = new Map<string, string>();
  for (const line of lines) {
    const [, name = "", value = ""] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    const key = name.toLowerCase();
    // Also what is there twice: either may be meant.
    if (name === "" || (fields.has(key) && /^content-|^transfer-/.test(key))) return undefined;
    fields.set(key, value);
  }
  if (fields.has("transfer-encoding") || fields.has("content-encoding")) return undefined;
  const [, from, to, total] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(fields.get("content-range") ?? "") ?? [];
  const [size, last] = [Number(total), Number(to)];
  const length = last + 1 - start;
  const isRight = Number(from) === start && last >= start && last < Math.min(end, size);
  if (!isRight || fields.get("content-length") !== String(length)) return undefined;
  return { size, length, isKept: !/(?:^|,)\s*close\s*(?:,|$)/i.test(fields.get("connection") ?? "") };
}
