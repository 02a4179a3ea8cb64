/**
 * A request's preconditions and byte ranges. Pure functions over header text.
 * See RFC 9110, sections 13 (conditional requests) and 14 (range requests).
 */
import type { IncomingHttpHeaders } from "node:http";

/** Bytes from `start` up to `end`, exclusive. */
export interface ByteRange {
  start: number;
  end: number;
}

/** Ranges per request; more are answered with the whole representation. dnf's zchunk requests 256. */
export const MAX_RANGES = 256;

/**
 * Evaluates the request's preconditions: continue (200), 304 Not Modified or 412 Precondition Failed.
 * Dates are ignored, since representations here have no modification date.
 * @see RFC 9110, 13.2.2
 */
export function checkPreconditions(headers: IncomingHttpHeaders, etag: string): 200 | 304 | 412 {
  const ifMatch = headers["if-match"];
  if (ifMatch !== undefined && !matches(ifMatch, etag, false)) return 412;
  const ifNoneMatch = headers["if-none-match"];
  if (ifNoneMatch !== undefined && matches(ifNoneMatch, etag, true)) return 304;
  return 200;
}

function matches(list: string, etag: string, weakly: boolean): boolean {
  if (list.trim() === "*") return true;
  for (const [tag] of list.matchAll(/(?:W\/)?"[^"]*"/g)) {
    if (tag === etag || (weakly && tag === `W/${etag}`)) return true;
  }
  return false;
}

/**
 * Reads the Range of a GET against a representation of `size` bytes. Undefined: send all of it (no range, another unit,
 * If-Range does not match, or too many). "unsatisfiable": answer 416. Otherwise the satisfiable ranges as requested.
 */
export function parseRanges(
  headers: IncomingHttpHeaders,
  etag: string,
  size: number,
): readonly ByteRange[] | "unsatisfiable" | undefined {
  const range = headers.range;
  // Nothing has no part: a cache that fetches everything in parts still gets a file that is empty.
  if (range === undefined || size === 0) return undefined;
  const ifRange = headers["if-range"];
  // A date, a weak tag or another tag: the client's part may be from different bytes.
  if (ifRange !== undefined && ifRange !== etag) return undefined;
  const unit = /^\s*bytes\s*=/i.exec(range);
  if (unit === null) return undefined;

  const specs = range.slice(unit[0].length).split(",", MAX_RANGES + 1);
  if (specs.length > MAX_RANGES) return undefined;
  const ranges: ByteRange[] = [];
  let total = 0;
  for (const spec of specs) {
    const parsed = parseSpec(spec.trim(), size);
    if (parsed === "invalid") return "unsatisfiable";
    if (parsed === "outside") continue;
    ranges.push(parsed);
    total += parsed.end - parsed.start;
  }
  if (ranges.length === 0) return "unsatisfiable";
  // Overlapping ranges that together are more than the whole: RFC 9110, 14.2 lets the server ignore them.
  return ranges.length > 1 && total > size ? undefined : ranges;
}

function parseSpec(spec: string, size: number): ByteRange | "invalid" | "outside" {
  const match = /^(\d{0,16})-(\d{0,16})$/.exec(spec);
  if (match === null || spec === "-") return "invalid";
  const [, first = "", last = ""] = match;
  if (first === "") {
    const length = Math.min(Number(last), size);
    return length === 0 ? "outside" : { start: size - length, end: size };
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return "invalid";
  if (start >= size) return "outside";
  return { start, end: last === "" ? size : Math.min(Number(last) + 1, size) };
}
