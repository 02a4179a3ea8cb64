/**
 * How doctor asks the server: bounded answers, no retries, no redirects, the given CA. It connects only where its URL says.
 */
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import got, { type Got } from "got";

const TIMEOUT_MS = 20_000;

/** An answer with its body, at most as large as was asked for. */
export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** Asks one server. */
export class DoctorClient {
  readonly base: string;
  readonly #got: Got;

  constructor(base: string, ca?: string) {
    this.base = base;
    this.#got = got.extend({
      throwHttpErrors: false,
      followRedirect: false,
      decompress: false,
      retry: { limit: 0 },
      timeout: { request: TIMEOUT_MS },
      ...(ca === undefined ? {} : { https: { certificateAuthority: ca } }),
    });
  }

  /** Gets a path below the base, or a URL that begins with it. Refuses any other URL, and bodies over `maxBytes`. */
  async get(path: string, maxBytes: number, headers: Record<string, string> = {}): Promise<Answer> {
    const url = /^https?:/.test(path) ? path : `${this.base}${path}`;
    if (new URL(url).origin !== new URL(this.base).origin) throw new Error(`${url} is not on ${this.base}`);
    const stream = this.#got.stream(url, { headers });
    const chunks: Buffer[] = [];
    let size = 0;
    let response: { statusCode: number; headers: Answer["headers"] } | undefined;
    stream.on("response", (it) => {
      response = it;
    });
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxBytes) {
        stream.destroy();
        throw new Error(`${url} is larger than ${maxBytes} bytes`);
      }
      chunks.push(chunk);
    }
    return { status: response?.statusCode ?? 0, headers: response?.headers ?? {}, body: Buffer.concat(chunks) };
  }

  /** The head of what a path below the base has. */
  async head(path: string, headers: Record<string, string> = {}): Promise<Omit<Answer, "body">> {
    const { statusCode, headers: got } = await this.#got.head(`${this.base}${path}`, { headers });
    return { status: statusCode, headers: got };
  }

  /** The same as {@link DoctorClient.get}, and an error unless it is 200. */
  async text(path: string, maxBytes = 4 * 1024 * 1024): Promise<string> {
    const answer = await this.get(path, maxBytes);
    if (answer.status !== 200) throw new Error(`${path} answers ${answer.status}: ${firstLines(answer.body)}`);
    return answer.body.toString("utf8");
  }

  /** Hashes a body of any size without keeping it. */
  async sha256(path: string): Promise<{ status: number; size: number; sha256: string }> {
    const url = /^https?:/.test(path) ? path : `${this.base}${path}`;
    const stream = this.#got.stream(url, { timeout: { socket: TIMEOUT_MS, response: TIMEOUT_MS } });
    let status = 0;
    stream.on("response", (it: { statusCode: number }) => {
      status = it.statusCode;
    });
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      hash.update(chunk);
      size += chunk.length;
    }
    return { status, size, sha256: hash.digest("hex") };
  }
}

/** The start of an answer in words. */
export function firstLines(body: Buffer): string {
  return body.subarray(0, 300).toString("utf8").split("\n").slice(0, 3).join("; ");
}

/** Hex SHA-256 of bytes. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
