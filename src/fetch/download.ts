/**
 * One artifact into one sink: with as many attempts, mirrors and ranges as needed, exactly one GET when nothing fails.
 * The state machine of the engine: only this file decides what each response means for the bytes in place.
 */
import { AirferryError } from "../errors.ts";
import { pump } from "../http/body.ts";
import { AttemptFailure } from "../http/failure.ts";
import type { HostLimits } from "../http/hosts.ts";
import type { Backoff } from "../http/retry.ts";
import { type Opened, type OpenParts, openUrl } from "../http/send-request.ts";
import { discard } from "../http/transport.ts";
import { redactUrl } from "../io/redact.ts";
import { headResult, lengthOf, REFUSES_RANGES, statusFailure } from "./answer.ts";
import { encodingFault } from "./encoding.ts";
import { changed, tooLarge, tooShort, unfitPart, unrequestedRange, wrongSize } from "./faults.ts";
import { type Mirror, tryMirrors } from "./mirrors.ts";
import { parseContentRange, planResume, type ResumePlan, strongEtag, type Validator, validatorOf } from "./resume.ts";
import { inSegments, SEGMENT_BYTES } from "./segments.ts";
import type { FetchEvent, FetchSink, FetchTarget, HeadResult } from "./types.ts";

/** Limit without size and maxBytes: larger than any artifact, smaller than an endless body. */
const DEFAULT_MAX_BYTES = 256 * 1024 ** 3;

/** Shared by all transfers of one fetcher. */
export interface Engine extends OpenParts {
  limits: HostLimits;
  retries: number;
  backoff: Backoff;
  onEvent?: ((event: FetchEvent) => void) | undefined;
  /** Concurrent requests for one large file. */
  segments: number;
}

interface DownloadRequest extends FetchTarget {
  method?: "GET" | "POST";
  body?: string | Buffer | undefined;
  /** See `Fetcher.fetchBytes`. */
  link?: string | undefined;
  signal?: AbortSignal | undefined;
  /** Checks the whole body; returns why this mirror's bytes are refused. */
  check?: (opened: Opened, pieced: boolean) => AttemptFailure | undefined;
}

/** Runs a transfer to its end. @throws {AirferryError} ERR_UPSTREAM*, or what the sink throws */
export async function downloadInto(engine: Engine, request: DownloadRequest, sink: FetchSink): Promise<HeadResult> {
  const transfer = new Download(engine, request, sink);
  // Without a digest only the URL that the bytes in place came from can resume them.
  const first = sink.position > 0 && !mayMix(request) ? sink.validator?.url : undefined;
  // Its recorded form has no secrets.
  const isFirst = (url: string) => redactUrl(url) === first;
  const urls = [...request.urls.filter(isFirst), ...request.urls.filter((it) => !isFirst(it))];
  const result = await tryMirrors(
    urls,
    {
      retries: Math.min(engine.retries, request.retries ?? engine.retries),
      backoff: engine.backoff,
      signal: request.signal,
      onEvent: engine.onEvent,
      position: () => sink.position,
      distrust: () => transfer.restart(),
      changes: () => transfer.changes,
    },
    (mirror, count) => transfer.attempt(mirror, count),
  );
  engine.onEvent?.({ type: "done", url: redactUrl(result.url), bytes: sink.position });
  return result;
}

/** Whether a digest verifies that bytes of several responses belong together. */
function mayMix({ integrity, unmixed }: FetchTarget): boolean {
  return integrity !== undefined && unmixed !== true;
}

type RestPlan = Extract<ResumePlan, { kind: "rest" }>;

class Download {
  /** How often upstream changed. */
  changes = 0;
  readonly #engine: Engine;
  readonly #request: DownloadRequest;
  readonly #sink: FetchSink;
  #validator: Validator | undefined;
  /** Total size that the bytes in place belong to, if upstream sent it. */
  #total: number | undefined;
  /** Number of responses that the bytes in place came from. */
  #pieces: number;

  constructor(engine: Engine, request: DownloadRequest, sink: FetchSink) {
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
    const { size } = this.#request;
    const sink = this.#sink;
    if (sink.position > (size ?? this.#request.maxBytes ?? DEFAULT_MAX_BYTES)) await this.restart();
    if (size !== undefined && size > 0 && sink.position === size && this.#request.check === undefined) {
      return this.#resultWithoutRequest(mirror.url, size);
    }
    const plan = planResume(
      sink.position,
      redactUrl(mirror.url),
      this.#validator,
      mayMix(this.#request),
      !mirror.wholeOnly,
    );
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

  /** Only if size and range support are certain, and a validator or a digest prevents mixing two files. */
  #worthSegments(mirror: Mirror): boolean {
    const { size, method } = this.#request;
    if (this.#engine.segments < 2 || size === undefined || mirror.wholeOnly || (method ?? "GET") !== "GET")
      return false;
    return size - this.#sink.position >= 2 * SEGMENT_BYTES;
  }

  /** The first segment shows whether upstream supports ranges; a 200 is used as a whole. */
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
    // Pieces of two versions could not be distinguished: one plain response for the rest is equivalent.
    const validator =
      this.#validator?.url === redactUrl(mirror.url)
        ? (this.#validator.etag ?? this.#validator.lastModified)
        : undefined;
    if (validator === undefined && !mayMix(this.#request)) {
      mirror.wholeOnly = true;
      throw this.#change(mirror.url, "a validator or a digest", "neither");
    }
    // Reused: buffers waiting for the garbage collector still use memory.
    const spare: Buffer[] = [];
    await inSegments({
      from: to,
      size,
      ahead: this.#engine.segments,
      signal: this.#request.signal,
      fetch: (start, end, signal) => {
        const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(SEGMENT_BYTES);
        return this.#segment(mirror, buffer.subarray(0, end - start), start, validator, signal);
      },
      write: async (bytes) => {
        await sink.write(bytes);
        spare.push(Buffer.from(bytes.buffer, bytes.byteOffset, SEGMENT_BYTES));
      },
    });
    return { ...result, size, mixed: true };
  }

  /** Fills `bytes` from `start` on, with as many attempts as needed. */
  async #segment(
    mirror: Mirror,
    bytes: Buffer,
    start: number,
    ifRange: string | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const end = start + bytes.length;
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
        if (exchange.status === 200) throw this.#change(mirror.url, "206", "200");
        if (exchange.status !== 206) throw await statusFailure(this.#engine, mirror.url, opened);
        this.#checkRange(mirror, opened, plan);
        const body = await pump(
          exchange,
          end - start - have,
          {
            lend: () => Promise.resolve(bytes.subarray(have)),
            write: (chunk) => {
              have += chunk.length;
              return Promise.resolve();
            },
          },
          signal,
        );
        if (start + have < end) throw tooShort(mirror.url, opened, body.how, start + have, end);
        this.#engine.limits.speedUp(opened.origin);
        return bytes;
      } catch (error) {
        opened.exchange.destroy();
        throw error;
      } finally {
        opened.release();
      }
    }).catch((error) => {
      // The mirror loop above decides what is next: another mirror, or this one without segments.
      throw error instanceof AirferryError
        ? new AttemptFailure(error, { distrust: error.code === "ERR_UPSTREAM_CHANGED", transient: true })
        : error;
    });
  }

  #open(url: string, plan: ResumePlan, attempt: number, signal = this.#request.signal): Promise<Opened> {
    const { headers, method, body, auth, link, named } = this.#request;
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
      link,
      named,
      headers: all,
      body,
      auth,
      signal,
      onRequest:
        onEvent && ((to) => onEvent({ type: "request", url: redactUrl(to), bytes: this.#sink.position, attempt })),
    });
  }

  /** Handles the response: appends, restarts, or reports what is wrong. */
  async #take(mirror: Mirror, opened: Opened, plan: ResumePlan): Promise<HeadResult> {
    const { status, headers } = opened.exchange;
    if (status === 416 && plan.kind === "rest") return this.#unsatisfied(mirror, opened, plan.from);
    if (status === 206 && plan.kind === "rest") {
      return this.#append(mirror, opened, plan);
    }
    if (status === 206) {
      throw unrequestedRange(mirror.url);
    }
    // 202 and 204 do not contain the artifact.
    const good = this.#request.method === "POST" ? status >= 200 && status <= 299 : status === 200 || status === 203;
    if (!good && plan.kind === "rest" && REFUSES_RANGES.has(status) && !mirror.wholeOnly) {
      // A firewall or server without range support may still send the whole; the bytes in place stay until it does.
      mirror.wholeOnly = true;
      const { error } = await statusFailure(this.#engine, mirror.url, opened);
      throw new AttemptFailure(error, { transient: true, free: true });
    }
    if (!good) throw await statusFailure(this.#engine, mirror.url, opened);
    const encoded = encodingFault(opened.url, headers, this.#request);
    if (encoded) throw encoded;
    this.#checkLength(mirror.url, opened);
    if (this.#sink.position > 0) {
      const { url, etag } = this.#validator ?? {};
      if (url === redactUrl(mirror.url) && etag !== undefined && etag !== headers.etag) this.changes++;
      await this.restart();
    }
    return this.#receive(mirror, opened, 0, lengthOf(opened));
  }

  /** 206: the rest. */
  #append(mirror: Mirror, opened: Opened, plan: RestPlan): Promise<HeadResult> {
    const total = this.#checkRange(mirror, opened, plan);
    return this.#receive(mirror, opened, plan.from, total, plan.to);
  }

  /** Throws unless a 206 exactly matches the request and the bytes in place. Returns the total size. */
  #checkRange(mirror: Mirror, opened: Opened, plan: RestPlan): number | undefined {
    const { headers } = opened.exchange;
    const { size } = this.#request;
    const encoded = encodingFault(opened.url, headers, { integrity: this.#request.integrity });
    if (encoded) throw encoded;
    const range = parseContentRange(headers["content-range"]);
    const length = lengthOf(opened);
    const misfit = (expected: string) => {
      mirror.wholeOnly = true;
      return unfitPart(mirror.url, opened, expected);
    };
    if (range?.start !== plan.from || range.end === undefined) throw misfit(`bytes ${plan.from}-…`);
    if (length !== undefined && length !== range.end - range.start + 1) {
      throw misfit(`a body of ${range.end - range.start + 1} bytes instead of ${length}`);
    }
    const expectedTotal = size ?? this.#total;
    if (range.size !== undefined && expectedTotal !== undefined && range.size !== expectedTotal) {
      if (size !== undefined) throw wrongSize(mirror.url, opened, this.#request, range.size);
      throw this.#change(mirror.url, `${expectedTotal} bytes`, `${range.size} bytes`);
    }
    if (expectedTotal !== undefined && range.end >= expectedTotal) throw misfit(`an end below ${expectedTotal}`);
    if (range.size === undefined && expectedTotal === undefined) throw misfit("a total size");
    const etag = strongEtag(headers);
    if (this.#validator?.url === redactUrl(mirror.url) && this.#validator.etag !== undefined && etag !== undefined) {
      if (etag !== this.#validator.etag) throw this.#change(mirror.url, this.#validator.etag, etag);
    }
    if (plan.to !== undefined && range.end >= plan.to) throw misfit(`an end below ${plan.to}`);
    return range.size ?? expectedTotal;
  }

  /** 416: either everything is in place, or the bytes in place are from another version. */
  async #unsatisfied(mirror: Mirror, opened: Opened, from: number): Promise<HeadResult> {
    const total = parseContentRange(opened.exchange.headers["content-range"])?.size;
    await discard(opened.exchange);
    if (total === from && (this.#request.size ?? total) === total) {
      const rejected = this.#request.check?.(opened, this.#pieces > 1);
      if (rejected) throw rejected;
      return headResult(mirror.url, opened, total);
    }
    throw this.#change(mirror.url, `more than ${from} bytes`, total === undefined ? "416" : `${total} bytes`);
  }

  /** Appends a body. `to`: end of this part of a larger file. */
  async #receive(
    mirror: Mirror,
    opened: Opened,
    from: number,
    total: number | undefined,
    to?: number,
  ): Promise<HeadResult> {
    const { exchange } = opened;
    const { size, maxBytes, signal } = this.#request;
    const sink = this.#sink;
    const cap = to ?? size ?? maxBytes ?? DEFAULT_MAX_BYTES;
    const known = this.#validator?.url === redactUrl(mirror.url) && from > 0 ? this.#validator : undefined;
    this.#validator = { ...known, ...validatorOf(redactUrl(mirror.url), exchange.headers) };
    this.#total = total ?? this.#total;
    this.#pieces++;
    sink.began?.({ ...this.#validator, ...(this.#total !== undefined && { size: this.#total }) });
    const end = await pump(exchange, cap - from, sink, signal);
    const have = from + end.bytes;
    if (end.how === "over") throw tooLarge(mirror.url, opened, cap, size === undefined, undefined);
    const wanted = to ?? size ?? total;
    if (wanted !== undefined ? have < wanted : end.how === "cut")
      throw tooShort(mirror.url, opened, end.how, have, wanted);
    this.#engine.limits.speedUp(opened.origin);
    const rejected = this.#request.check?.(opened, this.#pieces > 1);
    if (rejected) throw rejected;
    return { ...headResult(mirror.url, opened, have), ...(this.#pieces > 1 && { mixed: true as const }) };
  }

  #checkLength(url: string, opened: Opened): void {
    const { size, maxBytes } = this.#request;
    const length = lengthOf(opened);
    if (length === undefined) return;
    if (size !== undefined && length !== size) throw wrongSize(url, opened, this.#request, length);
    const cap = maxBytes ?? DEFAULT_MAX_BYTES;
    if (size === undefined && length > cap) throw tooLarge(url, opened, cap, true, length);
  }

  #change(url: string, expected: string, actual: string): AttemptFailure {
    this.changes++;
    return changed(url, expected, actual);
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
