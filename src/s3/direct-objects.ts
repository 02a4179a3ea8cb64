/**
 * Reads the objects of a bucket by signed URLs over Node's own HTTP: the body of an answer of the AWS SDK costs twice
 * the processor's time. Every request ends within its limits, and nothing of a URL gets into a message.
 */
import type { Agent, IncomingMessage } from "node:http";
import { rootCertificates } from "node:tls";
import type { BucketObjects, ObjectBytes } from "../cache/types.ts";
import { AirferryError } from "../errors.ts";
import { buffersUsed } from "../io/flat-memory.ts";
import { readNamed } from "../io/named-file.ts";
import { nodeHttp, nodeHttps } from "../io/node-http.ts";
import { printable } from "../io/printable.ts";
import { type Bucket, openBucket } from "./bucket.ts";
import { RangeConnections, type RangeSink } from "./range-connections.ts";
import type { S3Target } from "./s3-target.ts";

/** Until the head of an answer has arrived. */
const HEAD_MS = 4000;
/** Without a byte. */
const IDLE_MS = 5000;
/** An attempt at a small object as a whole. */
const SMALL_MS = 10_000;
/** A larger one brings so much in each such time, or is given up: whoever drips holds up all others. */
const PACE = { ms: 10_000, bytes: 40 * 1024 };
const LIMITS = { connectMs: 2000, idleMs: IDLE_MS, smallMs: HEAD_MS, largeMs: SMALL_MS, patienceMs: 500 };
/** How long a signed URL is good, and how long it is used here: credentials of roles end earlier. */
const SIGNED_S = 900;
const USED_MS = 300_000;
const MAX_SIGNED = 4096;
const MAX_SOCKETS = 24;
/**
 * How much more the memory of a body counts than it is: V8 looks at the whole heap of a small process, `serve`, after
 * a few MiB of buffers, unless young ones are collected before.
 */
const YOUNG_FACTOR = 4;
const MAX_FAULT_BYTES = 4096;

/**
 * Opens the objects of a store in a bucket; asks nothing yet. The caller closes it.
 * @throws {AirferryError} ERR_USAGE
 */
export async function openObjects(target: S3Target): Promise<BucketObjects> {
  const bucket = await openBucket(target, LIMITS);
  const ca = target.ca === undefined ? undefined : (await readNamed(target.ca)).toString("utf8");
  return new DirectObjects(bucket, ca);
}

class DirectObjects implements BucketObjects {
  readonly name: string;
  readonly #bucket: Bucket;
  readonly #plain: Agent;
  readonly #ca: readonly string[] | undefined;
  readonly #ranges: RangeConnections;
  #secure: Agent | undefined;
  readonly #signed = new Map<string, { url: Promise<URL>; untilMs: number }>();

  constructor(bucket: Bucket, ca: string | undefined) {
    this.name = bucket.target.name;
    this.#bucket = bucket;
    this.#ca = ca === undefined ? undefined : [...rootCertificates, ca];
    this.#ranges = new RangeConnections({ headMs: HEAD_MS, idleMs: IDLE_MS, pace: PACE }, this.#ca);
    this.#plain = new nodeHttp.Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, scheduling: "lifo" });
  }

  close(): void {
    this.#plain.destroy();
    this.#secure?.destroy();
    this.#ranges.close();
    this.#bucket.close();
  }

  async read(key: string, { maxBytes, etag }: { maxBytes: number; etag?: string | undefined }) {
    const answer = await this.#get(key, etag === undefined ? {} : { "If-None-Match": etag });
    if (answer === undefined) return undefined;
    if (answer.statusCode === 304) {
      answer.resume();
      return "unchanged";
    }
    const parts: Buffer[] = [];
    await this.#pipe(key, answer, maxBytes, SMALL_MS, (part) => {
      parts.push(part);
      return undefined;
    });
    return { bytes: Buffer.concat(parts), etag: answer.headers.etag ?? "" } satisfies ObjectBytes;
  }

  async list(prefix: string, limit: number): Promise<string[]> {
    const { folders, objects } = await this.#bucket.folder(prefix, limit);
    const names = [...folders.map((it) => `${it}/`), ...objects.map((it) => it.key.slice(prefix.length))];
    return names.slice(0, limit);
  }

  async stream(
    key: string,
    { start = 0, end, maxBytes }: { start?: number; end?: number | undefined; maxBytes: number },
    take: (bytes: Buffer) => Promise<void> | undefined,
  ): Promise<number | undefined> {
    const isRange = start > 0 || end !== undefined;
    const range = `bytes=${start}-${end === undefined ? "" : end - 1}`;
    const answer = await this.#get(key, isRange ? { Range: range } : {});
    if (answer === undefined) return undefined;
    const { statusCode, headers } = answer;
    const [, from, to, total] = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(headers["content-range"] ?? "") ?? [];
    const isRight = isRange
      ? statusCode === 206 && Number(from) === start && (end === undefined || Number(to) <= end - 1)
      : statusCode === 200;
    if (!isRight) {
      answer.destroy();
      throw this.#fault(key, `it answered ${statusCode} to a request for ${isRange ? range : "all of it"}`);
    }
    // Of a range, nothing behind it.
    const most = end === undefined ? maxBytes : Math.min(maxBytes, end - start);
    const sent = await this.#pipe(key, answer, most, undefined, take);
    return isRange ? Number(total) : sent;
  }

  async receive(key: string, { start, end }: { start: number; end: number }, into: RangeSink) {
    try {
      const size = await this.#ranges.receive(await this.#urlOf(key), start, end, into);
      if (size !== undefined) return size;
    } catch (error) {
      if (error instanceof AirferryError) throw error;
      throw this.#fault(key, (error as NodeJS.ErrnoException).code ?? (error as Error).message, error);
    }
    // Whatever it answered: what that means is known here.
    return this.stream(key, { start, end, maxBytes: end - start }, (bytes) => {
      for (let at = 0; at < bytes.length; ) {
        const memory = into.memory();
        const count = bytes.copy(memory, 0, at, at + memory.length);
        into.took(count);
        at += count;
      }
      return undefined;
    });
  }

  async presign(key: string, seconds: number): Promise<string> {
    return await this.#bucket.presign(key, seconds);
  }

  /** The answer to a GET, 200, 206 or 304; undefined when there is no such object. */
  async #get(key: string, headers: Record<string, string>): Promise<IncomingMessage | undefined> {
    for (let attempt = 0; ; attempt++) {
      const answer = await this.#send(key, await this.#urlOf(key), headers);
      const { statusCode = 0 } = answer;
      if (statusCode === 200 || statusCode === 206 || statusCode === 304) return answer;
      const said = await faultText(answer);
      const [, code = ""] = /<Code>([A-Za-z0-9]{1,60})<\/Code>/.exec(said) ?? [];
      if (statusCode === 404 && code !== "NoSuchBucket") return undefined;
      // Credentials were replaced since it was signed.
      this.#signed.delete(key);
      if (statusCode === 403 && attempt === 0) continue;
      // Not fewer bytes than asked for, but none: the object is shorter than it should be.
      if (statusCode === 416) return undefined;
      throw this.#fault(key, `it answered ${statusCode} ${printable(code)}`);
    }
  }

  #send(key: string, url: URL, headers: Record<string, string>): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const isSecure = url.protocol === "https:";
      const request = isSecure
        ? nodeHttps().get(url, { agent: this.#secureAgent(), headers })
        : nodeHttp.get(url, { agent: this.#plain, headers });
      const timer = setTimeout(() => request.destroy(new Error(`no answer within ${HEAD_MS / 1000} s`)), HEAD_MS);
      request.on("response", (answer) => {
        clearTimeout(timer);
        answer.setTimeout(IDLE_MS, () => answer.destroy(new Error(`no bytes for ${IDLE_MS / 1000} s`)));
        resolve(answer);
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        reject(this.#fault(key, error.code ?? error.message, error));
      });
    });
  }

  /** Gives the body to `take`, and returns its length. */
  async #pipe(
    key: string,
    answer: IncomingMessage,
    maxBytes: number,
    limitMs: number | undefined,
    take: (bytes: Buffer) => Promise<void> | undefined,
  ): Promise<number> {
    const announced = Number(answer.headers["content-length"] ?? Number.NaN);
    let sent = 0;
    let counted = 0;
    let isBusy = false;
    let waited = false;
    const timer =
      limitMs === undefined
        ? setInterval(() => {
            // The time of the receiver is not the sender's.
            if (!isBusy && !waited && sent - counted < PACE.bytes)
              answer.destroy(new Error(`${sent - counted} bytes in ${PACE.ms / 1000} s`));
            counted = sent;
            waited = false;
          }, PACE.ms)
        : setTimeout(() => answer.destroy(new Error(`not complete within ${limitMs / 1000} s`)), limitMs);
    let fault: unknown;
    try {
      for await (const part of answer as AsyncIterable<Buffer>) {
        sent += part.length;
        buffersUsed(part.length * YOUNG_FACTOR);
        if (sent > maxBytes) throw this.#tooLarge(key, maxBytes);
        const busy = take(part);
        if (busy === undefined) continue;
        isBusy = true;
        await busy;
        isBusy = false;
        waited = true;
      }
    } catch (error) {
      fault = error;
    } finally {
      clearTimeout(timer);
    }
    if (fault instanceof AirferryError) throw fault;
    if (fault !== undefined)
      throw this.#fault(key, (fault as NodeJS.ErrnoException).code ?? (fault as Error).message, fault);
    if (Number.isFinite(announced) && sent !== announced)
      throw this.#fault(key, `its answer was cut: expected ${announced} bytes, got ${sent}`);
    return sent;
  }

  #urlOf(key: string): Promise<URL> {
    const now = performance.now();
    const known = this.#signed.get(key);
    if (known !== undefined && known.untilMs > now) return known.url;
    const url = this.#bucket.presign(key, SIGNED_S).then((it) => new URL(it));
    url.catch(() => this.#signed.delete(key));
    this.#signed.delete(key);
    this.#signed.set(key, { url, untilMs: now + USED_MS });
    if (this.#signed.size > MAX_SIGNED) {
      const [oldest] = this.#signed.keys();
      if (oldest !== undefined) this.#signed.delete(oldest);
    }
    return url;
  }

  #secureAgent(): Agent {
    const ca = this.#ca;
    const options = {
      keepAlive: true,
      maxSockets: MAX_SOCKETS,
      scheduling: "lifo" as const,
      ...(ca && { ca: [...ca] }),
    };
    this.#secure ??= new (nodeHttps().Agent)(options);
    return this.#secure;
  }

  #fault(key: string, fault: string, cause?: unknown): AirferryError {
    return new AirferryError("ERR_OBJECT_STORAGE", `cannot read "${key}" of store "${this.name}": ${fault}`, {
      path: this.name,
      cause,
      hint: "check that the endpoint is right and its service runs",
    });
  }

  #tooLarge(key: string, maxBytes: number): AirferryError {
    const fault = `expected at most ${maxBytes} bytes, got more`;
    return new AirferryError("ERR_SIZE_LIMIT", `cannot read "${key}" of store "${this.name}": ${fault}`, {
      path: this.name,
    });
  }
}

/** What a refusal says, as far as it is short. */
async function faultText(answer: IncomingMessage): Promise<string> {
  let text = "";
  const timer = setTimeout(() => answer.destroy(), HEAD_MS);
  try {
    for await (const part of answer) {
      text += (part as Buffer).toString("latin1");
      if (text.length > MAX_FAULT_BYTES) break;
    }
  } catch {
    // Its status says enough.
  } finally {
    clearTimeout(timer);
  }
  return text;
}
