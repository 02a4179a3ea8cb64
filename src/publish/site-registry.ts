/**
 * The site's own registry, to push to: blobs as docker and podman send them, and manifests. What is pushed is on this disk and
 * hashed on its way. See OCI distribution-spec v1.1, "Push".
 */

import { setTimeout as sleep } from "node:timers/promises";
import { getCACertificates } from "node:tls";
import got, { type HttpsOptions } from "got";
import { AirferryError } from "../errors.ts";
import { digestOf } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { currentSignal, throwIfAborted } from "../io/limit.ts";
import { isOciDigest, type OciDigest } from "../oci/digest.ts";
import { ACCEPT_MANIFESTS } from "../oci/media-types.ts";
import { type PackedBlob, readPackedBlob } from "../store/packed-blob.ts";
import { VERSION } from "../version.ts";
import { SiteLogin } from "./site-login.ts";

export interface SiteRegistryOptions {
  /** `harbor.site:443`. */
  host: string;
  insecure: boolean;
  /** PEM of a private CA, trusted beside the usual ones: token services may be elsewhere. */
  ca?: string | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

/** A manifest to push. */
export interface PushedManifest {
  manifest: { mediaType: string; subject?: unknown };
  bytes: Buffer;
}

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
  /** What was asked: locations may be relative to it. */
  url: URL;
}

interface Call {
  method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH";
  url: string;
  headers?: Record<string, string>;
  bytes?: Buffer;
  blob?: { blob: PackedBlob; sent: (bytes: number) => void };
  /** Another repository that the call reads from: a token has to allow that too. */
  from?: string;
}

const ATTEMPTS = 4;
const BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 60_000;
const MAX_ANSWER_LENGTH = 8 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 60_000;
/** A registry may hash many gigabytes before it answers the last request of an upload. */
const COMMIT_TIMEOUT_MS = 20 * 60_000;
/** Statuses of an upload that was lost on the way: worth starting it again. */
const LOST = new Set([401, 404, 408, 416, 429]);

/** One registry for the time of one publish; keeps tokens, by repository. */
export class SiteRegistry {
  readonly #o: SiteRegistryOptions;
  readonly #base: string;
  readonly #login: SiteLogin;
  readonly #https: HttpsOptions;
  /** Repositories that have a blob already, for mounting. */
  readonly #mounted = new Map<OciDigest, string>();

  constructor(options: SiteRegistryOptions) {
    this.#o = options;
    const roots = () => new Set([...getCACertificates("default"), ...getCACertificates("system")]);
    this.#https = options.ca === undefined ? {} : { certificateAuthority: [...roots(), options.ca] };
    this.#base = `${options.insecure ? "http" : "https"}://${options.host}/v2/`;
    this.#login = new SiteLogin({ ...options, https: this.#https });
  }

  /**
   * Pushes a blob unless it is there; says whether bytes went out. An upload that is cut off is started again.
   * @param at told how many bytes of it were sent so far; less than before when it starts again
   * @throws {AirferryError} ERR_PUBLISH; ERR_STORE_INVALID when the blob is damaged
   */
  async pushBlob(repository: string, blob: PackedBlob, at: (bytes: number) => void): Promise<boolean> {
    const there = await this.#call(repository, { method: "HEAD", url: `${repository}/blobs/${blob.digest}` });
    const from = this.#mounted.get(blob.digest);
    const isThere =
      there.status === 200 || (from !== undefined && (await this.#isMounted(repository, blob.digest, from)));
    if (!isThere) await this.#uploadAgain(repository, blob, at);
    this.#mounted.set(blob.digest, repository);
    return !isThere;
  }

  /** Pushes a manifest under a tag or its digest. Returns whether the registry says that it lists it as a referrer. */
  async pushManifest(
    repository: string,
    reference: string,
    { manifest, bytes }: PushedManifest,
  ): Promise<{ isListed: boolean }> {
    const url = `${repository}/manifests/${reference}`;
    if (manifest.subject === undefined) {
      // Registries with immutable tags refuse even the same again. What has a subject must be sent to hear of its list.
      const there = await this.#call(repository, { method: "HEAD", url, headers: { accept: ACCEPT_MANIFESTS } });
      const digest = there.headers["docker-content-digest"];
      if (there.status === 200 && isOciDigest(digest) && digest === digestOf(bytes, digest)) return { isListed: false };
    }
    const headers = { "content-type": manifest.mediaType };
    const answer = await this.#call(repository, { method: "PUT", url, headers, bytes });
    if (!isDone(answer)) throw this.#refused(`push manifest ${reference} to ${repository}`, answer);
    return { isListed: answer.headers["oci-subject"] !== undefined };
  }

  /** The bytes of a manifest; undefined when it is not there. */
  async manifest(repository: string, reference: string): Promise<Buffer | undefined> {
    const answer = await this.#call(repository, {
      method: "GET",
      url: `${repository}/manifests/${reference}`,
      headers: { accept: ACCEPT_MANIFESTS },
    });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw this.#refused(`read manifest ${reference} of ${repository}`, answer);
    return answer.body;
  }

  /** Has the registry take a blob over from a repository that has it. Not all can; one that starts an upload drops it. */
  async #isMounted(repository: string, digest: OciDigest, from: string): Promise<boolean> {
    const url = `${repository}/blobs/uploads/?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`;
    return (await this.#call(repository, { method: "POST", url, from })).status === 201;
  }

  async #uploadAgain(repository: string, blob: PackedBlob, at: (bytes: number) => void): Promise<void> {
    const action = `push blob ${blob.digest} to ${repository}`;
    for (let attempt = 1; ; attempt++) {
      const fault = await this.#upload(repository, blob, at).catch((error: unknown) => error as Error);
      if (fault === undefined) return;
      throwIfAborted();
      const isAnswer = !(fault instanceof Error);
      const isLost = isAnswer ? LOST.has(fault.status) || fault.status >= 500 : !(fault instanceof AirferryError);
      at(0);
      if (!isLost || attempt === ATTEMPTS) throw isAnswer ? this.#refused(action, fault) : this.#unreachable(fault);
      await sleep(backoffMs(attempt, isAnswer ? fault : undefined), undefined, signalOption());
    }
  }

  /** Sends a blob as docker does: start, all bytes in one PATCH, close. Returns the answer that refused it, if one did. */
  async #upload(repository: string, blob: PackedBlob, at: (bytes: number) => void): Promise<Answer | undefined> {
    const started = await this.#call(repository, { method: "POST", url: `${repository}/blobs/uploads/` });
    if (!isDone(started)) return started;
    let location = this.#location(started);
    if (blob.size > 0) {
      let done = 0;
      const sent = (bytes: number) => {
        done += bytes;
        at(done);
      };
      const headers = { "content-type": "application/octet-stream" };
      const answer = await this.#send(repository, { method: "PATCH", url: location, headers, blob: { blob, sent } });
      if (!isDone(answer)) return answer;
      // Where the rest goes; registries that keep to one place need not say it again.
      if (answer.headers.location !== undefined) location = this.#location(answer);
    }
    const url = new URL(location);
    url.searchParams.set("digest", blob.digest);
    const closed = await this.#call(repository, { method: "PUT", url: url.href });
    return isDone(closed) ? undefined : closed;
  }

  /** Sends a request that can be repeated as it is, until there is an answer worth having. */
  async #call(repository: string, call: Call): Promise<Answer> {
    let isChallenged = false;
    for (let attempt = 1; ; attempt++) {
      let answer: Answer | undefined;
      const authorization = this.#login.header(repository, call.from);
      try {
        answer = await this.#send(repository, call);
      } catch (error) {
        throwIfAborted();
        if (attempt === ATTEMPTS || error instanceof AirferryError) throw this.#unreachable(error as Error);
      }
      if (answer?.status === 401 && !isChallenged) {
        isChallenged = true;
        await this.#login.answer(repository, call.from, answer.headers["www-authenticate"], authorization);
        continue;
      }
      const again = answer === undefined || answer.status === 429 || answer.status >= 500;
      if (answer !== undefined && (!again || attempt === ATTEMPTS)) return answer;
      await sleep(backoffMs(attempt, answer), undefined, signalOption());
    }
  }

  async #send(repository: string, { method, url, headers, bytes, blob, from }: Call): Promise<Answer> {
    const target = new URL(url, this.#base);
    const isHome = target.origin === new URL(this.#base).origin;
    const authorization = isHome ? this.#login.header(repository, from) : undefined;
    const body = blob === undefined ? bytes : readPackedBlob(blob.blob, blob.sent);
    const length = blob?.blob.size ?? bytes?.length ?? (method === "GET" || method === "HEAD" ? undefined : 0);
    try {
      const response = await got(target, {
        method,
        ...(body !== undefined && { body }),
        headers: {
          "user-agent": `airferry/${VERSION}`,
          ...headers,
          ...(length !== undefined && { "content-length": String(length) }),
          ...(authorization !== undefined && { authorization }),
        },
        responseType: "buffer",
        throwHttpErrors: false,
        followRedirect: method === "GET" || method === "HEAD",
        retry: { limit: 0 },
        timeout: { connect: REQUEST_TIMEOUT_MS, response: method === "PUT" ? COMMIT_TIMEOUT_MS : REQUEST_TIMEOUT_MS },
        https: this.#https,
        ...signalOption(),
      });
      if (response.rawBody.length > MAX_ANSWER_LENGTH) throw new Error("its answer is too large");
      return {
        status: response.statusCode,
        headers: response.headers,
        body: Buffer.from(response.rawBody),
        url: target,
      };
    } catch (error) {
      // got wraps what the body threw.
      const { cause } = error as Error;
      throw cause instanceof AirferryError ? cause : error;
    }
  }

  #location({ headers, url }: Answer): string {
    const { location } = headers;
    if (typeof location !== "string" || !URL.canParse(location, url.href)) {
      throw this.#fault("it names no place for the upload", "a proxy before the registry may drop its Location header");
    }
    const target = new URL(location, url);
    if (target.protocol !== "https:" && !this.#o.insecure) {
      throw this.#fault(
        `it wants the upload over plain HTTP, at ${target.host}`,
        "tell the registry its external URL (http.host), or have the proxy before it send X-Forwarded-Proto",
      );
    }
    return target.href;
  }

  #fault(fault: string, hint: string): AirferryError {
    return new AirferryError("ERR_PUBLISH", `cannot push to "${this.#o.host}": ${fault}`, { hint });
  }

  #unreachable(error: Error): AirferryError {
    if (error instanceof AirferryError) return error;
    return new AirferryError("ERR_PUBLISH", `cannot reach registry "${this.#o.host}": ${error.message}`, {
      cause: error,
      hint: "check the address; --insecure for plain HTTP, --ca FILE for a private CA; run again: what is there is not sent twice",
    });
  }

  #refused(action: string, { status, body }: Answer): AirferryError {
    let words = body.toString("utf8").slice(0, 300).replace(/\s+/g, " ").trim();
    try {
      const { errors } = parseJson(body.toString("utf8")) as { errors?: { code?: string; message?: string }[] };
      words = errors?.map((it) => `${it.code}: ${it.message}`).join("; ") || words;
    } catch {
      // Not every registry, and no proxy, answers in JSON.
    }
    return new AirferryError(
      "ERR_PUBLISH",
      `cannot ${action}: ${this.#o.host} answers ${status}${words ? `: ${words}` : ""}`,
      { hint: HINTS.get(status)?.(this.#o.host) ?? "see the registry's log" },
    );
  }
}

const HINTS = new Map<number, (host: string) => string>([
  [401, (host) => `log in with an account that may push: docker login ${host}`],
  [403, (host) => `log in with an account that may push: docker login ${host}; some want a project to exist first`],
  [404, () => "some registries want a project to exist before anything is pushed to it"],
  [413, () => "a proxy before the registry limits the size of requests (nginx: client_max_body_size 0)"],
]);

/** Registries differ on which of the good statuses they answer with. */
function isDone({ status }: Answer): boolean {
  return status >= 200 && status < 300;
}

/** How long to wait: what the registry says, else a little longer each time. */
function backoffMs(attempt: number, answer: Answer | undefined): number {
  const seconds = Number(answer?.headers["retry-after"]);
  return Math.min(MAX_BACKOFF_MS, seconds > 0 ? seconds * 1000 : BACKOFF_MS * 2 ** attempt);
}

/** Requests and waits end with the publish that they are done for. */
function signalOption(): { signal?: AbortSignal } {
  const signal = currentSignal();
  return signal === undefined ? {} : { signal };
}
