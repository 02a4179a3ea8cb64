/**
 * Pushes to the site's own registry: blobs as docker and podman send them, and manifests. Pushed content is on this
 * disk and hashed while being sent. See OCI distribution-spec v1.1, "Push".
 */

import { AirferryError } from "../errors.ts";
import { type Call, type ClientResponse, HttpClient } from "../http/client.ts";
import { AttemptFailure, HttpStatus, upstreamError } from "../http/failure.ts";
import { byUpstream } from "../http/named.ts";
import { RegistryAuth, type TokenRequest } from "../http/registry-auth.ts";
import { type Backoff, backoffMs, isTransientStatus, parseRetryAfter, sleep } from "../http/retry.ts";
import { digestOf } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { currentSignal, throwIfAborted } from "../io/limit.ts";
import { ACCEPT_MANIFESTS } from "../oci/media-types.ts";
import { isOciDigest, type OciDigest } from "../oci/oci-digest.ts";
import { type PackedBlob, readPackedBlob } from "../store/packed-blob.ts";

interface SiteRegistryOptions {
  /** `harbor.site:443`. */
  host: string;
  insecure: boolean;
  /** PEM of a private CA, trusted besides the usual ones: token services may be elsewhere. */
  ca?: string | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

/** A manifest to push. */
interface PushedManifest {
  manifest: { mediaType: string; subject?: unknown };
  bytes: Buffer;
}

/** A call to a repository: a location without a host is below `/v2/`. */
interface RepositoryCall extends Pick<Call, "method" | "url" | "body"> {
  headers?: Record<string, string>;
  /** Another repository that the call reads from: a token must allow that too. */
  from?: string;
}

const ATTEMPTS = 4;
const BACKOFF: Backoff = { baseMs: 1000, maxMs: 60_000, maxRetryAfterMs: 60_000 };
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
/** A registry may hash many gigabytes before it answers the last request of an upload. */
const COMMIT_TIMEOUT_MS = 20 * 60_000;
/** Statuses of a lost upload, which is worth restarting. */
const LOST = new Set([401, 404, 408, 416, 429]);

/** One registry during one publish; stores connections, and tokens by scope. The caller closes it. */
export class SiteRegistry {
  readonly #o: SiteRegistryOptions;
  readonly #base: URL;
  readonly #client: HttpClient;
  /** Logins by scope. */
  readonly #auths = new Map<string, RegistryAuth>();
  /** Repositories that have a blob already, for mounting. */
  readonly #mounted = new Map<OciDigest, string>();

  constructor(options: SiteRegistryOptions) {
    this.#o = options;
    this.#base = new URL(`${options.insecure ? "http" : "https"}://${options.host}/v2/`);
    this.#client = new HttpClient({ trust: { ca: options.ca } });
  }

  close(): void {
    this.#client.close();
  }

  /**
   * Pushes a blob unless it exists; returns whether bytes were sent. An interrupted upload is restarted.
   * @param at called with how many bytes of it were sent so far; less than before after a restart
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

  /**
   * Pushes a manifest under a tag or its digest. Returns whether the registry reports that it lists it as a referrer.
   */
  async pushManifest(
    repository: string,
    reference: string,
    { manifest, bytes }: PushedManifest,
  ): Promise<{ isListed: boolean }> {
    const url = `${repository}/manifests/${reference}`;
    if (manifest.subject === undefined) {
      // Registries with immutable tags refuse even an identical push. A manifest with a subject must be sent to learn
      // whether it is listed.
      const there = await this.#call(repository, { method: "HEAD", url, headers: { accept: ACCEPT_MANIFESTS } });
      const digest = there.headers["docker-content-digest"];
      if (there.status === 200 && isOciDigest(digest) && digest === digestOf(bytes, digest)) return { isListed: false };
    }
    const headers = { "content-type": manifest.mediaType };
    const answer = await this.#call(repository, { method: "PUT", url, headers, body: bytes });
    if (!isDone(answer)) throw this.#refused(`push manifest ${reference} to ${repository}`, answer);
    return { isListed: answer.headers["oci-subject"] !== undefined };
  }

  /**
   * Any web server says of most paths that they are not there: refuses one that is no registry.
   * @throws {AirferryError} ERR_PUBLISH
   */
  async check(repository: string): Promise<void> {
    const { status } = await this.#call(repository, { method: "GET", url: "" });
    if (status !== 404) return;
    throw this.#fault(
      "it is no registry: /v2/ is not there",
      "check the address, and which port the registry listens on",
    );
  }

  /**
   * Whether a repository has a blob. A refusal is an error here: nothing is sent afterwards that would tell.
   * @throws {AirferryError} ERR_PUBLISH
   */
  async hasBlob(repository: string, digest: OciDigest): Promise<boolean> {
    const answer = await this.#call(repository, { method: "HEAD", url: `${repository}/blobs/${digest}` });
    if (answer.status !== 200 && answer.status !== 404) {
      throw this.#refused(`look for blob ${digest} in ${repository}`, answer);
    }
    return answer.status === 200;
  }

  /** The digest of the manifest that a tag or digest names; undefined when there is none. @throws as {@link hasBlob} */
  async digestAt(repository: string, reference: string): Promise<OciDigest | undefined> {
    const url = `${repository}/manifests/${reference}`;
    const answer = await this.#call(repository, { method: "HEAD", url, headers: { accept: ACCEPT_MANIFESTS } });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw this.#refused(`look for manifest ${reference} in ${repository}`, answer);
    const digest = answer.headers["docker-content-digest"];
    if (isOciDigest(digest)) return digest;
    const bytes = await this.manifest(repository, reference);
    return bytes && digestOf(bytes, isOciDigest(reference) ? reference : undefined);
  }

  /** The bytes of a manifest; undefined when it does not exist. */
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

  /** Mounts a blob from a repository that has it. Not all registries can; an upload started instead is dropped. */
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
      const isLost = isAnswer ? LOST.has(fault.status) || isTransientStatus(fault.status) : isWorthAgain(fault);
      at(0);
      if (!isLost || attempt === ATTEMPTS) throw isAnswer ? this.#refused(action, fault) : this.#unreachable(fault);
      await sleep(pauseMs(attempt, isAnswer ? fault : undefined), currentSignal());
    }
  }

  /** Sends a blob as docker does: start, all bytes in one PATCH, close. Returns the refusing response, if any. */
  async #upload(
    repository: string,
    blob: PackedBlob,
    at: (bytes: number) => void,
  ): Promise<ClientResponse | undefined> {
    const started = await this.#call(repository, { method: "POST", url: `${repository}/blobs/uploads/` });
    if (!isDone(started)) return started;
    let location = this.#location(started);
    if (blob.size > 0) {
      const body = () => {
        let done = 0;
        return readPackedBlob(blob, (bytes) => {
          done += bytes;
          at(done);
        });
      };
      const headers = { "content-type": "application/octet-stream", "content-length": String(blob.size) };
      const answer = await this.#send(repository, { method: "PATCH", url: location, headers, body });
      if (!isDone(answer)) return answer;
      // The next location; registries with a single location need not repeat it.
      if (answer.headers.location !== undefined) location = this.#location(answer);
    }
    const url = new URL(location);
    url.searchParams.set("digest", blob.digest);
    const closed = await this.#call(repository, { method: "PUT", url: url.href });
    return isDone(closed) ? undefined : closed;
  }

  /** Sends a repeatable request until there is a useful response. */
  async #call(repository: string, call: RepositoryCall): Promise<ClientResponse> {
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#send(repository, call).catch((error: unknown) => error as Error);
      throwIfAborted();
      const isAnswer = !(answer instanceof Error);
      const isAgain = isAnswer ? isTransientStatus(answer.status) : isWorthAgain(answer);
      if (!isAgain || attempt === ATTEMPTS) {
        if (isAnswer) return answer;
        throw this.#unreachable(answer);
      }
      await sleep(pauseMs(attempt, isAnswer ? answer : undefined), currentSignal());
    }
  }

  /** Sends a request once, and again with a login if required. */
  async #send(repository: string, { method, url, headers, body, from }: RepositoryCall): Promise<ClientResponse> {
    const target = new URL(url, this.#base);
    const auth = this.#authFor(repository, from);
    const answer = await this.#client.send({
      method,
      url: target.href,
      // An upload location may be anywhere: the registry's credentials are only for its own origin.
      ...(target.origin !== this.#base.origin && { named: byUpstream(this.#base.href) }),
      headers,
      body,
      auth,
      follow: method === "GET" || method === "HEAD",
      maxBytes: MAX_ANSWER_BYTES,
      signal: currentSignal(),
      ...(method === "PUT" && { patienceMs: COMMIT_TIMEOUT_MS }),
    });
    if (answer.status === 401 && answer.url.origin === this.#base.origin && auth.denied !== undefined) {
      const { host } = this.#o;
      throw new AirferryError("ERR_PUBLISH", `cannot log in at "${host}": ${auth.denied}`, {
        hint: `run: docker login ${host}, or podman login ${host}`,
      });
    }
    return answer;
  }

  /** The login for pushing to a repository, and for mounting from another. */
  #authFor(repository: string, from: string | undefined): RegistryAuth {
    // Scopes as in the token specification.
    const scopes = [`repository:${repository}:pull,push`, ...(from === undefined ? [] : [`repository:${from}:pull`])];
    const name = scopes.join(" ");
    const known = this.#auths.get(name);
    if (known !== undefined) return known;
    const { host, env } = this.#o;
    const ask = (request: TokenRequest) => this.#askToken(request);
    const auth = new RegistryAuth({ ask, host, path: repository, env, scopes, site: this.#base });
    this.#auths.set(name, auth);
    return auth;
  }

  async #askToken(request: TokenRequest): Promise<Buffer> {
    const { status, said, body } = await this.#client
      .send({ ...request, follow: false, signal: currentSignal() })
      .catch((error: unknown) => {
        throw error instanceof AttemptFailure ? error.error : error;
      });
    if (status === 200) return body;
    throw upstreamError("ERR_UPSTREAM", request.url, `it answers ${said}`, {
      actual: said,
      cause: new HttpStatus(status),
    });
  }

  #location({ headers, url }: ClientResponse): string {
    const { location } = headers;
    if (typeof location !== "string" || !URL.canParse(location, url.href)) {
      throw this.#fault("it sends no upload location", "a proxy in front of the registry may drop its Location header");
    }
    const target = new URL(location, url);
    if (target.protocol !== "https:" && !this.#o.insecure) {
      throw this.#fault(
        `it requests the upload over plain HTTP, at ${target.host}`,
        "configure the registry's external URL (http.host), or have the proxy in front of it send X-Forwarded-Proto",
      );
    }
    return target.href;
  }

  #fault(fault: string, hint: string): AirferryError {
    return new AirferryError("ERR_PUBLISH", `cannot push to "${this.#o.host}": ${fault}`, { hint });
  }

  /** Converts a request's error; errors that do not concern the registry are unchanged. */
  #unreachable(error: Error): Error {
    if (error instanceof AttemptFailure) {
      if (error.error.code === "ERR_UPSTREAM_INVALID") {
        return this.#fault(
          error.fault,
          "configure the external URL (http.host) of the registry, or of the proxy in front of it",
        );
      }
      return new AirferryError("ERR_PUBLISH", `cannot reach registry "${this.#o.host}": ${error.fault}`, {
        cause: error.error,
        hint: "check the address; --insecure for plain HTTP, --ca FILE for a private CA; run again: existing content is not sent again",
      });
    }
    if (!(error instanceof AirferryError) || !error.code.startsWith("ERR_UPSTREAM")) return error;
    return new AirferryError("ERR_PUBLISH", error.message, { cause: error, hint: error.hint });
  }

  #refused(action: string, { status, body }: ClientResponse): AirferryError {
    let words = body.toString("utf8").slice(0, 300).replace(/\s+/g, " ").trim();
    try {
      const { errors } = parseJson(body.toString("utf8")) as { errors?: { code?: string; message?: string }[] };
      words = errors?.map((it) => `${it.code}: ${it.message}`).join("; ") || words;
    } catch {
      // Proxies and some registries do not answer in JSON.
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
  [403, (host) => `log in with an account that may push: docker login ${host}; some require a project to exist first`],
  [404, () => "some registries require a project to exist before anything is pushed to it"],
  [413, () => "a proxy in front of the registry limits the size of requests (nginx: client_max_body_size 0)"],
]);

/** Registries use different success statuses. */
function isDone({ status }: ClientResponse): boolean {
  return status >= 200 && status < 300;
}

/** Whether a request without response may succeed the next time. */
function isWorthAgain(error: Error): boolean {
  return error instanceof AttemptFailure && error.transient;
}

function pauseMs(attempt: number, answer: ClientResponse | undefined): number {
  return backoffMs(attempt, parseRetryAfter(answer?.headers["retry-after"]), BACKOFF);
}
