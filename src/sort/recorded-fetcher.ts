/**
 * Upstream as it was recorded: whoever locks an entry gets the recorded answers, so that index and content are of one
 * moment. Only what was not recorded is asked for.
 */
import { AirferryError } from "../errors.ts";
import type { FetchedBytes, Fetcher, FetchTarget, HeadResult } from "../fetch/types.ts";
import { HttpStatus, upstreamError } from "../http/failure.ts";
import { isDigest, RunningDigest } from "../io/digest.ts";
import { algorithmsIn, mismatchOf, sha256In } from "../io/integrity.ts";
import { redactUrl } from "../io/redact.ts";
import { readSmall } from "../io/safe-open.ts";
import type { RecordedAnswer } from "../io/web-recording.ts";
import type { RecordedIndex } from "./recorded-index.ts";

type Recorded = Pick<RecordedAnswer, "status" | "headers" | "digest" | "size">;

/** Its caller closes `upstream`. */
export function recordedFetcher(index: RecordedIndex, upstream: Fetcher): Fetcher {
  /** Undefined: ask upstream. */
  const answerTo = (target: FetchTarget, method: "GET" | "HEAD"): { url: string; found: Recorded } | undefined => {
    const answers = target.urls.map((url) => ({ url, found: recordedAt(index, url, method, target) }));
    const good = answers.find((it) => it.found?.status === 200);
    if (good?.found !== undefined) return { url: good.url, found: good.found };
    const [first] = answers;
    // Mirrors that were not asked may have it.
    if (first?.found === undefined || answers.some((it) => it.found === undefined)) return undefined;
    return { url: first.url, found: first.found };
  };
  return {
    async head(target, signal) {
      const answer = answerTo(target, "HEAD");
      if (answer === undefined) return upstream.head(target, signal);
      requireGood(answer);
      return headOf(answer);
    },
    async fetchBytes(target, signal) {
      const isPlain = (target.method ?? "GET") === "GET" && target.link === undefined;
      const answer = isPlain ? answerTo(target, "GET") : undefined;
      if (answer === undefined) return upstream.fetchBytes(target, signal);
      requireGood(answer);
      const bytes = await bytesOf(answer, index, target);
      return bytes === undefined ? upstream.fetchBytes(target, signal) : { ...bytesResult(answer), bytes };
    },
    fetchInto: (target, sink, signal) => upstream.fetchInto(target, sink, signal),
    close: () => upstream.close(),
  };
}

function recordedAt(
  index: RecordedIndex,
  url: string,
  method: "GET" | "HEAD",
  { headers, integrity }: FetchTarget,
): Recorded | undefined {
  const accept = Object.entries(headers ?? {}).find(([name]) => name.toLowerCase() === "accept")?.[1];
  const own = index.find(url, "GET", accept);
  if (own !== undefined) return own;
  const wanted = sha256In(integrity);
  const size = wanted && index.sizeOf(wanted);
  if (wanted !== undefined && size !== undefined) return { status: 200, headers: {}, digest: wanted, size };
  const asked = index.find(url, "HEAD", accept);
  if (asked === undefined || asked.status !== 200) return asked;
  // Some clients ask for a tag by HEAD, and then for the manifest by its digest.
  const named = asked.headers["docker-content-digest"];
  const length = isDigest(named) ? index.sizeOf(named) : undefined;
  if (isDigest(named) && length !== undefined)
    return { status: 200, headers: asked.headers, digest: named, size: length };
  const said = asked.headers["content-length"];
  return method === "HEAD" && said !== undefined ? { ...asked, size: Number(said) } : undefined;
}

/** @throws {AirferryError} ERR_UPSTREAM, as upstream's own status would */
function requireGood({ url, found: { status } }: { url: string; found: Recorded }): void {
  if (status === 200) return;
  throw upstreamError("ERR_UPSTREAM", url, `status ${status} (recorded)`, { cause: new HttpStatus(status) });
}

function headOf({ url, found: { headers, size } }: { url: string; found: Recorded }): HeadResult {
  const { etag, "last-modified": lastModified, "content-type": contentType } = headers;
  return {
    url: redactUrl(url),
    finalUrl: redactUrl(url),
    size,
    acceptRanges: false,
    ...(etag !== undefined && { etag }),
    ...(lastModified !== undefined && { lastModified }),
    ...(contentType !== undefined && { contentType }),
  };
}

function bytesResult(answer: { url: string; found: Recorded }): Omit<FetchedBytes, "bytes"> {
  const shown = redactUrl(answer.url);
  return { ...headOf(answer), url: answer.url, askedUrl: shown, status: 200, headers: answer.found.headers };
}

/** Undefined where it is not what is wanted. @throws {AirferryError} ERR_UPSTREAM_SIZE, ERR_IO */
async function bytesOf(
  { url, found }: { url: string; found: Recorded },
  index: RecordedIndex,
  { maxBytes, size, integrity }: FetchTarget & { maxBytes: number },
): Promise<Buffer | undefined> {
  if (found.size > maxBytes) {
    throw upstreamError("ERR_UPSTREAM_SIZE", url, "too large", {
      expected: `at most ${maxBytes} bytes`,
      actual: `${found.size} bytes`,
    });
  }
  if (size !== undefined && size !== found.size) return undefined;
  const bytes = await readSmall(index.fileOf(found.digest), maxBytes).catch((error: AirferryError) => {
    if (error instanceof AirferryError && error.code === "ERR_NOT_FOUND") return undefined;
    throw error;
  });
  if (bytes === undefined || integrity === undefined) return bytes;
  const running = new RunningDigest(algorithmsIn(integrity));
  running.update(bytes);
  return mismatchOf(integrity, running.peek()) === undefined ? bytes : undefined;
}
