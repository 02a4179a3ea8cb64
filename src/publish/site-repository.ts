/**
 * One raw or yum repository of Nexus or Artifactory, or any server that takes files by PUT: what is there, and uploads.
 * Written from the vendors' documentation; see docs/repositories.md.
 */
import { AirferryError } from "../errors.ts";
import { type Call, type ClientResponse, HttpClient } from "../http/client.ts";
import { AttemptFailure } from "../http/failure.ts";
import { type Backoff, backoffMs, isTransientStatus, parseRetryAfter, sleep } from "../http/retry.ts";
import { type Digest, hexOf } from "../io/digest.ts";
import { parseJson } from "../io/json.ts";
import { currentSignal, throwIfAborted } from "../io/limit.ts";
import { printable } from "../io/printable.ts";
import { redactUrl } from "../io/redact.ts";
import { type PackedBlob, readPackedBlob } from "../store/packed-blob.ts";
import { sha1Of } from "./sha1.ts";
import { SiteLogin } from "./site-login.ts";

/** A file to publish. */
export interface RepositoryFile {
  /** Below the repository's URL. */
  path: string;
  digest: Digest;
  /** Bytes. */
  size: number;
  /** Where it is in the store. */
  file: string;
  /** Opens it, where it is no file. */
  open?: PackedBlob["open"];
}

interface SiteRepositoryOptions {
  /** Of the repository, or a folder in it; ends in `/`. */
  url: URL;
  /** PEM of a private CA. */
  ca?: string | undefined;
  env?: NodeJS.ProcessEnv | undefined;
}

const ATTEMPTS = 4;
const BACKOFF: Backoff = { baseMs: 1000, maxMs: 60_000, maxRetryAfterMs: 60_000 };
const MAX_ANSWER_BYTES = 1024 * 1024;
const MAX_WORDS = 300;
/** Of a refusal, which may be a page of any size. */
const MAX_READ_WORDS_BYTES = 8 * 1024;
/** A server may hash many gigabytes before it answers. */
const COMMIT_TIMEOUT_MS = 20 * 60_000;
/** Smaller ones cost no more than a question. */
const ASK_FIRST_BYTES = 1024 * 1024;
const MOVED = new Set([301, 302, 303, 307, 308]);
/** Nexus: the SHA-1 of an asset. */
const NEXUS_ETAG = /^(?:W\/)?"\{SHA1\{([0-9a-f]{40})\}\}"$/i;

/** Keeps connections open. The caller closes it. */
export class SiteRepository {
  readonly #url: URL;
  readonly #client: HttpClient;
  readonly #login: SiteLogin;
  /** Artifactory takes and tells SHA-256 by headers of its own. */
  readonly #isArtifactory: boolean;

  /**
   * A server that refuses an upload closes the connection under it, and the answer may be lost: so it is asked first.
   * Some proxies cannot ask.
   */
  #knowsNoExpect = false;

  constructor({ url, ca, env = process.env }: SiteRepositoryOptions) {
    this.#url = url;
    this.#client = new HttpClient({ trust: { ca } });
    this.#login = new SiteLogin(url, env);
    this.#isArtifactory = /\/artifactory\//.test(url.pathname);
  }

  close(): void {
    this.#client.close();
  }

  /**
   * Whether the same bytes are at a file's path: by the SHA-256 or SHA-1 that the server tells. Without a checksum they
   * are not.
   * @throws {AirferryError} ERR_PUBLISH, ERR_STORE_INVALID
   */
  async has(file: RepositoryFile): Promise<boolean> {
    const answer = await this.#call({ method: "HEAD", url: this.#urlOf(file.path) });
    if (answer.status === 404) return false;
    if (answer.status !== 200) throw await this.#refused(`look for ${printable(file.path)}`, answer);
    const { "x-checksum-sha256": sha256, "x-checksum-sha1": told, etag, "content-length": length } = answer.headers;
    if (typeof sha256 === "string") return sha256.toLowerCase() === hexOf(file.digest);
    if (length !== undefined && Number(length) !== file.size) return false;
    const sha1 = typeof told === "string" ? told : NEXUS_ETAG.exec(etag ?? "")?.[1];
    return sha1 !== undefined && sha1.toLowerCase() === (await sha1Of(file));
  }

  /**
   * Uploads a file. Returns whether bytes were sent: Artifactory may have them under another name.
   * @param at called with how many bytes of it were sent so far; less than before after another attempt
   * @throws {AirferryError} ERR_PUBLISH; ERR_STORE_INVALID when the file is damaged
   */
  async put(file: RepositoryFile, at: (bytes: number) => void): Promise<boolean> {
    const url = this.#urlOf(file.path);
    const sum: Record<string, string> = this.#isArtifactory ? { "x-checksum-sha256": hexOf(file.digest) } : {};
    if (this.#isArtifactory && file.size >= ASK_FIRST_BYTES) {
      const known = await this.#call({ method: "PUT", url, headers: { ...sum, "x-checksum-deploy": "true" } });
      if (isDone(known)) return false;
      if (known.status === 401 || known.status === 403)
        throw await this.#refused(`upload ${printable(file.path)}`, known);
    }
    const body = () => {
      let done = 0;
      return readPackedBlob(file, (bytes) => {
        done += bytes;
        at(done);
      });
    };
    const headers = { ...sum, "content-type": "application/octet-stream", "content-length": String(file.size) };
    const content = file.size === 0 ? {} : { body };
    const send = (more: Record<string, string> = {}) =>
      this.#call({ method: "PUT", url, headers: { ...headers, ...more }, ...content }, () => at(0));
    const isLarge = file.size >= ASK_FIRST_BYTES && !this.#knowsNoExpect;
    let answer = await send(isLarge ? { expect: "100-continue" } : {});
    if (isLarge && answer.status === 417) {
      this.#knowsNoExpect = true;
      answer = await send();
    }
    if (MOVED.has(answer.status)) throw this.#moved(file.path, answer);
    if (!isDone(answer)) throw await this.#refused(`upload ${printable(file.path)}`, answer);
    const told = toldDigest(answer);
    if (told !== undefined && told !== hexOf(file.digest)) {
      throw this.#fault(
        `it stored other bytes as ${printable(file.path)}: expected sha256 ${hexOf(file.digest)}, got ${told}`,
        "a proxy in between changes uploads: publish past it",
      );
    }
    return true;
  }

  /** What tells one state of a file from another; undefined while there is none. @throws {AirferryError} ERR_PUBLISH */
  async stateOf(path: string): Promise<string | undefined> {
    const answer = await this.#call({ method: "HEAD", url: this.#urlOf(path) });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw await this.#refused(`look for ${printable(path)}`, answer);
    const { etag, "last-modified": modified, "content-length": length } = answer.headers;
    return [etag, modified, length].join(" ");
  }

  #urlOf(path: string): string {
    // Matrix parameters of Artifactory begin with a semicolon, which this escapes.
    return new URL(path.split("/").map(encodeURIComponent).join("/"), this.#url).href;
  }

  /** Sends a request until there is a useful answer. */
  async #call(call: Pick<Call, "method" | "url" | "headers" | "body">, again?: () => void): Promise<ClientResponse> {
    const isPut = call.method === "PUT";
    for (let attempt = 1; ; attempt++) {
      const answer = await this.#client
        .send({
          ...call,
          auth: this.#login,
          follow: !isPut,
          maxBytes: MAX_ANSWER_BYTES,
          signal: currentSignal(),
          ...(isPut && { patienceMs: COMMIT_TIMEOUT_MS }),
        })
        .catch((error: unknown) => error as Error);
      throwIfAborted();
      const isAnswer = !(answer instanceof Error);
      // A full disk does not empty itself in a minute.
      const isAgain = isAnswer ? isTransientStatus(answer.status) && answer.status !== 507 : isWorthAgain(answer);
      if (!isAgain || attempt === ATTEMPTS) {
        if (isAnswer) return answer;
        throw this.#unreachable(answer);
      }
      again?.();
      const after = isAnswer ? parseRetryAfter(answer.headers["retry-after"]) : undefined;
      await sleep(backoffMs(attempt, after, BACKOFF), currentSignal());
    }
  }

  #unreachable(error: Error): Error {
    if (!(error instanceof AttemptFailure)) return error;
    const cause = error.error;
    return new AirferryError("ERR_PUBLISH", `cannot reach "${this.#url.host}": ${error.fault}`, {
      cause,
      hint: "check the address; --ca FILE for a private CA; run again: what is there already is not sent again",
    });
  }

  /** Uploads go only where the user said: the login and the files are not for whom an answer names. */
  #moved(path: string, { said, headers, url }: ClientResponse): AirferryError {
    const { location = "" } = headers;
    const to = URL.canParse(location, url.href) ? redactUrl(new URL(location, url)) : "";
    const end = new URL(this.#urlOf(path)).pathname.slice(this.#url.pathname.length);
    const base = to.endsWith(end) ? to.slice(0, -end.length) : to;
    const where = to === "" ? "elsewhere" : `to ${printable(to)}`;
    return this.#fault(
      `it sends the upload of ${printable(path)} ${where} (${printable(said)})`,
      base === ""
        ? "ask whoever runs it for the URL that takes uploads"
        : `if that is the site's, give its URL: ${printable(base)}`,
    );
  }

  async #refused(action: string, { status, said, body }: ClientResponse): Promise<AirferryError> {
    const words = wordsOf(body);
    const { host } = this.#url;
    const isKnown = await this.#login.isKnown();
    return new AirferryError(
      "ERR_PUBLISH",
      `cannot ${action}: ${host} answers ${printable(said || String(status))}${words === "" ? "" : `: ${words}`}`,
      { hint: hintFor(status, this.#url, isKnown) },
    );
  }

  #fault(fault: string, hint: string): AirferryError {
    return new AirferryError("ERR_PUBLISH", `cannot publish to "${this.#url.host}": ${fault}`, { hint });
  }
}

function hintFor(status: number, { hostname, pathname }: URL, isKnown: boolean): string {
  switch (status) {
    case 401:
      return isKnown
        ? `the login in ~/.netrc, or of docker login, is refused: check machine ${hostname}`
        : `there is no login for it: write one into ~/.netrc: machine ${hostname} login NAME password SECRET`;
    case 409:
      return "what arrived is not what was sent, or the repository takes no such path: see its checksum policy and its include and exclude patterns";
    case 400:
    case 403:
      return "the account must be allowed to deploy, and to overwrite repodata/: Nexus calls it Allow redeploy, Artifactory Delete/Overwrite; Nexus also has Strict Content Type Validation and Repodata Depth";
    case 404:
    case 405:
      return `there must be a hosted (local) repository at ${pathname}: Nexus has /repository/NAME/, Artifactory /artifactory/NAME/; the account must see it, and be allowed to overwrite`;
    case 413:
      return "a proxy in front limits the size of requests (nginx: client_max_body_size 0)";
    case 507:
      return "free space there, then run again: what is there already is not sent again";
    default:
      return "see the server's log, then run again: what is there already is not sent again";
  }
}

/** Artifactory answers an upload with the sums of what it stored. */
function toldDigest({ body, headers }: ClientResponse): string | undefined {
  if (!/\bjson\b/.test(headers["content-type"] ?? "")) return undefined;
  try {
    const { checksums } = parseJson(body.toString("utf8")) as { checksums?: { sha256?: unknown } };
    return typeof checksums?.sha256 === "string" ? checksums.sha256.toLowerCase() : undefined;
  } catch {
    return undefined;
  }
}

/** What a refusal says: Artifactory's messages, or the text of a page. */
function wordsOf(body: Buffer): string {
  const text = body.toString("utf8", 0, MAX_READ_WORDS_BYTES);
  try {
    const { errors } = parseJson(text) as { errors?: { message?: unknown }[] };
    const messages = (errors ?? []).map((it) => it.message).filter((it) => typeof it === "string");
    if (messages.length > 0) return printable(messages.join("; "), MAX_WORDS);
  } catch {
    // Not JSON.
  }
  const plain = text.replace(/<(style|script)[\s\S]*?<\/\1>/gi, " ").replace(/<[^>]*>/g, " ");
  return printable(plain.replace(/\s+/g, " ").trim(), MAX_WORDS);
}

function isDone({ status }: ClientResponse): boolean {
  return status >= 200 && status < 300;
}

function isWorthAgain(error: Error): boolean {
  return error instanceof AttemptFailure && error.transient;
}
