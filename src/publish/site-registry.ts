/**
 * The site's own registry, to push to: its challenges, uploads and manifests. Small on purpose: what is pushed is on this disk
 * and checked. See OCI distribution-spec v1.1, "Push".
 */
import { createReadStream } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { getCACertificates } from "node:tls";
import got from "got";
import { AirferryError } from "../errors.ts";
import { answerable } from "../oci/challenge.ts";
import type { OciDigest } from "../oci/digest.ts";
import { basicHeader, findLogin, type Login } from "../oci/docker-login.ts";
import { ACCEPT_MANIFESTS } from "../oci/media-types.ts";

export interface SiteRegistryOptions {
  /** `harbor.site:443`. */
  host: string;
  insecure: boolean;
  /** PEM of a private CA, trusted beside the usual ones: token services may be elsewhere. */
  ca?: string | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Buffer;
}

interface Call {
  method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH";
  url: string;
  headers?: Record<string, string>;
  bytes?: Buffer;
  file?: { path: string; size: number };
  /** Another repository that the call reads from: a token has to allow that too. */
  from?: string;
}

const ATTEMPTS = 4;
const BACKOFF_MS = 500;
const UPLOAD_BUFFER_BYTES = 1024 * 1024;
const MAX_ANSWER_LENGTH = 8 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 60_000;

/** One registry for the time of one publish; keeps tokens, by repository. */
export class SiteRegistry {
  readonly #o: SiteRegistryOptions;
  readonly #base: string;
  /** By what they grant. */
  readonly #authorization = new Map<string, string>();
  readonly #https: { https?: { certificateAuthority: string[] } };
  /** Repositories that have a blob already, for mounting. */
  readonly #mounted = new Map<OciDigest, string>();

  constructor(options: SiteRegistryOptions) {
    this.#o = options;
    const roots = () => new Set([...getCACertificates("default"), ...getCACertificates("system")]);
    this.#https = options.ca === undefined ? {} : { https: { certificateAuthority: [...roots(), options.ca] } };
    this.#base = `${options.insecure ? "http" : "https"}://${options.host}/v2/`;
  }

  /** Pushes a blob unless it is there; says whether bytes went out. */
  async pushBlob(repository: string, digest: OciDigest, blob: { file: string; size: number }): Promise<boolean> {
    const there = await this.#call(repository, { method: "HEAD", url: `${repository}/blobs/${digest}` });
    const from = this.#mounted.get(digest);
    this.#mounted.set(digest, repository);
    if (there.status === 200) return false;
    if (from !== undefined && from !== repository) {
      const mount = await this.#call(repository, {
        method: "POST",
        url: `${repository}/blobs/uploads/?mount=${encodeURIComponent(digest)}&from=${encodeURIComponent(from)}`,
        from,
      });
      if (mount.status === 201) return false;
      if (mount.status === 202) return this.#upload(repository, digest, blob, mount);
    }
    const started = await this.#call(repository, { method: "POST", url: `${repository}/blobs/uploads/` });
    if (started.status !== 202) throw this.#refused(`start an upload to ${repository}`, started);
    return this.#upload(repository, digest, blob, started);
  }

  async #upload(
    repository: string,
    digest: OciDigest,
    blob: { file: string; size: number },
    started: Answer,
  ): Promise<boolean> {
    const file = { path: blob.file, size: blob.size };
    const done = await this.#call(repository, {
      method: "PUT",
      url: withDigest(this.#location(started), digest),
      file,
    });
    if (done.status === 201) return true;
    if (![400, 404, 405, 416].includes(done.status)) throw this.#refused(`push blob ${digest} to ${repository}`, done);
    // Some registries take bytes by PATCH only.
    const again = await this.#call(repository, { method: "POST", url: `${repository}/blobs/uploads/` });
    if (again.status !== 202) throw this.#refused(`start an upload to ${repository}`, again);
    const sent = await this.#call(repository, {
      method: "PATCH",
      url: this.#location(again),
      ...(blob.size > 0 && { headers: { "content-range": `0-${blob.size - 1}` } }),
      file,
    });
    if (sent.status !== 202) throw this.#refused(`push blob ${digest} to ${repository}`, sent);
    const closed = await this.#call(repository, { method: "PUT", url: withDigest(this.#location(sent), digest) });
    if (closed.status !== 201) throw this.#refused(`push blob ${digest} to ${repository}`, closed);
    return true;
  }

  /** Pushes a manifest under a tag or its digest. Returns whether the registry says that it lists it as a referrer. */
  async pushManifest(
    repository: string,
    reference: string,
    mediaType: string,
    bytes: Buffer,
  ): Promise<{ listed: boolean }> {
    const answer = await this.#call(repository, {
      method: "PUT",
      url: `${repository}/manifests/${reference}`,
      headers: { "content-type": mediaType },
      bytes,
    });
    if (answer.status !== 201) throw this.#refused(`push manifest ${reference} to ${repository}`, answer);
    return { listed: answer.headers["oci-subject"] !== undefined };
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

  async #call(repository: string, call: Call): Promise<Answer> {
    let challenged = false;
    for (let attempt = 1; ; attempt++) {
      let answer: Answer;
      try {
        answer = await this.#send(repository, call);
      } catch (cause) {
        if (attempt < ATTEMPTS) {
          await sleep(BACKOFF_MS * 2 ** attempt);
          continue;
        }
        throw new AirferryError("ERR_PUBLISH", `cannot reach registry "${this.#o.host}": ${(cause as Error).message}`, {
          hint: "check the address; --insecure for plain HTTP, --ca FILE for a private CA; run again: what is there is not sent twice",
        });
      }
      if (answer.status === 401 && !challenged) {
        challenged = true;
        await this.#authorize(repository, call.from, answer);
        continue;
      }
      if ((answer.status === 429 || answer.status >= 500) && attempt < ATTEMPTS) {
        const seconds = Number(answer.headers["retry-after"] ?? 0);
        await sleep(Math.min(60_000, seconds > 0 ? seconds * 1000 : BACKOFF_MS * 2 ** attempt));
        continue;
      }
      return answer;
    }
  }

  async #send(repository: string, { method, url, headers, bytes, file, from }: Call): Promise<Answer> {
    const target = new URL(url, this.#base);
    const home = new URL(this.#base).origin;
    const authorization = target.origin === home ? this.#authorization.get(grantOf(repository, from)) : undefined;
    const body = file ? createReadStream(file.path, { highWaterMark: UPLOAD_BUFFER_BYTES }) : bytes;
    const length = file?.size ?? bytes?.length ?? (method === "GET" || method === "HEAD" ? undefined : 0);
    const response = await got(target, {
      method,
      ...(body !== undefined && { body }),
      headers: {
        ...(body !== undefined && { "content-type": "application/octet-stream" }),
        ...headers,
        ...(length !== undefined && { "content-length": String(length) }),
        ...(authorization !== undefined && { authorization }),
      },
      responseType: "buffer",
      throwHttpErrors: false,
      followRedirect: method === "GET" || method === "HEAD",
      retry: { limit: 0 },
      timeout: { connect: REQUEST_TIMEOUT_MS, response: file ? 10 * REQUEST_TIMEOUT_MS : REQUEST_TIMEOUT_MS },
      ...this.#https,
    });
    if (response.rawBody.length > MAX_ANSWER_LENGTH) throw new Error("its answer is too large");
    return { status: response.statusCode, headers: response.headers, body: Buffer.from(response.rawBody) };
  }

  async #authorize(repository: string, from: string | undefined, answer: Answer): Promise<void> {
    const grant = grantOf(repository, from);
    const header = answer.headers["www-authenticate"];
    const challenge = answerable(Array.isArray(header) ? header.join(", ") : header);
    const login = await findLogin(this.#o.host, repository, this.#o.env ?? process.env);
    const basic = login && basicHeader(login);
    if (challenge?.scheme === "bearer") {
      const token = await this.#token(challenge.parameters, grant, login, basic);
      this.#authorization.set(grant, `Bearer ${token}`);
    } else if (challenge !== undefined && basic !== undefined) this.#authorization.set(grant, basic);
    else {
      throw new AirferryError("ERR_PUBLISH", `cannot log in at "${this.#o.host}": it wants a login and there is none`, {
        hint: `run: docker login ${this.#o.host}, or podman login ${this.#o.host}`,
      });
    }
  }

  async #token(
    parameters: Record<string, string>,
    grant: string,
    login: Login | undefined,
    basic: string | undefined,
  ): Promise<string> {
    const realm = URL.canParse(parameters.realm ?? "") ? new URL(parameters.realm as string) : undefined;
    if (realm === undefined || (realm.protocol !== "https:" && !this.#o.insecure)) {
      throw new AirferryError(
        "ERR_PUBLISH",
        `cannot log in at "${this.#o.host}": its token service "${parameters.realm}" is not https`,
      );
    }
    // As in the token specification: one scope parameter for each; the form of a refresh takes them separated by spaces.
    const scopes = grant.split(" ");
    const common = {
      throwHttpErrors: false,
      followRedirect: false,
      retry: { limit: 0 },
      timeout: { request: REQUEST_TIMEOUT_MS },
      ...this.#https,
    } as const;
    const service = parameters.service === undefined ? {} : { service: parameters.service };
    const response =
      login?.identityToken === undefined
        ? await got(realm, {
            ...common,
            searchParams: new URLSearchParams([
              ...Object.entries(service),
              ...scopes.map((it): [string, string] => ["scope", it]),
            ]),
            headers: basic === undefined ? {} : { authorization: basic },
          })
        : await got.post(realm, {
            ...common,
            form: {
              grant_type: "refresh_token",
              client_id: "airferry",
              refresh_token: login.identityToken,
              scope: grant,
              ...service,
            },
          });
    try {
      const { token, access_token } = JSON.parse(response.body) as { token?: unknown; access_token?: unknown };
      const value = token ?? access_token;
      if (response.statusCode === 200 && typeof value === "string") return value;
    } catch {
      // Told below.
    }
    throw new AirferryError(
      "ERR_PUBLISH",
      `cannot log in at "${this.#o.host}": its token service answers ${response.statusCode}`,
      {
        hint: `run: docker login ${this.#o.host}, or podman login ${this.#o.host}`,
      },
    );
  }

  #location({ headers }: Answer): string {
    const location = headers.location;
    if (typeof location === "string" && URL.canParse(location, this.#base)) return new URL(location, this.#base).href;
    throw new AirferryError("ERR_PUBLISH", `cannot push to "${this.#o.host}": it names no place for the upload`);
  }

  #refused(action: string, { status, body }: Answer): AirferryError {
    let words = body.toString("utf8").slice(0, 300).replace(/\s+/g, " ").trim();
    try {
      const { errors } = JSON.parse(body.toString("utf8")) as { errors?: { code?: string; message?: string }[] };
      words = errors?.map((it) => `${it.code}: ${it.message}`).join("; ") || words;
    } catch {
      // Not every registry, and no proxy, answers in JSON.
    }
    return new AirferryError(
      "ERR_PUBLISH",
      `cannot ${action}: ${this.#o.host} answers ${status}${words ? `: ${words}` : ""}`,
      {
        hint:
          status === 401 || status === 403
            ? `log in with an account that may push: docker login ${this.#o.host}`
            : "see the registry's log; some want a project to exist before anything is pushed to it",
      },
    );
  }
}

function withDigest(location: string, digest: OciDigest): string {
  const url = new URL(location);
  url.searchParams.set("digest", digest);
  return url.href;
}

/** What a token has to allow, in the words of the token specification. */
function grantOf(repository: string, from?: string): string {
  return `repository:${repository}:pull,push${from === undefined ? "" : ` repository:${from}:pull`}`;
}
