/**
 * Answers of web servers as they are kept: what identifies one, and which of its headers. Used by whoever records,
 * packs and serves them. Nothing that grants access is kept. No I/O.
 */
import { secretParameter } from "./web-url.ts";

/** Request headers that an answer's `Vary` may name and that tell its variants apart. */
const VARIANTS = ["accept", "accept-language"] as const;

type WebVariant = { [K in (typeof VARIANTS)[number]]?: string };

/** One answer, without its body. */
export interface WebAnswer {
  /** In the form of `normalizeWebUrl()`, without a secret in its query. */
  url: string;
  method: "GET" | "HEAD";
  status: number;
  /** By lower-case name, sorted; only what `keptHeaders()` keeps. */
  headers: Record<string, string>;
  /** The request's headers that the answer's `Vary` names; absent when there are none. */
  vary?: WebVariant;
}

/** Most answers of a recording, and of a release. */
export const MAX_WEB_ANSWERS = 200_000;

/** Statuses of answers that are kept; others depend on who asked, or on the moment. */
const STATUSES = new Set([200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 410]);

/** Returns whether an answer of this status is kept. */
export function isKeptStatus(status: number): boolean {
  return STATUSES.has(status);
}

/** Content-Encoding is not among them: bodies are kept as identity. Content-Length is known from the body. */
const HEADERS = new Set([
  "accept-ranges",
  "cache-control",
  "content-disposition",
  "content-language",
  "content-type",
  "docker-content-digest",
  "docker-distribution-api-version",
  "etag",
  "last-modified",
  "link",
  "location",
  "vary",
  "x-checksum-md5",
  "x-checksum-sha1",
  "x-pypi-last-serial",
]);

/** As Node has them. */
type GivenHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Longest value of a header, in characters. */
const MAX_VALUE_LENGTH = 4096;
const PLAIN_VALUE = /^[\t -~]*$/;

/**
 * The headers of an answer that are kept: an allow-list, without values that are no plain text, longer than 4096
 * characters, or that lead to a URL with a user, a password, a token or a signature. For HEAD also Content-Length,
 * since there is no body that tells it.
 */
export function keptHeaders(headers: GivenHeaders, method: WebAnswer["method"] = "GET"): Record<string, string> {
  return withoutSecrets(possibleHeaders(headers, method)) ?? {};
}

/** The headers that an index may have, whether they grant access or not. */
export function possibleHeaders(headers: GivenHeaders, method: WebAnswer["method"]): Record<string, string> {
  const kept: [string, string][] = [];
  for (const [name, value] of Object.entries(headers)) {
    const lower = name.toLowerCase();
    const isKept = HEADERS.has(lower) || (method === "HEAD" && lower === "content-length");
    const text = typeof value === "string" ? value.trim() : value?.join(", ");
    if (isKept && text !== undefined && isPlain(text)) kept.push([lower, text]);
  }
  return Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function isPlain(value: string): boolean {
  const hasUser = /\/\/[^\s/?#<>"]*@/.test(value);
  return value.length <= MAX_VALUE_LENGTH && PLAIN_VALUE.test(value) && !hasUser;
}

/** Undefined for none. */
function withoutSecrets<T extends Record<string, string>>(texts: T | undefined): T | undefined {
  const kept = Object.entries(texts ?? {}).filter(([, it]) => secretParameter(it) === undefined);
  return kept.length === 0 ? undefined : (Object.fromEntries(kept) as T);
}

/**
 * The variant that an answer is of: the request's headers, white space made equal, that the answer's `Vary` names.
 * Undefined when there are none. Other headers in `Vary` are ignored.
 */
export function variantOf(request: GivenHeaders, vary: string | undefined): WebVariant | undefined {
  return withoutSecrets(possibleVariant(request, vary ?? ""));
}

/** The variant that an index may have, whether it grants access or not. */
export function possibleVariant(request: GivenHeaders, vary = "accept, accept-language"): WebVariant | undefined {
  const named = new Set(vary.toLowerCase().split(/[\s,]+/));
  const variant: WebVariant = {};
  for (const name of VARIANTS) {
    const value = request[name];
    const text = normalizeVariant(typeof value === "string" ? value : value?.join(", "));
    if (named.has(name) && text !== undefined && text !== "" && isPlain(text)) variant[name] = text;
  }
  return Object.keys(variant).length === 0 ? undefined : variant;
}

/** A value of Accept or Accept-Language with its white space made equal. */
export function normalizeVariant(value: string | undefined): string | undefined {
  return value
    ?.trim()
    .replace(/\s+/g, " ")
    .replace(/ ?([,;]) ?/g, "$1");
}

/** A text that is the same for two answers only if one replaces the other: method, URL and variant. */
export function answerKey({ method, url, vary }: Pick<WebAnswer, "method" | "url" | "vary">): string {
  return [url, method, vary?.accept ?? "", vary?.["accept-language"] ?? ""].join("\n");
}
