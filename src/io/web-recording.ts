/**
 * The folder of a recording: `answers.jsonl`, one JSON object a line for each finished answer, and bodies by digest in
 * `blobs/sha256/`. The recorder appends, and may be killed at any instant; the last line of a key counts. Everything
 * read from it is checked. docs/manifest.md, "web".
 */
import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, hexOf, isDigest, RunningDigest } from "./digest.ts";
import { parseJson } from "./json.ts";
import { answerKey, isKeptStatus, keptHeaders, MAX_WEB_ANSWERS, variantOf, type WebAnswer } from "./web-answer.ts";
import { normalizeWebUrl, secretParameter } from "./web-url.ts";

/** A line of `answers.jsonl`. */
export interface RecordedAnswer extends WebAnswer {
  /** Of the body as identity; of the empty one where there is none. */
  digest: Digest;
  /** Bytes of the body. */
  size: number;
  /** Where it was redirected, when none of these URLs grants access. Only for people. */
  redirects?: string[];
  /** RFC 3339. */
  time: string;
}

/** What a folder holds. */
interface Recording {
  /** Sorted by URL, method and variant; the newest of each. */
  answers: RecordedAnswer[];
  /** Of the lines that were read. */
  digest: Digest;
  /** What is wrong with lines that are not used, and how many are. */
  unused: ReadonlyMap<string, number>;
}

const ANSWERS_FILE = "answers.jsonl";
/** Longest line, in bytes. */
const MAX_LINE_BYTES = 256 * 1024;
/** Most lines that are read. */
const MAX_LINES = 2_000_000;

/** No link is followed, and nobody waits for the other end of a pipe. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Path of the file of answers in a recording's folder. */
export function answersFile(folder: string): string {
  return join(folder, ANSWERS_FILE);
}

/** Path, below a recording's folder and with slashes, of the body with this digest. */
export function bodyPath(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

/** An answer as a line of `answers.jsonl`, with its line feed. */
export function answerLine({ url, method, status, headers, vary, ...rest }: RecordedAnswer): string {
  const { digest, size, redirects, time } = rest;
  return `${JSON.stringify({ url, method, status, headers, vary, digest, size, redirects, time })}\n`;
}

/**
 * Reads the answers of a recording. A torn last line is ignored; other lines that are no answers, or that must not be
 * carried, are counted in `unused`.
 * @throws {NodeJS.ErrnoException} when `answers.jsonl` cannot be read
 * @throws {Error} for more lines or answers than the bounds
 */
export async function readRecording(folder: string): Promise<Recording> {
  const file = answersFile(folder);
  if (!(await lstat(file)).isFile()) throw new Error(`${ANSWERS_FILE} is not a regular file`);
  const found = new Map<string, RecordedAnswer>();
  const unused = new Map<string, number>();
  const running = new RunningDigest();
  for await (const line of linesOf(file, running)) {
    try {
      if (line === undefined) throw new Error(`is longer than ${MAX_LINE_BYTES} bytes`);
      const answer = parseAnswer(line);
      found.set(answerKey(answer), answer);
    } catch (error) {
      const { message } = error as Error;
      unused.set(message, (unused.get(message) ?? 0) + 1);
    }
    if (found.size > MAX_WEB_ANSWERS) throw new Error(`it has more than ${MAX_WEB_ANSWERS} answers`);
  }
  const answers = [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, it]) => it);
  return { answers, digest: running.digest(), unused };
}

/** Whole lines without their line feeds; undefined for one that is too long. */
async function* linesOf(file: string, running: RunningDigest): AsyncGenerator<string | undefined> {
  let rest: Buffer[] = [];
  let length = 0;
  let count = 0;
  await using handle = await open(file, READ_FLAGS);
  const stream = handle.createReadStream({ highWaterMark: 1 << 18, autoClose: false });
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    running.update(chunk);
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const size = length + end - start;
      if (++count > MAX_LINES) throw new Error(`it has more than ${MAX_LINES} lines`);
      yield size > MAX_LINE_BYTES ? undefined : Buffer.concat([...rest, chunk.subarray(start, end)]).toString("utf8");
      rest = [];
      length = 0;
      start = end + 1;
    }
    length += chunk.length - start;
    if (length <= MAX_LINE_BYTES) rest.push(Buffer.from(chunk.subarray(start)));
    else rest = [];
  }
}

/**
 * One line of `answers.jsonl`. Headers that are not kept are left out, the URL is brought into its normal form.
 * @throws {Error} with a readable fault, which quotes nothing of the line
 */
export function parseAnswer(line: string): RecordedAnswer {
  let value: unknown;
  try {
    value = parseJson(line);
  } catch {
    throw new Error("is not JSON");
  }
  if (!isRecord(value)) throw new Error("is not an object");
  const { url, method, status, headers, vary, digest, size, time } = value;
  if (typeof url !== "string") throw new Error("has no URL");
  const normal = normalizeWebUrl(url);
  if (secretParameter(normal) !== undefined) throw new Error("has a URL that grants access");
  if (method !== "GET" && method !== "HEAD") throw new Error("is of another method than GET and HEAD");
  if (typeof status !== "number" || !isKeptStatus(status)) throw new Error("is of a status that is not carried");
  if (!isDigest(digest)) throw new Error("has no digest");
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw new Error("has no size");
  if (typeof time !== "string" || !/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(time)) throw new Error("has no time");
  const variant = variantOf(textsOf(vary), "accept, accept-language");
  return {
    url: normal,
    method,
    status,
    headers: keptHeaders(textsOf(headers), method),
    ...(variant && { vary: variant }),
    digest,
    size,
    time,
  };
}

function textsOf(value: unknown): Record<string, string> {
  if (!isRecord(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((it): it is [string, string] => typeof it[1] === "string"));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
