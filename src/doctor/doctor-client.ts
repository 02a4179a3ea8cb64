/**
 * Doctor's HTTP client: bounded responses, no retries, no redirects, the given CA. It connects only to its URL.
 */
import { type AnswerHead, type Call, type ClientResponse, HttpClient } from "../http/client.ts";
import { AttemptFailure } from "../http/failure.ts";
import { type Digest, RunningDigest } from "../io/digest.ts";

/** For a whole response; for the next byte of a body of any size. */
const TIMEOUT_MS = 20_000;

/** A client of one server. The caller closes it. */
export class DoctorClient {
  readonly base: string;
  readonly #client: HttpClient;

  /** @param ca PEM: the only CA to trust */
  constructor(base: string, ca?: string) {
    this.base = base;
    const trust = ca === undefined ? undefined : { ca, isCaAlone: true };
    this.#client = new HttpClient({ trust, patienceMs: TIMEOUT_MS });
  }

  close(): void {
    this.#client.close();
  }

  /** Gets a path below the base, or a URL that begins with it. Refuses any other URL, and bodies over `maxBytes`. */
  async get(path: string, maxBytes: number, headers: Record<string, string> = {}): Promise<ClientResponse> {
    return this.#whole((signal) =>
      this.#client.send({ method: "GET", url: this.#url(path), headers, follow: false, maxBytes, signal }),
    );
  }

  /** The response to HEAD for a path below the base. */
  async head(path: string, headers: Record<string, string> = {}): Promise<AnswerHead> {
    return this.#whole((signal) =>
      this.#client.send({ method: "HEAD", url: this.#url(path), headers, follow: false, maxBytes: 0, signal }),
    );
  }

  /** The same as {@link DoctorClient.get}, but an error unless it is 200. */
  async text(path: string, maxBytes = 4 * 1024 * 1024): Promise<string> {
    const answer = await this.get(path, maxBytes);
    if (answer.status !== 200) throw new Error(`${path} answers ${answer.status}: ${firstLines(answer.body)}`);
    return answer.body.toString("utf8");
  }

  /** Hashes a body without storing it. Refuses one over `maxBytes`. */
  async digest(path: string, maxBytes: number): Promise<{ status: number; size: number; digest: Digest }> {
    const running = new RunningDigest();
    let size = 0;
    const call: Call = { method: "GET", url: this.#url(path), follow: false, maxBytes };
    const write = async (chunk: Uint8Array) => {
      running.update(chunk);
      size += chunk.length;
    };
    const { status } = await this.#client.read(call, { write }).catch(throwFailure);
    return { status, size, digest: running.digest() };
  }

  #url(path: string): string {
    const url = /^https?:/.test(path) ? path : `${this.base}${path}`;
    if (new URL(url).origin !== new URL(this.base).origin) throw new Error(`${url} is not on ${this.base}`);
    return url;
  }

  async #whole(ask: (signal: AbortSignal) => Promise<ClientResponse>): Promise<ClientResponse> {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return ask(signal).catch((error: unknown) => {
      if (signal.aborted) throw coded(`no answer within ${TIMEOUT_MS / 1000} s`, "ETIMEDOUT");
      return throwFailure(error);
    });
  }
}

/** Throws a readable error with the system's code: this concerns the server, not an upstream. */
function throwFailure(error: unknown): never {
  if (error instanceof AttemptFailure) throw coded(error.fault, error.code);
  throw error;
}

function coded(message: string, code: string | undefined): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

/** The start of a response as text. */
export function firstLines(body: Buffer): string {
  return body.subarray(0, 300).toString("utf8").split("\n").slice(0, 3).join("; ");
}
