/**
 * Recorded answers of web servers, sent as they were: status, headers and body. Each release's index is read with the
 * first request. docs/format.md, "Web answers".
 */
import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import { inTurns, Pace } from "../../io/pace.ts";
import {
  findWebAnswer,
  type IndexedAnswer,
  MAX_WEB_INDEX_BYTES,
  readWebIndex,
  WEB_INDEX,
  type WebIndex,
} from "../../io/web-index.ts";
import type { Release } from "../../store/types.ts";
import { entryContent, sendBlob } from "../http/blob.ts";
import type { ServeContext, ServerRequest } from "../http/context.ts";
import { forgetLater } from "../http/forget-later.ts";
import { sendGenerated } from "../http/text-responses.ts";

/** Largest body of an answer that is no success. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;
const STRONG_ETAG = /^"([!#-~]*)"$/;
/** What the sending functions write themselves. */
const OWN_HEADERS = new Set(["accept-ranges", "content-length", "content-type", "etag"]);

/** A recorded answer, and the entry that is its body. */
export interface FoundAnswer {
  answer: IndexedAnswer;
  entry: InventoryEntry | undefined;
  release: Release;
}

export class WebAnswers {
  /** Old releases are garbage-collected with theirs. */
  readonly #indexes = new WeakMap<Release, Promise<WebIndex | undefined>>();
  /** Those that are read. */
  readonly #read = new WeakMap<Release, WebIndex>();

  /**
   * Finds what releases have for a request of one of `urls`, in normal form: one answer, several that differ, or none.
   * A success is better than a recorded "not found".
   */
  async find(
    request: ServerRequest,
    context: ServeContext,
    releases: readonly Release[],
    urls: readonly string[],
  ): Promise<FoundAnswer[]> {
    const { accept, "accept-language": acceptLanguage } = request.req.headers;
    const found: FoundAnswer[] = [];
    for (const release of releases) {
      if (!release.entries.has(WEB_INDEX)) continue;
      const index = await this.#indexOf(release, request, context);
      if (index === undefined) continue;
      for (const url of urls) {
        const answer = findWebAnswer(index, { url, method: request.req.method ?? "GET", accept, acceptLanguage });
        if (answer === undefined) continue;
        const entry = answer.path === undefined ? undefined : release.entries.get(answer.path);
        found.push({ answer, entry, release });
        break;
      }
    }
    const good = found.filter(({ answer }) => answer.status < 400);
    const best = good.length > 0 ? good : found;
    const [first] = best;
    return first !== undefined && best.every((it) => isSame(it, first)) ? [first] : best;
  }

  /** Whether a release has an answer for a URL in normal form, or may have: its index is not read yet. */
  mayHave(releases: readonly Release[], url: string): boolean {
    return releases.some((it) => it.entries.has(WEB_INDEX) && this.#read.get(it)?.has(url) !== false);
  }

  #indexOf(release: Release, request: ServerRequest, context: ServeContext): Promise<WebIndex | undefined> {
    const known = this.#indexes.get(release);
    if (known !== undefined) return known;
    const index = readIndex(release, request, context).then(
      (read) => {
        if (read !== undefined) this.#read.set(release, read);
        return read;
      },
      (error: unknown) => {
        context.tellFault(error);
        forgetLater(this.#indexes, release);
        return undefined;
      },
    );
    this.#indexes.set(release, index);
    return index;
  }
}

async function readIndex(release: Release, { resources }: ServerRequest, { store }: ServeContext) {
  const entry = release.entries.get(WEB_INDEX);
  if (entry === undefined) return undefined;
  if (entry.size > MAX_WEB_INDEX_BYTES) throw new Error(`${WEB_INDEX} is larger than ${MAX_WEB_INDEX_BYTES} bytes`);
  const bytes = await resources.files.readWhole(store.blobPath(entry.digest));
  return inTurns(readWebIndex(bytes.toString("utf8")), new Pace((fault) => new Error(`${WEB_INDEX}: ${fault}`)));
}

function isSame(a: FoundAnswer, b: FoundAnswer): boolean {
  return (
    a.answer.status === b.answer.status &&
    a.entry?.digest === b.entry?.digest &&
    a.answer.headers.location === b.answer.headers.location
  );
}

/** Sends a recorded answer. */
export async function sendWebAnswer(
  request: ServerRequest,
  { store }: ServeContext,
  { answer: { status, headers, method }, entry }: FoundAnswer,
): Promise<void> {
  request.isRecorded = true;
  const contentType = headers["content-type"] ?? "application/octet-stream";
  const others = Object.fromEntries(Object.entries(headers).filter(([name]) => !OWN_HEADERS.has(name)));
  if (entry !== undefined) request.path = `/${entry.path}`;
  if (method === "HEAD") {
    const length = headers["content-length"];
    const own = { "Content-Type": contentType, ...(length !== undefined && { "Content-Length": length }) };
    request.res
      .writeHead(status, { ...own, ...(headers.etag !== undefined && { ETag: headers.etag }), ...others })
      .end();
    return;
  }
  const [, etag] = STRONG_ETAG.exec(headers.etag ?? "") ?? [];
  if (status === 200 && entry !== undefined) {
    const content = { ...entryContent(entry, store), contentType, headers: others, cache: null, mayRedirect: false };
    await sendBlob(request, etag === undefined ? content : { ...content, etag });
    return;
  }
  if (entry !== undefined && entry.size > MAX_BODY_BYTES)
    throw new Error(`an answer of ${entry.size} bytes is no page`);
  const body =
    entry === undefined ? Buffer.alloc(0) : await request.resources.files.readWhole(store.blobPath(entry.digest));
  sendGenerated(request, status, contentType, body, others);
}
