/**
 * The index of a release's web answers, `web/index.json`: written when it is packed, read by whoever answers requests.
 * docs/format.md, "Web answers".
 */
import { parseJson } from "./json.ts";
import { atOnce } from "./pace.ts";
import { checkPath } from "./path-grammar.ts";
import {
  answerKey,
  isKeptStatus,
  MAX_WEB_ANSWERS,
  normalizeVariant,
  possibleHeaders,
  possibleVariant,
  type WebAnswer,
} from "./web-answer.ts";
import { normalizeWebUrl } from "./web-url.ts";

/** Its path among the entries of a release. */
export const WEB_INDEX = "web/index.json";
/** Largest index, in bytes. */
export const MAX_WEB_INDEX_BYTES = 128 * 1024 * 1024;

/** An answer in the index. */
export interface IndexedAnswer extends WebAnswer {
  /** The entry that is its body; absent when the body is empty. */
  path?: string;
}

/** Answers by URL. */
export type WebIndex = ReadonlyMap<string, readonly IndexedAnswer[]>;

/** What a client asks for. */
interface WebRequest {
  /** In the form of `normalizeWebUrl()`. */
  url: string;
  method: string;
  accept?: string | undefined;
  acceptLanguage?: string | undefined;
}

/**
 * Reads an index as a whole.
 * @throws {Error} with a readable fault: too large, not JSON, an answer that does not follow the format
 */
export function parseWebIndex(text: string): WebIndex {
  return atOnce(readWebIndex(text));
}

/** How an index begins and ends, and an answer in it: in strings the quotes would be escaped. */
const HEAD = '{"answers":[';
const TAIL = "]}";
const NEXT_ANSWER = ',{"headers":{';
const STEP_CHARS = 256 * 1024;

/** The same, yielding where the work may pause. */
export function* readWebIndex(text: string): Generator<void, WebIndex> {
  if (text.length > MAX_WEB_INDEX_BYTES) throw new Error(`is larger than ${MAX_WEB_INDEX_BYTES} bytes`);
  const index = new Map<string, IndexedAnswer[]>();
  const keys = new Set<string>();
  for (const part of partsOf(text)) {
    if (keys.size + part.length > MAX_WEB_ANSWERS) throw new Error(`has more than ${MAX_WEB_ANSWERS} answers`);
    for (const it of part) {
      const fault = answerFault(it);
      if (fault !== undefined) throw new Error(`has a wrong answers[${keys.size}]: ${fault}`);
      const answer = it as IndexedAnswer;
      const key = answerKey(answer);
      if (keys.has(key)) throw new Error(`has answers[${keys.size}] twice`);
      keys.add(key);
      const same = index.get(answer.url);
      if (same === undefined) index.set(answer.url, [answer]);
      else same.push(answer);
    }
    yield;
  }
  return index;
}

/** The list of answers, a part at a time if it is long. */
function* partsOf(text: string): Generator<unknown[]> {
  if (text.length <= STEP_CHARS || !text.startsWith(HEAD) || !text.endsWith(TAIL)) {
    const value = parseJson(text) as { answers?: unknown } | null;
    const list = typeof value === "object" && value !== null ? value.answers : undefined;
    if (!Array.isArray(list)) throw new Error("has no list of answers");
    yield list;
    return;
  }
  const end = text.length - TAIL.length;
  for (let at = HEAD.length; at < end; ) {
    const next = text.indexOf(NEXT_ANSWER, at + STEP_CHARS);
    const to = next < 0 ? end : next;
    yield parseJson(`[${text.slice(at, to)}]`) as unknown[];
    at = to + 1;
  }
}

function answerFault(it: unknown): string | undefined {
  if (typeof it !== "object" || it === null || Array.isArray(it)) return "expected an object";
  const { url, method, status, headers, vary, path, ...others } = it as Record<string, unknown>;
  if (Object.keys(others).length > 0) return "it has unknown names";
  if (typeof url !== "string" || !isNormal(url)) return "expected a URL in normal form";
  if (method !== "GET" && method !== "HEAD") return "expected GET or HEAD";
  if (typeof status !== "number" || !isKeptStatus(status)) return "expected a status that is kept";
  if (!isKept(headers, (it) => possibleHeaders(it, method))) return "expected headers that are kept";
  if (vary !== undefined && !isKept(vary, (it) => possibleVariant(it))) return "expected a variant";
  if (path === undefined) return undefined;
  const isPath = typeof path === "string" && checkPath(path) === undefined;
  return isPath && method === "GET" ? undefined : "expected the path of an entry, of an answer to GET";
}

function isNormal(url: string): boolean {
  try {
    return normalizeWebUrl(url) === url;
  } catch {
    return false;
  }
}

/** Whether what may be kept of a record of texts is all of it. What grants access is for the writer to know. */
function isKept(value: unknown, keep: (it: Record<string, string>) => object | undefined): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const entries = Object.entries(value);
  if (entries.some(([, it]) => typeof it !== "string")) return false;
  const kept = Object.entries(keep(value as Record<string, string>) ?? {});
  return kept.length === entries.length && kept.every(([name, it]) => (value as Record<string, unknown>)[name] === it);
}

/**
 * Finds the answer to a request: of several variants the one that was recorded for the same Accept and Accept-Language,
 * else the one whose type the request prefers, else the one that does not vary. HEAD is answered by what was recorded
 * for it, else as GET without its body. Undefined when nothing was recorded, or the request accepts none of the types.
 */
export function findWebAnswer<A extends IndexedAnswer>(
  index: ReadonlyMap<string, readonly A[]>,
  request: WebRequest,
): A | undefined {
  const all = index.get(request.url);
  if (all === undefined || (request.method !== "GET" && request.method !== "HEAD")) return undefined;
  const own = request.method === "HEAD" ? chosen(all, "HEAD", request) : undefined;
  return own ?? chosen(all, "GET", request);
}

function chosen<A extends IndexedAnswer>(
  all: readonly A[],
  method: WebAnswer["method"],
  { accept, acceptLanguage }: WebRequest,
): A | undefined {
  const candidates = all.filter((it) => it.method === method);
  const wanted = normalizeVariant(accept) || undefined;
  const language = normalizeVariant(acceptLanguage) || undefined;
  const isSpoken = ({ vary }: IndexedAnswer) => vary?.["accept-language"] === language;
  const same = candidates.filter((it) => it.vary?.accept !== undefined && it.vary.accept === wanted);
  const exact = same.find(isSpoken) ?? same[0];
  if (exact !== undefined) return exact;
  const untyped = candidates.filter((it) => it.vary?.accept === undefined);
  const neutral = untyped.find(isSpoken) ?? untyped.find((it) => it.vary === undefined) ?? untyped[0];
  if (untyped.length === candidates.length) return neutral;
  const ranges = parseAccept(wanted ?? "*/*");
  let best = neutral;
  let quality = neutral === undefined ? 0 : qualityOf(neutral, ranges);
  for (const it of candidates) {
    const its = qualityOf(it, ranges);
    if (its > quality) [best, quality] = [it, its];
  }
  return best;
}

interface MediaRange {
  type: string;
  quality: number;
}

/** Longest Accept that is read. */
const MAX_ACCEPT_LENGTH = 8192;

function parseAccept(text: string): MediaRange[] {
  return text
    .slice(0, MAX_ACCEPT_LENGTH)
    .split(",")
    .map((part) => {
      const [type = "", ...parameters] = part.split(";").map((it) => it.trim().toLowerCase());
      const q = parameters.find((it) => it.startsWith("q="))?.slice(2);
      const quality = q === undefined ? 1 : Number(q);
      return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 };
    });
}

/** The quality that the most specific range gives the answer's type; 0: it is not accepted. */
function qualityOf({ headers }: IndexedAnswer, ranges: readonly MediaRange[]): number {
  const type = (headers["content-type"] ?? "application/octet-stream").replace(/;.*$/s, "").trim().toLowerCase();
  for (const range of [type, type.replace(/\/.*$/, "/*"), "*/*"]) {
    const found = ranges.find((it) => it.type === range);
    if (found !== undefined) return found.quality;
  }
  return 0;
}
