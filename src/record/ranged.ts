/**
 * Clients that ask for parts. Upstream is asked once for the whole, which is recorded; every client of it, at the same
 * time or within a minute, gets its parts from the file while that grows.
 */
import type { FileHandle } from "node:fs/promises";
import type { IncomingMessage, OutgoingHttpHeaders } from "node:http";
import { parseRanges } from "../server/http/ranges.ts";
import { answerHeaders, requestHeaders } from "./answer-headers.ts";
import type { IncomingBody } from "./body-store.ts";
import {
  type ClientQuestion,
  decodersOf,
  type Exchanges,
  type ExchangeTools,
  type Question,
  unknownEncoding,
} from "./exchange.ts";
import { sendFromFile } from "./from-file.ts";
import { hostText } from "./host-tally.ts";
import { cut, isGone, type ProxyResponse, relay } from "./relay.ts";
import { SAMPLE_BYTES, SampledBody } from "./sampled-body.ts";
import type { UpstreamOrigin } from "./types.ts";

const KEEP_MS = 60_000;
const MAX_KEPT = 64;

/** A body that arrives, or has arrived, for clients that ask for parts. */
interface Spool {
  answer: IncomingMessage;
  body: IncomingBody;
  reader: FileHandle;
  sample: SampledBody;
  /** The body is decoded: what upstream says of its length is true of other bytes. */
  isDecoded: boolean;
  /** Settled at its end: whether all of it came. */
  received: Promise<boolean>;
  users: number;
}

/** Its creator closes it when no client is left. */
export class RangedAnswers {
  readonly #exchanges: Exchanges;
  readonly #tools: ExchangeTools;
  readonly #spools = new Map<string, Promise<Spool | IncomingMessage>>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #taken = new WeakSet<IncomingMessage>();

  constructor(exchanges: Exchanges, tools: ExchangeTools) {
    this.#exchanges = exchanges;
    this.#tools = tools;
  }

  async close(): Promise<void> {
    for (const key of [...this.#spools.keys()]) await this.#forget(key);
  }

  /** Answers a client that asks for a part. Never throws. */
  answer(request: ClientQuestion, response: ProxyResponse, origin: UpstreamOrigin, question: Question): void {
    const work = this.#answer(request, response, origin, question).catch((error: unknown) => {
      this.#exchanges.refuse(response, origin, error);
    });
    void this.#exchanges.track(work);
  }

  async #answer(
    request: ClientQuestion,
    response: ProxyResponse,
    origin: UpstreamOrigin,
    question: Question,
  ): Promise<void> {
    const key = keyOf(request, origin, question);
    if (!this.#spools.has(key)) {
      const opening = this.#begin(request, origin, question);
      this.#spools.set(key, opening);
      opening.catch(() => this.#spools.delete(key));
      if (this.#spools.size > MAX_KEPT) await this.#forget(this.#spools.keys().next().value ?? "");
    }
    const spool = await this.#spools.get(key);
    if (spool === undefined) return cut(response);
    if (!("reader" in spool)) {
      // A redirect or an error goes to one client, whole; another one asks again.
      this.#spools.delete(key);
      if (this.#taken.has(spool)) return this.#answer(request, response, origin, question);
      this.#taken.add(spool);
      return this.#exchanges.pass(question, spool, origin, response);
    }
    clearTimeout(this.#timers.get(key));
    spool.users++;
    try {
      await this.#send(request, response, spool, origin);
    } finally {
      spool.users--;
      if (spool.users === 0) this.#timers.set(key, setTimeout(() => void this.#forget(key), KEEP_MS).unref());
    }
  }

  async #forget(key: string): Promise<void> {
    const spool = await this.#spools.get(key)?.catch(() => undefined);
    if (spool !== undefined && "reader" in spool && (spool.users > 0 || !spool.body.isOver)) return;
    this.#spools.delete(key);
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    if (spool !== undefined && "reader" in spool) await spool.reader.close();
  }

  /** Asks upstream for the whole. An answer that has no parts is returned as it is. */
  async #begin(request: ClientQuestion, origin: UpstreamOrigin, question: Question): Promise<Spool | IncomingMessage> {
    const { url: path = "/", headers } = request;
    const sent = await this.#tools.upstream.send({
      origin,
      method: "GET",
      path,
      headers: requestHeaders(headers, hostText(origin), true),
    });
    const { answer } = sent;
    if (answer.statusCode !== 200 || unknownEncoding(answer, question) !== undefined) return answer;
    const body = this.#tools.recording.bodies.begin(true);
    const reader = await body.reader();
    const sample = new SampledBody(body);
    const received = this.#exchanges.track(this.#exchanges.receive(question, answer, origin, body, undefined, sample));
    const isDecoded = decodersOf(answer, question).length > 0;
    return { answer, body, reader, sample, isDecoded, received, users: 0 };
  }

  async #send(request: ClientQuestion, response: ProxyResponse, spool: Spool, origin: UpstreamOrigin): Promise<void> {
    const { answer, sample, isDecoded } = spool;
    const announced = isDecoded ? undefined : answer.headers["content-length"];
    let isInMemory = false;
    if (announced === undefined || Number(announced) <= SAMPLE_BYTES) {
      const isComplete = await spool.received;
      if (!isComplete && announced === undefined) return cut(response);
      isInMemory = isComplete && sample.isWhole;
    }
    const size = announced === undefined ? sample.size : Number(announced);
    const { etag = "", "last-modified": modified } = answer.headers;
    const validator = request.headers["if-range"] === modified ? modified : etag;
    const ranges = parseRanges(request.headers, validator ?? "", size);
    const headers: OutgoingHttpHeaders = { ...answerHeaders(answer), "accept-ranges": "bytes" };
    if (isDecoded) delete headers["content-encoding"];
    if (isGone(response)) return;
    if (ranges === "unsatisfiable") {
      response.writeHead(416, { "content-range": `bytes */${size}`, "content-length": 0 });
      return void response.end();
    }
    const [range] = ranges ?? [];
    const isPart = range !== undefined && ranges?.length === 1;
    const { start, end } = isPart ? range : { start: 0, end: size };
    headers["content-length"] = end - start;
    if (isPart) headers["content-range"] = `bytes ${start}-${end - 1}/${size}`;
    response.writeHead(isPart ? 206 : 200, headers);
    // What is not recorded, because a credential is in it, is in no file.
    if (isInMemory) return void response.end(sample.bytes.subarray(start, end));
    const at = await sendFromFile(response, spool.body, spool.reader, start, end);
    if (at >= end) response.end();
    else if (isDecoded) cut(response);
    else if (!isGone(response)) await this.#rest(response, at, end, request, origin);
  }

  /** The recording has failed (a full disk): the client gets what it lacks from upstream. */
  async #rest(
    response: ProxyResponse,
    start: number,
    end: number,
    request: ClientQuestion,
    origin: UpstreamOrigin,
  ): Promise<void> {
    const headers = { ...requestHeaders(request.headers, hostText(origin), true), range: `bytes=${start}-${end - 1}` };
    const sent = await this.#tools.upstream.send({ origin, method: "GET", path: request.url ?? "/", headers });
    const { answer } = sent;
    if (answer.statusCode === 206) await relay(answer, response, undefined);
    else {
      answer.destroy();
      cut(response);
    }
  }
}

/** The same for requests that differ in nothing but the part that they ask for. */
function keyOf({ url, headers }: ClientQuestion, origin: UpstreamOrigin, question: Question): string {
  const asked = Object.entries(requestHeaders(headers, hostText(origin), true)).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([origin.scheme, hostText(origin), url, question.url, question.others, asked]);
}
