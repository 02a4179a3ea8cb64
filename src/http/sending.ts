/**
 * A request in flight. Requests that have a body (logins, uploads) are sent by got, which takes care of streams,
 * lengths and their failures; those without, sent by the thousand, by Node's own client at a third of the
 * processor time. Neither follows redirects, retries, decodes or resumes: src/http/ has its own rules for these.
 * Only this file sends, and knows got.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import type { LookupFunction } from "node:net";
import { Readable } from "node:stream";
import type { Got } from "got";
import { nodeHttp, nodeHttps } from "../io/node-http.ts";
import { VERSION } from "../version.ts";
import type { AgentPair } from "./agents.ts";

const USER_AGENT = `airferry/${VERSION}`;

export type Method = "GET" | "HEAD" | "POST" | "PUT" | "PATCH";

/** What is sent. */
export interface Message {
  method: Method;
  /** Without user and password. */
  url: URL;
  headers: Record<string, string>;
  /** A stream is held back with the header `expect: 100-continue` until the server asks for it. */
  body?: string | Buffer | Readable | undefined;
  agents: AgentPair;
  lookup?: LookupFunction | undefined;
}

/** A request under way. Faults and the response come later than the call that made it: listen at once. */
export interface Sending {
  onResponse(then: (response: IncomingMessage) => void): void;
  /** May be told several times, also after the response: when its body is cut. */
  onError(then: (error: Error) => void): void;
  /** Whether all of it went out. */
  isSent(): boolean;
  /** Whether the connection had served another request before. */
  isReused(): boolean;
  destroy(): void;
}

/** Sends requests. Holds nothing that has to be closed: connections are the agents'. */
export class Sender {
  #got: Got | undefined;

  /** Loads what a request with a body needs; most runs send none. To be awaited before `send`. */
  async prepare({ body }: Pick<Message, "body">): Promise<void> {
    if (body !== undefined) this.#got ??= await loadGot();
  }

  /** @throws what no request can be made of, or what the agents refuse */
  send(message: Message): Sending {
    return this.#got !== undefined && message.body !== undefined ? sendByGot(this.#got, message) : sendByNode(message);
  }
}

function sendByNode({ method, url, headers, agents, lookup }: Message): Sending {
  const options = { method, headers: { "user-agent": USER_AGENT, ...headers }, ...(lookup && { lookup }) };
  const sending =
    url.protocol === "https:"
      ? // Whatever NODE_TLS_REJECT_UNAUTHORIZED says.
        nodeHttps().request(url, { ...options, agent: agents.https, rejectUnauthorized: true })
      : nodeHttp.request(url, { ...options, agent: agents.http });
  sending.end();
  return {
    onResponse: (then) => sending.once("response", then),
    onError: (then) => sending.on("error", then),
    isSent: () => sending.writableFinished,
    isReused: () => sending.reusedSocket,
    destroy: () => sending.destroy(),
  };
}

/** One instance: merging options for each request costs time. */
async function loadGot(): Promise<Got> {
  const { default: got } = await import("got");
  return got.extend({
    followRedirect: false,
    throwHttpErrors: false,
    decompress: false,
    strictContentLength: false,
    retry: { limit: 0 },
    headers: { "user-agent": USER_AGENT },
    https: { rejectUnauthorized: true },
  });
}

/** What of Node's request is looked at. */
interface Sent {
  reusedSocket?: boolean;
  writableFinished: boolean;
}

/** What servers that know nothing of it are given to answer; curl waits as long. */
const CONTINUE_MS = 1000;

/** A body that is held until the server wants it. One that it refuses before is never read. */
function heldBody(body: Readable): { held: Readable; decide: (isWanted: boolean) => void } {
  let decide = (_isWanted: boolean) => {};
  const decided = new Promise<boolean>((resolve) => {
    decide = resolve;
  });
  async function* chunks() {
    if (await decided) yield* body;
  }
  const held = Readable.from(chunks(), { objectMode: false, highWaterMark: body.readableHighWaterMark });
  held.once("close", () => body.destroy());
  return { held, decide };
}

function sendByGot(got: Got, { method, url, headers, body, agents, lookup }: Message): Sending {
  const gate = headers.expect === "100-continue" && body instanceof Readable ? heldBody(body) : undefined;
  const content = gate?.held ?? body;
  const stream = got.stream(url, {
    method,
    headers,
    agent: agents,
    ...(lookup && { dnsLookup: lookup as never }),
    ...(content !== undefined && { body: content }),
  });
  let sent: Sent | undefined;
  stream.once("request", (request: Sent & ClientRequest) => {
    sent = request;
    if (gate === undefined) return;
    const timer = setTimeout(() => gate.decide(true), CONTINUE_MS);
    request.once("continue", () => gate.decide(true));
    for (const it of ["response", "close"]) request.once(it, () => clearTimeout(timer));
  });
  // A stream that waits for it would never close.
  if (gate !== undefined) stream.once("close", () => gate.decide(false));
  return {
    onResponse: (then) =>
      stream.once("response", (response: IncomingMessage) => {
        // The body is read here and not through got's own Duplex, which drops what it holds when a connection is cut.
        response.removeAllListeners("readable");
        then(response);
      }),
    onError: (then) => stream.on("error", (error: Error) => then(error.cause instanceof Error ? error.cause : error)),
    isSent: () => sent?.writableFinished === true,
    isReused: () => sent?.reusedSocket === true,
    destroy: () => stream.destroy(),
  };
}
