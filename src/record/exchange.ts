/**
 * One question of a client: it is asked upstream, the answer goes to the client and into the recording at once. What
 * cannot be recorded is let through, and counted by reason.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import type { Transform } from "node:stream";
import { digestOf } from "../io/digest.ts";
import { isKeptStatus, variantOf } from "../io/web-answer.ts";
import type { RecordedAnswer } from "../io/web-recording.ts";
import { normalizeWebUrl, targetWithoutDots } from "../io/web-url.ts";
import { answerHeaders, recordedHeaders, requestHeaders } from "./answer-headers.ts";
import type { IncomingBody } from "./body-store.ts";
import { decodersFor } from "./content-coding.ts";
import { DecodedBody } from "./decoded-body.ts";
import { sendFromFile } from "./from-file.ts";
import { repositoryIn } from "./git-repositories.ts";
import { type HostTallies, hostText } from "./host-tally.ts";
import { isLoginAnswer } from "./login-answer.ts";
import { isHostOf } from "./proxied-target.ts";
import type { Recording } from "./recording.ts";
import { cut, isGone, type ProxyResponse, relay } from "./relay.ts";
import { SampledBody } from "./sampled-body.ts";
import { KnownSecrets, mayBeSigned, urlGrantsAccess } from "./secrets.ts";
import type { UpstreamOrigin } from "./types.ts";
import { UntrustedUpstream, type Upstream } from "./upstream.ts";

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const PATIENCE_MS = 5000;
const MAX_REMEMBERED = 20_000;
/** URLs that lead to one signed target. */
const MAX_ROOTS = 64;
/** What is posted to git is not recorded: its repository is fetched, as a whole, by whoever started the recording. */
const GIT = "git";
const CHUNKED = { "transfer-encoding": "chunked" };

export type ClientQuestion = IncomingMessage | Http2ServerRequest;

/** What is to be recorded of a question. */
export interface Question {
  url: string;
  /** Others that have the same answer: they led to the same signed target. */
  others: readonly string[];
  method: "GET" | "HEAD";
  headers: IncomingHttpHeaders;
  /** It was asked at the signed target of a redirect. */
  isSigned: boolean;
}

export interface ExchangeTools {
  recording: Recording;
  upstream: Upstream;
  tally: HostTallies;
  /** How long a client may take nothing before the rest waits for it in a file; default 5 s. */
  patienceMs?: number | undefined;
  /** One line of text. */
  report: (line: string) => void;
  /** Called when the refs of a git repository were asked for, with the login that was used. */
  onRepository?: ((url: string, login: string | undefined) => void) | undefined;
}

export class Exchanges {
  readonly #tools: ExchangeTools;
  readonly #secrets = new KnownSecrets();
  /** Questions whose answer is at a signed URL, by that URL; the latest last. */
  readonly #signed = new Map<string, readonly string[]>();
  /** Addresses that give out tokens. */
  readonly #logins = new Set<string>();
  /** With which Accept a URL was asked for. */
  readonly #accepts = new Map<string, string>();
  readonly #running = new Set<Promise<unknown>>();

  constructor(tools: ExchangeTools) {
    this.#tools = tools;
  }

  /** How many questions have no complete answer yet. */
  get running(): number {
    return this.#running.size;
  }

  /** Work that has to end before the recording does. */
  track<T>(work: Promise<T>): Promise<T> {
    const quiet = work.catch(() => {});
    this.#running.add(quiet);
    void quiet.then(() => this.#running.delete(quiet));
    return work;
  }

  /** Waits for everything that is running. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  /** What is to be recorded of a request, or why nothing is. */
  questionOf(request: ClientQuestion, origin: UpstreamOrigin): Question | { missed: string } {
    const { method = "", headers } = request;
    this.#secrets.addFrom(headers);
    if (method === "POST" && request.url?.endsWith("/git-upload-pack")) return { missed: GIT };
    if (method !== "GET" && method !== "HEAD") return { missed: method.slice(0, 20) };
    if (hasBody(headers) || isChunked(request)) return { missed: `${method} with a body` };
    const place = `${origin.scheme}://${hostText(origin)}`;
    const asked = `${place}${request.url ?? "/"}`;
    let url: string;
    try {
      url = normalizeWebUrl(`${place}${targetWithoutDots(request.url ?? "/")}`);
    } catch (error) {
      return { missed: `a URL that ${(error as Error).message}` };
    }
    if (!isHostOf(headers.host, origin)) return { missed: "a Host that is not the connection's" };
    const roots = this.#signed.get(new URL(asked).href);
    const root = roots?.at(-1);
    if (root !== undefined) return { url: root, others: roots?.slice(0, -1) ?? [], method, headers, isSigned: true };
    if (urlGrantsAccess(url) || this.#secrets.areInUrl(url)) return { missed: "a URL that grants access" };
    if (this.#logins.has(withoutQuery(url))) return { missed: "login" };
    return { url, others: [], method, headers, isSigned: false };
  }

  /** Answers a client. Never throws. */
  answer(request: ClientQuestion, response: ProxyResponse, origin: UpstreamOrigin): void {
    void this.track(
      this.#answer(request, response, origin).catch((error: unknown) => {
        this.#tools.report(`${hostText(origin)}: ${(error as Error).message}`);
        cut(response);
      }),
    );
  }

  async #answer(request: ClientQuestion, response: ProxyResponse, origin: UpstreamOrigin): Promise<void> {
    const question = this.questionOf(request, origin);
    const isWhole = !("missed" in question);
    const { headers } = request;
    const stop = new AbortController();
    // Nobody waits any more for what is not recorded.
    if (!isWhole) response.once("close", () => stop.abort());
    let answer: IncomingMessage;
    try {
      const sent = await this.#tools.upstream.send(
        {
          origin,
          method: request.method ?? "GET",
          path: request.url ?? "/",
          headers: { ...requestHeaders(headers, hostText(origin), isWhole), ...(isChunked(request) && CHUNKED) },
          ...((hasBody(headers) || isChunked(request)) && { body: request }),
        },
        isWhole ? undefined : stop.signal,
      );
      answer = sent.answer;
    } catch (error) {
      if (!stop.signal.aborted) this.refuse(response, origin, error);
      return;
    }
    if (!("missed" in question)) return this.pass(question, answer, origin, response);
    if (question.missed !== GIT) this.#tools.tally.missed(origin, question.missed);
    await this.#passUnrecorded(answer, origin, response);
  }

  async #passUnrecorded(answer: IncomingMessage, origin: UpstreamOrigin, response: ProxyResponse): Promise<void> {
    if (this.#sendHead(response, answer, origin)) await relay(answer, response, undefined);
    else answer.destroy();
  }

  /** Passes an answer to its client, and records it if it is worth that. */
  async pass(
    question: Question,
    answer: IncomingMessage,
    origin: UpstreamOrigin,
    response: ProxyResponse,
  ): Promise<void> {
    const body = this.#bodyFor(question, answer, origin);
    if (body === undefined) return this.#passUnrecorded(answer, origin, response);
    const client = this.#sendHead(response, answer, origin) ? response : undefined;
    await this.receive(question, answer, origin, body, client);
  }

  /** The body of an answer that is recorded; undefined, and counted, if the answer is not. */
  #bodyFor(question: Question, answer: IncomingMessage, origin: UpstreamOrigin): IncomingBody | undefined {
    const { tally, recording } = this.#tools;
    const status = answer.statusCode ?? 0;
    if (status === 401) this.#noteLogin(answer, origin);
    const { location } = answer.headers;
    if (REDIRECTS.has(status) && location !== undefined) {
      const base = `${origin.scheme}://${hostText(origin)}${answerPath(answer)}`;
      const target = URL.canParse(location, base) ? new URL(location, base) : undefined;
      if (target !== undefined && (mayBeSigned(target) || question.isSigned)) {
        this.#secrets.addUrl(target);
        const asked = [...question.others, question.url];
        const before = (this.#signed.get(target.href) ?? []).filter((it) => !asked.includes(it));
        remember(this.#signed, target.href, [...before, ...asked].slice(-MAX_ROOTS));
        return undefined;
      }
    }
    const isRecorded = question.isSigned ? status === 200 : isKeptStatus(status);
    const fault = isRecorded ? unknownEncoding(answer, question) : undefined;
    if (fault !== undefined) {
      tally.missed(origin, fault);
      return undefined;
    }
    if (isRecorded) return recording.bodies.begin();
    // A client that logs in asks again.
    if (status !== 401) tally.missed(origin, `status ${status}`);
    return undefined;
  }

  /**
   * Receives a body, for the client too if there is one, and records the answer. Resolves when it is stored: with
   * whether all of it came.
   */
  async receive(
    question: Question,
    answer: IncomingMessage,
    origin: UpstreamOrigin,
    body: IncomingBody,
    response?: ProxyResponse,
    sample = new SampledBody(body),
  ): Promise<boolean> {
    const { tally, patienceMs: afterMs = PATIENCE_MS } = this.#tools;
    const decoders = question.method === "GET" ? decodersOf(answer, question) : [];
    const decoded =
      decoders.length === 0
        ? undefined
        : new DecodedBody(
            decoders.map((make) => make()),
            sample,
          );
    const leave = (client: ProxyResponse, sent: number) => {
      if (body.failure !== undefined) return "wait";
      if (body.inMemory !== undefined) return "go on";
      void this.track(this.#goOn(client, body, sent));
      return "taken";
    };
    const isComplete = await relay(
      answer,
      response,
      decoded ?? sample,
      decoded === undefined ? { afterMs, leave } : undefined,
    );
    const fault = isComplete ? await decoded?.end() : "the connection broke";
    if (!isComplete) decoded?.destroy();
    const reason = fault === undefined ? await this.#refusal(sample) : `incomplete: ${fault}`;
    if (reason !== undefined) {
      await body.discard();
      tally.missed(origin, reason);
      return fault === undefined;
    }
    try {
      const stored = await body.finish();
      for (const url of [...question.others, question.url]) {
        const record = this.#record({ ...question, url }, answer, stored);
        await this.#tools.recording.add(record, stored);
        const repository = repositoryIn(record);
        if (repository !== undefined) this.#tools.onRepository?.(repository, question.headers.authorization);
      }
      tally.recorded(origin, stored.size);
    } catch (error) {
      if (tally.lostCount === 0) this.#tools.report((error as Error).message);
      tally.lose(origin, question.url);
    }
    return true;
  }

  /** Sends the rest of a body to a slow client, from its file. */
  async #goOn(client: ProxyResponse, body: IncomingBody, sent: number): Promise<void> {
    const reader = await body.reader().catch(() => undefined);
    if (reader === undefined) {
      cut(client);
      return;
    }
    try {
      const at = await sendFromFile(client, body, reader, sent);
      if (body.isOver && at === body.size && body.failure === undefined) client.end();
      else cut(client);
    } finally {
      await reader.close();
    }
  }

  /** Why a complete answer is not recorded, by what is in it. */
  async #refusal(sample: SampledBody): Promise<string | undefined> {
    const bytes = await sample.first();
    if (sample.isWhole && isLoginAnswer(bytes)) return "login";
    return this.#secrets.areIn(bytes) ? "an answer with a credential in it" : undefined;
  }

  #record(question: Question, answer: IncomingMessage, body: Pick<RecordedAnswer, "digest" | "size">): RecordedAnswer {
    const { url, method, headers } = question;
    const recorded = recordedHeaders(answer, question, this.#secrets);
    const vary = variantOf(headers, answer.headers.vary) ?? this.#untoldVariant(question, recorded, body.digest);
    const status = answer.statusCode ?? 0;
    const { digest, size } = body;
    const time = new Date().toISOString();
    return { url, method, status, headers: recorded, ...(vary && { vary }), digest, size, time };
  }

  /** Servers that answer by Accept without saying so: the second answer of another type is a variant. */
  #untoldVariant(
    { url, method, headers }: Question,
    recorded: Record<string, string>,
    digest: string,
  ): Record<string, string> | undefined {
    const accept = headers.accept?.trim() ?? "";
    const earlier = this.#tools.recording.get({ url, method });
    const before = this.#accepts.get(url);
    if (earlier === undefined || before === undefined) {
      remember(this.#accepts, url, accept);
      return undefined;
    }
    const isOther = before !== accept && accept !== "" && earlier.digest !== digest;
    return isOther && earlier.headers["content-type"] !== recorded["content-type"] ? { accept } : undefined;
  }

  /** A registry or another server that requires a login says where. Inside the gap none is needed. */
  #noteLogin(answer: IncomingMessage, origin: UpstreamOrigin): void {
    const challenge = answer.headers["www-authenticate"] ?? "";
    const [, realm = ""] = /^bearer\s.*?realm="([^"]+)"/i.exec(challenge) ?? [];
    if (realm !== "" && URL.canParse(realm)) {
      try {
        this.#logins.add(withoutQuery(normalizeWebUrl(realm)));
      } catch {
        // Nobody can ask there.
      }
    }
    if (/^\/v2\//.test(answerPath(answer)) && /^(?:bearer|basic)\b/i.test(challenge))
      void this.track(this.#openRegistry(origin));
  }

  /** `/v2/` of a registry answers everybody inside: only its login is missing there. */
  async #openRegistry(origin: UpstreamOrigin): Promise<void> {
    const url = `${origin.scheme}://${hostText(origin)}/v2/`;
    if (this.#tools.recording.get({ url, method: "GET" }) !== undefined) return;
    const body = this.#tools.recording.bodies.begin();
    body.push(Buffer.from("{}"));
    const headers = { "content-type": "application/json", "docker-distribution-api-version": "registry/2.0" };
    const time = new Date().toISOString();
    const digest = digestOf("{}");
    await this.#tools.recording.add(
      { url, method: "GET", status: 200, headers, digest, size: 2, time },
      await body.finish(),
    );
  }

  /** Sends status and headers as upstream has them. Returns whether somebody is there who can get the body. */
  #sendHead(response: ProxyResponse, answer: IncomingMessage, origin: UpstreamOrigin): boolean {
    if (isGone(response)) return false;
    try {
      response.writeHead(answer.statusCode ?? 502, answerHeaders(answer));
      return true;
    } catch (error) {
      // Node refuses what upstream sent: a status or a header that the client's protocol does not have.
      const { code, message } = error as NodeJS.ErrnoException;
      this.#tools.tally.missed(origin, `not passed to its client: ${code ?? message}`);
      cut(response);
      return false;
    }
  }

  /** Answers with the reason why there is no answer, which the summary has too. */
  refuse(response: ProxyResponse, origin: UpstreamOrigin, error: unknown): void {
    const host = hostText(origin);
    const { message, code } = error as NodeJS.ErrnoException;
    const isUntrusted = error instanceof UntrustedUpstream;
    this.#tools.tally.missed(origin, isUntrusted ? `its certificate: ${message}` : `no answer: ${code ?? message}`);
    if (response.headersSent) {
      cut(response);
      return;
    }
    const text = isUntrusted
      ? `airferry record: the certificate of ${host} does not verify: ${message}\nGive the CA that signed it with --ca FILE.\n`
      : `airferry record: cannot reach ${host}: ${message}\n`;
    if (isGone(response)) return;
    response.writeHead(502, { "content-type": "text/plain; charset=utf-8" });
    response.end(text);
  }
}

/** Why the body of an answer cannot be recorded as it is without its encoding. */
export function unknownEncoding({ headers }: IncomingMessage, { url }: Pick<Question, "url">): string | undefined {
  const found = decodersFor(headers["content-encoding"], url);
  return "fault" in found ? found.fault : undefined;
}

/** What undoes the encoding of an answer: nothing where the bytes are recorded as they are. */
export function decodersOf({ headers }: IncomingMessage, { url }: Pick<Question, "url">): (() => Transform)[] {
  const found = decodersFor(headers["content-encoding"], url);
  return "fault" in found ? [] : found.decoders;
}

function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/** HTTP/2 needs no header that says so. */
function isChunked(request: ClientQuestion): boolean {
  const { stream } = request as Partial<Http2ServerRequest>;
  return stream !== undefined && !stream.endAfterHeaders && request.headers["content-length"] === undefined;
}

/** The path that an answer is for. */
function answerPath(answer: IncomingMessage): string {
  return (answer as IncomingMessage & { req?: { path?: string } }).req?.path ?? "/";
}

function withoutQuery(url: string): string {
  return url.replace(/\?.*$/s, "");
}

function remember<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MAX_REMEMBERED && oldest !== undefined) map.delete(oldest);
}
