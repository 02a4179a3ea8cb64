/** What a recording has, for whoever makes entries of it: answers by URL, bodies by digest. */
import { join } from "node:path";
import type { Digest } from "../io/digest.ts";
import { openRegular } from "../io/safe-open.ts";
import type { RandomAccess } from "../io/types.ts";
import { answerKey } from "../io/web-answer.ts";
import { findWebAnswer } from "../io/web-index.ts";
import { bodyPath, type RecordedAnswer } from "../io/web-recording.ts";
import { normalizeWebUrl } from "../io/web-url.ts";

/** Redirects that are followed. */
const MAX_REDIRECTS = 10;

/** A recording, which may grow. */
export class RecordedIndex {
  readonly answers: RecordedAnswer[] = [];
  readonly #folder: string;
  readonly #byUrl = new Map<string, RecordedAnswer[]>();
  readonly #sizes = new Map<Digest, number>();

  constructor(folder: string, answers: Iterable<RecordedAnswer>) {
    this.#folder = folder;
    for (const it of answers) this.add(it);
  }

  /** Adds an answer, in place of an earlier one to the same request. */
  add(answer: RecordedAnswer): void {
    const { url, method, digest, size } = answer;
    const same = this.#byUrl.get(url) ?? [];
    const key = answerKey(answer);
    this.#byUrl.set(url, [...same.filter((it) => answerKey(it) !== key), answer]);
    this.answers.push(answer);
    if (method === "GET") this.#sizes.set(digest, size);
  }

  /** Size of a body; undefined if no answer has it. */
  sizeOf(digest: Digest): number | undefined {
    return this.#sizes.get(digest);
  }

  /** Path of a body's file. */
  fileOf(digest: Digest): string {
    return join(this.#folder, bodyPath(digest));
  }

  /** A body; the caller closes it. @throws {AirferryError} as `openRegular()` */
  async open(digest: Digest): Promise<{ bytes: RandomAccess; close(): Promise<void> }> {
    const { handle, size } = await openRegular(this.fileOf(digest));
    const read = async (position: number, length: number) => {
      const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - position)));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
      return buffer.subarray(0, bytesRead);
    };
    return { bytes: { size, read }, close: () => handle.close() };
  }

  /** The answer to a request, after redirects that were recorded too; undefined where nothing was. */
  find(url: string, method: "GET" | "HEAD" = "GET", accept?: string): RecordedAnswer | undefined {
    let at = url;
    for (let step = 0; step <= MAX_REDIRECTS; step++) {
      let normal: string;
      try {
        normal = normalizeWebUrl(at);
      } catch {
        return undefined;
      }
      const found = findWebAnswer(this.#byUrl, { url: normal, method, accept });
      const { location } = found?.headers ?? {};
      if (found === undefined || found.status < 300 || found.status > 399) return found;
      if (location === undefined || !URL.canParse(location, normal)) return undefined;
      at = new URL(location, normal).href;
    }
    return undefined;
  }
}
