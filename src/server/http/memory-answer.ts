/**
 * Asks a router without a connection: one GET, and the whole answer in memory. For what is written down as files, which
 * has to be what a client would get.
 */
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { Socket } from "node:net";
import { nodeHttp } from "../../io/node-http.ts";
import type { Router } from "./router.ts";

/** An answer; `headers` by lower-case name. */
export interface MemoryAnswer {
  status: number;
  headers: ReadonlyMap<string, string>;
  body: Buffer;
}

/** Keeps what a handler sends. Nothing is written anywhere. */
class KeptResponse extends nodeHttp.ServerResponse {
  readonly answered: Promise<MemoryAnswer>;
  readonly #resolve: (answer: MemoryAnswer) => void;
  readonly #parts: Buffer[] = [];
  #headers: ReadonlyMap<string, string> = new Map();

  constructor(req: IncomingMessage) {
    super(req);
    const { promise, resolve } = Promise.withResolvers<MemoryAnswer>();
    this.answered = promise;
    this.#resolve = resolve;
  }

  override writeHead(status: number, ...rest: unknown[]): this {
    this.statusCode = status;
    this.#headers = headersOf(rest.find((it) => typeof it === "object") as OutgoingHttpHeaders | string[] | undefined);
    return this;
  }

  override write(chunk: unknown, ...rest: unknown[]): boolean {
    // A copy: whoever sends reuses its buffers.
    this.#parts.push(Buffer.from(chunk as Uint8Array));
    const done = rest.find((it) => typeof it === "function") as ((error?: Error) => void) | undefined;
    if (done !== undefined) queueMicrotask(done);
    return true;
  }

  override end(...rest: unknown[]): this {
    const [body] = rest;
    if (typeof body === "string" || body instanceof Uint8Array) this.#parts.push(Buffer.from(body as Uint8Array));
    this.#resolve({ status: this.statusCode, headers: this.#headers, body: Buffer.concat(this.#parts) });
    this.emit("finish");
    this.emit("close");
    return this;
  }

  override destroy(error?: Error): this {
    // Cut off in the middle: what was sent is not an answer.
    this.#resolve({ status: 500, headers: new Map(), body: Buffer.alloc(0) });
    this.emit("close");
    return super.destroy(error);
  }
}

/** As an object, or as names and values in turn. */
function headersOf(given: OutgoingHttpHeaders | readonly string[] | undefined): ReadonlyMap<string, string> {
  if (given === undefined) return new Map();
  const pairs: [string, string][] = Array.isArray(given)
    ? given.flatMap((name, at): [string, string][] => (at % 2 === 0 ? [[String(name), String(given[at + 1])]] : []))
    : Object.entries(given).map(([name, value]) => [name, String(value)]);
  return new Map(pairs.map(([name, value]) => [name.toLowerCase(), value]));
}

/**
 * The answer to a GET of a target (`/path?query`), as a client gets it that names `host`. Never rejects: faults are
 * answers with a status of 500 or 503.
 */
export function askInMemory(router: Pick<Router, "answer">, target: string, host: string): Promise<MemoryAnswer> {
  const req = new nodeHttp.IncomingMessage(new Socket());
  req.method = "GET";
  req.url = target;
  req.headers = { host };
  req.rawHeaders = ["Host", host];
  const res = new KeptResponse(req);
  router.answer(req, res);
  return res.answered;
}
