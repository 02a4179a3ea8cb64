/**
 * One artifact into one sink: over as many attempts, mirrors and ranges as it takes, exactly one GET when nothing goes wrong. The
 * state machine of the engine; what each answer means for the bytes already in place is decided here and nowhere else.
 */

import { AirferryError } from "../errors.ts";
import { pump } from "./body.ts";
import { encodingFault } from "./encoding.ts";
import { AttemptFailure, HttpStatus, statusHint, upstreamError } from "./failure.ts";
import type { HostLimits } from "./hosts.ts";
import { type Mirror, tryMirrors } from "./mirrors.ts";
import { type Opened, type OpenParts, openUrl } from "./open.ts";
import { redactUrl } from "./redact.ts";
import { parseContentRange, planResume, type ResumePlan, strongEtag, type Validator, validatorOf } from "./resume.ts";
import { type Backoff, isTransientStatus, parseRetryAfter } from "./retry.ts";
import { inSegments, SEGMENT_BYTES } from "./segments.ts";
import { discard } from "./transport.ts";
import type { FetchEvent, FetchSink, FetchTarget, HeadResult } from "./types.ts";

/** Where neither size nor maxBytes is given: larger than any artifact, smaller than an endless body. */
const DEFAULT_MAX_BYTES = 256 * 1024 ** 3;

/** What every transfer of one fetcher shares. */
export interface Engine extends OpenParts {
  limits: HostLimits;
  retries: number;
  backoff: Backoff;
  onEvent?: ((event: FetchEvent) => void) | undefined;
  /** Requests at a time for one large file. */
  segments: number;
}

export interface TransferRequest extends FetchTarget {
  method?: "GET" | "POST";
  body?: string | Buffer | undefined;
  signal?: AbortSignal | undefined;
  /** Looks at the whole body; what it returns is why this mirror's bytes are not wanted. */
  check?: (opened: Opened, pieced: boolean) => AttemptFailure | undefined;
}

/** Runs a transfer to its end. @throws {AirferryError} ERR_UPSTREAM*, or whatever the sink throws */
export async function transferInto(engine: Engine, request: TransferRequest, sink: FetchSink): Promise<HeadResult> {
  const transfer = new Transfer(engine, request, sink);
  const result = await tryMirrors(
    request.urls,
    {
      retries: engine.retries,
      backoff: engine.backoff,
      signal: request.signal,
      onEvent: engine.onEvent,
      position: () => sink.position,
      distrust: () => transfer.restart(),
    },
    (mirror, count) => transfer.attempt(mirror, count),
  );
  engine.onEvent?.({ type: "done", url: redactUrl(result.url), bytes: sink.position });
  return result;
}

type RestPlan = Extract<ResumePlan, { kind: "rest" }>;

class Transfer {
  readonly #engine: Engine;
  readonly #request: TransferRequest;
  readonly #sink: FetchSink;
  #validator: Validator | undefined;
  /** Total that the bytes in place belong to, as far as upstream told. */
  #total: number | undefined;
  /** Responses that the bytes in place came from. */
  #pieces: number;

  constructor(engine: Engine, request: TransferRequest, sink: FetchSink) {
    this.#engine = engine;
    this.#request = request;
    this.#sink = sink;
    this.#validator = sink.validator;
    this.#pieces = sink.position > 0 ? 1 : 0;
  }

  async restart(): Promise<void> {
    await this.#sink.restart();
    this.#validator = undefined;
    this.#total = undefined;
    this.#pieces = 0;
  }

  async attempt(mirror: Mirror, count: number): Promise<HeadResult> {
    const { size, integrity } = this.#request;
    const sink = this.#sink;
    if (size !== undefined && sink.position > size) await this.restart();
    if (size !== undefined && size > 0 && sink.position === size && this.#request.check === undefined) {
      return this.#resultWithoutRequest(mirror.url, size);
    }
    const plan = planResume(sink.position, mirror.url, this.#validator, integrity !== undefined, !mirror.wholeOnly);
    if (plan.kind === "whole" && plan.restart) await this.restart();
    if (plan.kind === "rest") {
      this.#engine.onEvent?.({ type: "resume", url: redactUrl(mirror.url), bytes: plan.from, attempt: count });
    }
    if (this.#worthSegments(mirror)) return this.#attemptSegments(mirror, plan, count);
    const opened = await this.#open(mirror.url, plan, count);
    try {
      return await this.#take(mirror, opened, plan);
    } catch (error) {
      opened.exchange.destroy();
      throw error;
    } finally {
      opened.release();
    }
  }

  /** Only where size and ranges are sure, and where either a validator or a digest keeps pieces of two files apart. */
  #worthSegments(mirror: Mirror): boolean {
    const { size, method } = this.#request;
    if (this.#engine.segments < 2 || size === undefined || mirror.wholeOnly || (method ?? "GET") !== "GET")
      return false;
    return size - this.#sink.position >= 2 * SEGMENT_BYTES;
  }

  /** The first segment finds out whether upstream does ranges at all; a 200 is simply taken whole. */
  async #attemptSegments(mirror: Mirror, plan: ResumePlan, count: number): Promise<HeadResult> {
    const size = this.#request.size as number;
    const sink = this.#sink;
    const from = sink.position;
    const to = from + SEGMENT_BYTES;
    const ifRange = plan.kind === "rest" ? plan.ifRange : undefined;
    const first: ResumePlan = { kind: "rest", from, to, ifRange };
    let result: HeadResult;
    const opened = await this.#open(mirror.url, first, count);
    try {
      if (opened.exchange.status !== 206) return await this.#take(mirror, opened, first);
      result = await this.#append(mirror, opened, first);
    } catch (error) {
      opened.exchange.destroy();
      throw error;
    } finally {
      opened.release();
    }
    // Nothing would tell pieces of two versions apart: one plain answer for the rest is no worse, and no better.
    const validator =
      this.#validator?.url === mirror.url ? (this.#validator.etag ?? this.#validator.lastModified) : undefined;
    if (validator === undefined && this.#request.integrity === undefined) {
      mirror.wholeOnly = true;
      throw this.#changed(mirror.url, "a validator or a digest", "neither");
    }
    await inSegments({
      from: to,
      size,
      ahead: this.#engine.segments,
      signal: this.#request.signal,
      fetch: (start, end, signal) => this.#segment(mirror, start, end, validator, signal),
      write: (bytes) => sink.write(bytes),
    });
    return { ...result, size };
  }

  /** Bytes [start, end) into memory, over as many attempts as it takes. */
  async #segment(
    mirror: Mirror,
    start: number,
    end: number,
    ifRange: string | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const bytes = Buffer.allocUnsafe(end - start);
    let have = 0;
    const { retries, backoff, onEvent } = this.#engine;
    const position = () => have;
    const distrust = () => {
      have = 0;
      return Promise.resolve();
    };
    return tryMirrors([mirror.url], { retries, backoff, signal, onEvent, position, distrust }, async (_, count) => {
      const plan: ResumePlan = { kind: "rest", from: start + have, to: end, ifRange };
      const opened = await this.#open(mirror.url, plan, count, signal);
      try {
        const { exchange } = opened;
        if (exchange.status === 200) throw this.#changed(mirror.url, "206", "200");
        if (exchange.status !== 206) throw await statusFailure(this.#engine, mirror.url, opened);
        this.#checkRange(mirror, opened, plan);
        const body = await pump(
          exchange,
          end - start - have,
          (chunk) => {
            bytes.set(chunk, have);
            have += chunk.length;
            return Promise.resolve();
          },
          signal,
        );
        if (start + have < end) throw this.#short(mirror.url, opened, body, start + have, end);
        this.#engine.limits.speedUp(opened.origin);
        return bytes;
      } catch (error) {
        opened.exchange.destroy();
        throw error;
      } finally {
        opened.release();
      }
    }).catch((error) => {
      // The mirror loop above decides what comes next: another mirror, or this one without segments.
      throw error instanceof AirferryError
        ? new AttemptFailure(error, { distrust: error.code === "ERR_UPSTREAM_CHANGED", transient: true })
        : error;
    });
  }

  #open(url: string, plan: ResumePlan, attempt: number, signal = this.#request.signal): Promise<Opened> {
    const { headers, method, body, auth } = this.#request;
    const all: Record<string, string> = {};
    for (const [name, value] of Object.entries(headers ?? {})) all[name.toLowerCase()] = value;
    if (plan.kind === "rest") {
      all.range = `bytes=${plan.from}-${plan.to === undefined ? "" : plan.to - 1}`;
      if (plan.ifRange !== undefined) all["if-range"] = plan.ifRange;
    }
    const { onEvent } = this.#engine;
    return openUrl(this.#engine, {
      method: method ?? "GET",
      url,
      headers: all,
      body,
      auth,
      signal,
      onRequest:
        onEvent && ((to) => onEvent({ type: "request", url: redactUrl(to), bytes: this.#sink.position, attempt })),
    });
  }

  /** Reads the answer: appends, starts over, or says what is wrong. */
  async #take(mirror: Mirror, opened: Opened, plan: ResumePlan): Promise<HeadResult> {
    const { status, headers } = opened.exchange;
    const encoded = encodingFault(opened.url, headers, this.#request.size);
    if (status === 416 && plan.kind === "rest") return this.#unsatisfied(mirror, opened, plan.from);
    if (status === 206 && plan.kind === "rest") {
      if (encoded) throw encoded;
      return this.#append(mirror, opened, plan);
    }
    if (status === 206) {
      throw new AttemptFailure(
        upstreamError(
          "ERR_UPSTREAM_INVALID",
          mirror.url,
          "upstream sent a part (206) although the whole was asked for",
        ),
      );
    }
    if (status < 200 || status > 299) throw await statusFailure(this.#engine, mirror.url, opened);
    if (encoded) throw encoded;
    this.#checkLength(mirror.url, opened);
    if (this.#sink.position > 0) await this.restart();
    return this.#receive(mirror, opened, 0, lengthOf(opened));
  }

  /** 206: the rest. */
  #append(mirror: Mirror, opened: Opened, plan: RestPlan): Promise<HeadResult> {
    const total = this.#checkRange(mirror, opened, plan);
    return this.#receive(mirror, opened, plan.from, total, plan.to);
  }

  /** Throws unless a 206 is exactly what was asked for, of the same thing as the bytes in place. Returns the total size. */
  #checkRange(mirror: Mirror, opened: Opened, plan: RestPlan): number | undefined {
    const { headers } = opened.exchange;
    const { size } = this.#request;
    const range = parseContentRange(headers["content-range"]);
    const length = lengthOf(opened);
    const misfit = (expected: string) => {
      mirror.wholeOnly = true;
      const actual = headers["content-range"] ?? headers["content-type"] ?? "no Content-Range";
      return new AttemptFailure(
        upstreamError("ERR_UPSTREAM_INVALID", mirror.url, "the partial answer does not fit", { expected, actual }),
        { transient: true, free: true },
      );
    };
    if (range?.start !== plan.from || range.end === undefined) throw misfit(`bytes ${plan.from}-…`);
    if (length !== undefined && length !== range.end - range.start + 1) {
      throw misfit(`a body of ${range.end - range.start + 1} bytes instead of ${length}`);
    }
    const expectedTotal = size ?? this.#total;
    if (range.size !== undefined && expectedTotal !== undefined && range.size !== expectedTotal) {
      if (size !== undefined) throw this.#wrongSize(mirror.url, range.size, opened);
      throw this.#changed(mirror.url, `${expectedTotal} bytes`, `${range.size} bytes`);
    }
    if (expectedTotal !== undefined && range.end >= expectedTotal) throw misfit(`an end below ${expectedTotal}`);
    if (range.size === undefined && expectedTotal === undefined) throw misfit("a total size");
    const etag = strongEtag(headers);
    if (this.#validator?.url === mirror.url && this.#validator.etag !== undefined && etag !== undefined) {
      if (etag !== this.#validator.etag) throw this.#changed(mirror.url, this.#validator.etag, etag);
    }
    if (plan.to !== undefined && range.end >= plan.to) throw misfit(`an end below ${plan.to}`);
    return range.size ?? expectedTotal;
  }

  /** 416: either everything is here already, or what is here is from another time. */
  async #unsatisfied(mirror: Mirror, opened: Opened, from: number): Promise<HeadResult> {
    const total = parseContentRange(opened.exchange.headers["content-range"])?.size;
    await discard(opened.exchange);
    if (total === from && (this.#request.size ?? total) === total) {
      const rejected = this.#request.check?.(opened, this.#pieces > 1);
      if (rejected) throw rejected;
      return headResult(mirror.url, opened, total);
    }
    throw this.#changed(mirror.url, `more than ${from} bytes`, total === undefined ? "416" : `${total} bytes`);
  }

  /** Appends a body. `to`: where this part of a larger whole ends. */
  async #receive(
    mirror: Mirror,
    opened: Opened,
    from: number,
    total: number | undefined,
    to?: number,
  ): Promise<HeadResult> {
    const { exchange, url } = opened;
    const { size, maxBytes, signal } = this.#request;
    const sink = this.#sink;
    const cap = to ?? size ?? maxBytes ?? DEFAULT_MAX_BYTES;
    const known = this.#validator?.url === mirror.url && from > 0 ? this.#validator : undefined;
    this.#validator = { ...known, ...validatorOf(mirror.url, exchange.headers) };
    this.#total = total ?? this.#total;
    this.#pieces++;
    sink.began?.({ ...this.#validator, ...(this.#total !== undefined && { size: this.#total }) });
    const end = await pump(exchange, cap - from, (chunk) => sink.write(chunk), signal);
    const have = from + end.bytes;
    if (end.how === "over") {
      throw new AttemptFailure(
        upstreamError(
          "ERR_UPSTREAM_SIZE",
          mirror.url,
          size === undefined ? "the body is larger than allowed" : "the body is larger than it should be",
          { expected: `${size === undefined ? "at most " : ""}${cap} bytes`, actual: "more", hint: sizeHint(url) },
        ),
        { distrust: true },
      );
    }
    const wanted = to ?? size ?? total;
    if (wanted !== undefined ? have < wanted : end.how === "cut")
      throw this.#short(mirror.url, opened, end, have, wanted);
    this.#engine.limits.speedUp(opened.origin);
    const rejected = this.#request.check?.(opened, this.#pieces > 1);
    if (rejected) throw rejected;
    return { ...headResult(mirror.url, opened, have), ...(this.#pieces > 1 && { mixed: true as const }) };
  }

  /** The body ended too early. A complete one that is too short is a wrong size; anything else continues. */
  #short(
    url: string,
    opened: Opened,
    end: { how: string; cause?: Error | undefined },
    have: number,
    wanted: number | undefined,
  ): AttemptFailure {
    const { headers } = opened.exchange;
    const framed = headers["transfer-encoding"] !== undefined || lengthOf(opened) !== undefined;
    const whole = headers["content-range"] === undefined;
    const expected = wanted === undefined ? "the end of the body" : `${wanted} bytes`;
    if (end.how === "end" && framed && whole) {
      return new AttemptFailure(
        upstreamError("ERR_UPSTREAM_SIZE", url, "the body is shorter than it should be", {
          expected,
          actual: `${have} bytes`,
          hint: sizeHint(opened.url),
        }),
        { distrust: true },
      );
    }
    const stall = opened.exchange.stalled();
    const fault = stall === undefined ? "the connection was cut" : `the transfer stalled: ${stall}`;
    return new AttemptFailure(
      upstreamError("ERR_UPSTREAM", url, fault, {
        expected,
        actual: `${have} bytes`,
        hint: "the network or upstream is unsteady; run the command again: it continues where it stopped",
      }),
      { transient: true, stalled: stall !== undefined },
    );
  }

  #checkLength(url: string, opened: Opened): void {
    const { size, maxBytes } = this.#request;
    const length = lengthOf(opened);
    if (length === undefined) return;
    if (size !== undefined && length !== size) throw this.#wrongSize(url, length, opened);
    if (size === undefined && length > (maxBytes ?? DEFAULT_MAX_BYTES)) {
      throw new AttemptFailure(
        upstreamError("ERR_UPSTREAM_SIZE", url, "the body is larger than allowed", {
          expected: `at most ${maxBytes ?? DEFAULT_MAX_BYTES} bytes`,
          actual: `${length} bytes`,
          hint: sizeHint(opened.url),
        }),
      );
    }
  }

  #wrongSize(url: string, got: number, opened: Opened): AttemptFailure {
    const etag = opened.exchange.headers.etag;
    const locked = this.#request.etag;
    const moved = locked !== undefined && etag !== undefined && etag !== locked;
    return new AttemptFailure(
      upstreamError("ERR_UPSTREAM_SIZE", url, moved ? "upstream changed since it was locked" : "wrong size", {
        expected: `${this.#request.size} bytes`,
        actual: `${got} bytes`,
        hint: sizeHint(opened.url),
      }),
    );
  }

  /** Upstream has something else now than what the bytes in place came from: start over at once. */
  #changed(url: string, expected: string, actual: string): AttemptFailure {
    const error = upstreamError("ERR_UPSTREAM_CHANGED", url, "upstream changed in the middle of the transfer", {
      expected,
      actual,
      hint: "upstream is being updated; run the command again when it is settled",
    });
    return new AttemptFailure(error, { transient: true, free: true, distrust: true });
  }

  #resultWithoutRequest(url: string, size: number): HeadResult {
    const { etag, lastModified, url: from } = this.#validator ?? { url };
    return {
      url: from,
      finalUrl: redactUrl(from),
      size,
      acceptRanges: true,
      ...(etag !== undefined && { etag }),
      ...(lastModified !== undefined && { lastModified }),
    };
  }
}

function sizeHint(url: URL): string {
  return `look at what ${url.host} sends; if upstream published something new, run: airferry lock --update`;
}

/** Content-Length as a number. */
export function lengthOf(opened: Opened): number | undefined {
  const text = opened.exchange.headers["content-length"];
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}

/** What a response says about the resource. */
export function headResult(url: string, opened: Opened, size: number | undefined): HeadResult {
  const { headers } = opened.exchange;
  const lastModified = headers["last-modified"];
  const contentType = headers["content-type"];
  return {
    url,
    finalUrl: redactUrl(opened.url),
    ...(size !== undefined && { size }),
    ...(headers.etag !== undefined && { etag: headers.etag }),
    ...(lastModified !== undefined && { lastModified }),
    acceptRanges: opened.exchange.status === 206 || /\bbytes\b/i.test(headers["accept-ranges"] ?? ""),
    ...(contentType !== undefined && { contentType }),
  };
}

/** Reads nothing of an error's body; tells the host limits about a 429. */
export async function statusFailure(engine: Engine, url: string, opened: Opened): Promise<AttemptFailure> {
  const { status, headers, response } = opened.exchange;
  const retryAfterMs = parseRetryAfter(headers["retry-after"]);
  if (status === 429) {
    engine.limits.slowDown(opened.origin, Math.min(retryAfterMs ?? 0, engine.backoff.maxRetryAfterMs));
  }
  await discard(opened.exchange);
  const via = redactUrl(opened.url) === redactUrl(url) ? "" : ` (asked at "${redactUrl(opened.url)}")`;
  const said = `${status} ${(response.statusMessage ?? "").replace(/[^\x20-\x7e]/g, "?").slice(0, 60)}`.trim();
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM", url, `upstream answered ${said}${via}`, {
      actual: said,
      cause: new HttpStatus(status),
      hint: statusHint(status, opened.url),
    }),
    { transient: isTransientStatus(status), retryAfterMs },
  );
}
