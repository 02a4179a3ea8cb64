/**
 * Objects below a prefix of one bucket: read, written, listed and deleted by the names that files of a store have
 * (store/layout.ts). Every request has limits of time, and is repeated while a fault may pass; every body is bounded.
 * Who reads verifies digests. docs/object-storage.md.
 */
import { hash } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import { AirferryError } from "../errors.ts";
import { currentSignal } from "../io/limit.ts";
import { readNamed } from "../io/named-file.ts";
import { shellWord } from "../io/shell.ts";
import { isAbsent, isLost, isPassing, named, ShortBody, SlowAnswer, s3Error } from "./s3-fault.ts";
import type { S3Target } from "./s3-target.ts";
import type { ObjectHeaders, SdkClient } from "./sdk-client.ts";

/** An object as a listing or a HEAD describes it. */
interface ObjectFacts {
  /** Below the prefix of the target. */
  key: string;
  size: number;
  etag: string;
  /** By the storage's own clock. */
  modified?: Date | undefined;
}

/** What {@link Bucket.head} says besides. */
interface HeadFacts extends ObjectFacts {
  /** SHA-256 as base64, `…-N` for one of N parts; absent where the storage keeps none. */
  sha256?: string | undefined;
  headers: ObjectHeaders;
}

/** Limits of time; tests give shorter ones. */
export interface BucketLimits {
  /** Until a connection exists. */
  connectMs: number;
  /** Without a byte on a connection. */
  idleMs: number;
  /** One attempt at a small object, a listing or a head. */
  smallMs: number;
  /** One attempt at up to a part of a large one. */
  largeMs: number;
  /** How long passing faults are waited for, counted from the first of them. */
  patienceMs: number;
}

const LIMITS: BucketLimits = { connectMs: 5000, idleMs: 30_000, smallMs: 60_000, largeMs: 600_000, patienceMs: 30_000 };
/** Before the first answer: a wrong endpoint is reported soon. */
const FIRST_PATIENCE_MS = 5000;
const FIRST_WAIT_MS = 100;
const MAX_WAIT_MS = 5000;
const MAX_DELETED = 1000;
/** More names than a store has below one prefix, and as many as a tree may have. */
export const MAX_LISTED = 1_000_000;
/** Pages in a row without a name that was asked for: a few come after much was deleted. */
const MAX_EMPTY_PAGES = 100;

/** Opens a bucket; asks nothing yet. The caller closes it. @throws {AirferryError} ERR_USAGE for a `ca` that is none */
export async function openBucket(target: S3Target, limits: Partial<BucketLimits> = {}): Promise<Bucket> {
  const ca = target.ca === undefined ? undefined : await readCertificates(target.ca);
  const { SdkClient } = await import("./sdk-client.ts");
  const all = { ...LIMITS, ...limits };
  return new Bucket(target, new SdkClient(target, all, ca), all);
}

async function readCertificates(file: string): Promise<string> {
  const refuse = (fault: string, cause?: unknown) =>
    new AirferryError("ERR_USAGE", `cannot read ca "${file}": ${fault}`, {
      path: file,
      hint: `give a file with PEM certificates; to look at it: openssl x509 -noout -subject -in ${shellWord(file)}`,
      cause,
    });
  const bytes = await readNamed(file).catch((cause: NodeJS.ErrnoException) => {
    throw refuse(cause.code === "ENOENT" ? "no such file" : cause.message, cause);
  });
  const text = bytes.toString("utf8");
  if (!text.includes("-----BEGIN CERTIFICATE-----")) throw refuse("expected a PEM certificate, got something else");
  return text;
}

/** An open bucket. */
export class Bucket {
  readonly target: S3Target;
  readonly #client: SdkClient;
  readonly #limits: BucketLimits;
  readonly #start: string;
  #hasAnswered = false;

  constructor(target: S3Target, client: SdkClient, limits: BucketLimits) {
    this.target = target;
    this.#client = client;
    this.#limits = limits;
    this.#start = target.prefix === "" ? "" : `${target.prefix}/`;
  }

  /** Ends all connections. */
  close(): void {
    this.#client.close();
  }

  /**
   * Reads a whole object into memory.
   * @returns undefined when there is none
   * @throws {AirferryError} ERR_SIZE_LIMIT for one above `most` bytes; ERR_OBJECT_STORAGE, ERR_NOT_FOUND for no bucket
   */
  get(key: string, most: number): Promise<{ bytes: Buffer; etag: string; modified?: Date | undefined } | undefined> {
    return this.#ask("read", key, this.#limits.largeMs, async (signal) => {
      try {
        const {
          body,
          length = 0,
          etag = "",
          modified,
        } = await this.#client.get(this.#start + key, undefined, undefined, signal);
        if (length > most) {
          body?.destroy();
          throw this.#tooLarge(key, most, length);
        }
        return { bytes: await collect(body, length), etag, modified };
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw error;
      }
    });
  }

  /**
   * Reads exactly `length` bytes of an object from `offset` on.
   * @param etag refuses another state of the object
   * @throws {AirferryError} ERR_NOT_FOUND when there is no such object, or bucket; ERR_OBJECT_STORAGE
   */
  range(key: string, offset: number, length: number, etag?: string): Promise<Buffer> {
    if (length === 0) return Promise.resolve(Buffer.alloc(0));
    return this.#ask("read", key, this.#limits.largeMs, async (signal) => {
      try {
        const range = `bytes=${offset}-${offset + length - 1}`;
        const { body } = await this.#client.get(this.#start + key, range, etag, signal);
        return await collect(body, length);
      } catch (error) {
        throw isAbsent(error) ? this.#absent(key) : error;
      }
    });
  }

  /**
   * Reads an object of a known size from start to end, in ranges of at most 8 MiB of which the next is on its way while
   * one is used.
   * @throws {AirferryError} as {@link range}
   */
  async *read(key: string, size: number, etag?: string): AsyncGenerator<Buffer> {
    const step = 8 * 1024 * 1024;
    const next = (offset: number) => {
      const started = this.range(key, offset, Math.min(step, size - offset), etag);
      started.catch(() => undefined);
      return started;
    };
    let ahead = size > 0 ? next(0) : undefined;
    for (let offset = 0; ahead !== undefined; offset += step) {
      const bytes = await ahead;
      ahead = offset + step < size ? next(offset + step) : undefined;
      yield bytes;
    }
  }

  /** What the storage says of an object; undefined when there is none. */
  head(key: string): Promise<HeadFacts | undefined> {
    return this.#ask("look at", key, this.#limits.smallMs, async (signal) => {
      try {
        const { size = 0, etag = "", ...more } = await this.#client.head(this.#start + key, signal);
        return { key, size, etag, ...more };
      } catch (error) {
        if (isAbsent(error)) return undefined;
        throw error;
      }
    });
  }

  /**
   * All objects whose keys begin with `below`, in the order of the keys, page by page.
   * @throws {AirferryError} ERR_OBJECT_STORAGE for a list without an end
   */
  async *list(below: string): AsyncGenerator<ObjectFacts> {
    let count = 0;
    for await (const { objects } of this.#pages(below)) {
      for (const it of objects) {
        if (++count > MAX_LISTED) throw this.#endless(below, `more than ${MAX_LISTED} names`);
        yield it;
      }
    }
  }

  /**
   * Names directly below a folder, which ends with a slash: of folders without the slash, and objects.
   * @param most how many names are enough
   */
  async folder(below: string, most = MAX_LISTED): Promise<{ folders: string[]; objects: ObjectFacts[] }> {
    const found: { folders: string[]; objects: ObjectFacts[] } = { folders: [], objects: [] };
    for await (const { objects, folders } of this.#pages(below, "/")) {
      for (const it of folders) found.folders.push(it.replace(/\/$/, ""));
      for (const it of objects) found.objects.push(it);
      if (found.folders.length + found.objects.length >= most) break;
    }
    return found;
  }

  /**
   * Writes an object, in one step.
   * @returns its ETag
   * @throws {AirferryError} ERR_SPACE, ERR_OBJECT_STORAGE
   */
  put(key: string, bytes: Uint8Array, headers?: ObjectHeaders): Promise<string> {
    const sha256 = hash("sha256", bytes, "base64");
    return this.#ask("write", key, this.#limits.largeMs, (signal) =>
      this.#client.put(this.#start + key, bytes, sha256, undefined, signal, headers),
    );
  }

  /**
   * Writes an object only if it is as it was: with this ETag, or absent. Of several that do this at once, one succeeds.
   * @returns its ETag; undefined when it was not as it was, and nothing was written
   * @throws {AirferryError} ERR_OBJECT_STORAGE, also for a storage, or a proxy before it, that does not say ETags
   */
  async putIf(key: string, bytes: Uint8Array, was: { etag: string } | "absent"): Promise<string | undefined> {
    // The SDK leaves an empty condition out: whatever is there would be replaced.
    if (was !== "absent" && was.etag === "")
      throw s3Error(this.target, "write", key, new Error("it does not say the ETags that conditional writes need"));
    const sha256 = hash("sha256", bytes, "base64");
    let attempts = 0;
    const done = await this.#ask("write", key, this.#limits.smallMs, async (signal) => {
      attempts++;
      try {
        return await this.#client.put(this.#start + key, bytes, sha256, was, signal);
      } catch (error) {
        // If-Match on what does not exist is answered with 404.
        if (isLost(error) || isAbsent(error)) return undefined;
        throw error;
      }
    });
    if (done !== undefined || attempts === 1) return done;
    // The answer to an earlier attempt may have been lost after it had succeeded.
    const now = await this.get(key, Math.max(bytes.length, 1)).catch(() => undefined);
    return now !== undefined && Buffer.compare(now.bytes, bytes) === 0 ? now.etag : undefined;
  }

  /**
   * Deletes objects; those that do not exist are no fault. Never of a key that {@link putIf} writes.
   * @param may asked before each attempt, which a failing storage can delay; what it throws ends it
   */
  async remove(keys: readonly string[], may: () => Promise<void> = async () => {}): Promise<void> {
    for (let from = 0; from < keys.length; from += MAX_DELETED) {
      const some = keys.slice(from, from + MAX_DELETED).map((it) => this.#start + it);
      await this.#ask("delete objects of", "", this.#limits.smallMs, async (signal) => {
        await may();
        const [first] = (await this.#client.removeMany(some, signal)).filter((it) => it.code !== "NoSuchKey");
        if (first === undefined) return;
        throw Object.assign(new Error(first.message), {
          name: first.code,
          $metadata: { httpStatusCode: statusFor(first.code) },
        });
      });
    }
  }

  /**
   * A URL by which anybody may GET an object for a while: HEAD is refused by it, and the digest of what it gives is not
   * checked by anybody here.
   */
  presign(
    key: string,
    seconds: number,
    headers: { contentType?: string; cacheControl?: string } = {},
  ): Promise<string> {
    return this.#ask("sign a URL of", key, this.#limits.smallMs, () =>
      this.#client.presign(this.#start + key, seconds, headers),
    );
  }

  /**
   * Runs one request under the limits, and again while a fault may pass.
   * @param work one attempt, with the full key made by {@link fullKey}
   */
  attempt<T>(action: string, key: string, work: (client: SdkClient, signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#ask(action, key, this.#limits.largeMs, (signal) => work(this.#client, signal));
  }

  /** The time by the storage's own clock, which `modified` of objects is compared with; undefined if it says none. */
  now(): number | undefined {
    const { clock } = this.#client;
    return clock && clock.there + performance.now() - clock.here;
  }

  /** The key that the storage knows an object by. */
  fullKey(key: string): string {
    return this.#start + key;
  }

  /**
   * The pages of a list: objects by their keys below the prefix of the target, folders by their names below `below`. A
   * gateway that answers with keys that were not asked for is not believed, nor one that has no last page.
   */
  async *#pages(below: string, delimiter?: string): AsyncGenerator<{ objects: ObjectFacts[]; folders: string[] }> {
    const start = this.#start + below;
    let empty = 0;
    for (let token: string | undefined; ; ) {
      const page = await this.#ask("list", below, this.#limits.smallMs, (signal) =>
        this.#client.list(start, token, delimiter, signal),
      );
      const objects = page.objects
        .filter((it) => it.key.startsWith(start))
        .map((it) => ({ ...it, key: it.key.slice(this.#start.length) }));
      const folders = page.folders.filter((it) => it.startsWith(start)).map((it) => it.slice(start.length));
      yield { objects, folders };
      if (page.next === undefined) return;
      empty = objects.length + folders.length === 0 ? empty + 1 : 0;
      if (page.next === token || empty > MAX_EMPTY_PAGES) throw this.#endless(below, "no page is the last one");
      token = page.next;
    }
  }

  #endless(below: string, fault: string): AirferryError {
    return s3Error(this.target, "list", below, new Error(`its list has no end: ${fault}`));
  }

  #tooLarge(key: string, most: number, length: number): AirferryError {
    const fault = `expected at most ${most} bytes, got ${length}`;
    return new AirferryError("ERR_SIZE_LIMIT", `cannot read "${key}" of ${named(this.target)}: ${fault}`, {
      path: this.target.name,
      expected: `at most ${most} bytes`,
      actual: `${length} bytes`,
    });
  }

  #absent(key: string): AirferryError {
    return new AirferryError("ERR_NOT_FOUND", `cannot read "${key}" of ${named(this.target)}: no such object`, {
      path: this.target.name,
      ...(this.target.kind !== "tree" && { hint: `airferry fsck --store ${shellWord(this.target.name)}` }),
    });
  }

  async #ask<T>(action: string, key: string, limitMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const outer = currentSignal();
    let until: number | undefined;
    for (let pause = FIRST_WAIT_MS; ; pause = Math.min(MAX_WAIT_MS, pause * 2)) {
      outer?.throwIfAborted();
      try {
        const result = await within(work, outer, limitMs);
        this.#hasAnswered = true;
        return result;
      } catch (error) {
        outer?.throwIfAborted();
        const now = performance.now();
        const { patienceMs } = this.#limits;
        until ??= now + (this.#hasAnswered ? patienceMs : Math.min(patienceMs, FIRST_PATIENCE_MS));
        if (!isPassing(error) || now + pause > until) throw s3Error(this.target, action, key, error);
        // Many that wait do not all come back at once.
        await wait(pause * (0.5 + Math.random() / 2), undefined, { ...(outer && { signal: outer }) });
      }
    }
  }
}

/** Ends with its time, or the signal, even if the work does not: a provider of credentials takes no signal. */
async function within<T>(
  work: (signal: AbortSignal) => Promise<T>,
  outer: AbortSignal | undefined,
  limitMs: number,
): Promise<T> {
  const own = new AbortController();
  const ended = Promise.withResolvers<never>();
  const stop = () => {
    ended.reject(new SlowAnswer(limitMs));
    own.abort();
  };
  // Unlike AbortSignal.timeout(), it keeps the process until the work has ended.
  const timer = setTimeout(stop, limitMs);
  outer?.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([work(own.signal), ended.promise]);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", stop);
  }
}

/** Reads a body of a known length. */
async function collect(body: AsyncIterable<Buffer> | undefined, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for await (const chunk of body ?? []) {
    if (at + chunk.length > length) throw new ShortBody(length, at + chunk.length);
    at += chunk.copy(bytes, at);
  }
  if (at < length) throw new ShortBody(length, at);
  return bytes;
}

function statusFor(code: string): number {
  return code === "AccessDenied" ? 403 : code === "SlowDown" ? 503 : 500;
}
