/**
 * Resuming: which Range and If-Range to send, and what the response means for the bytes in place.
 * RFC 9110 sections 13.1.5, 14.2, 14.4 and 15.3.7. No I/O.
 */
import type { IncomingHttpHeaders } from "node:http";

/** Proves that two responses of one URL have the same bytes. */
export interface Validator {
  /** In recordable form. */
  url: string;
  etag?: string;
  lastModified?: string;
}

interface ContentRange {
  /** Both undefined for an unsatisfied range: bytes * / size. */
  start: number | undefined;
  end: number | undefined;
  /** Undefined when upstream does not say. */
  size: number | undefined;
}

/** Parses a Content-Range of the bytes unit; undefined when it is invalid. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const match = /^\s*bytes\s+(?:(\d{1,15})-(\d{1,15})|\*)\s*\/\s*(\d{1,15}|\*)\s*$/i.exec(value ?? "");
  if (!match) return undefined;
  const number = (text: string | undefined) => (text === undefined || text === "*" ? undefined : Number(text));
  const [start, end, size] = [number(match[1]), number(match[2]), number(match[3])];
  if (start !== undefined && end !== undefined && (start > end || (size !== undefined && end >= size)))
    return undefined;
  if (start === undefined && size === undefined) return undefined;
  return { start, end, size };
}

/** The ETag if it is a strong one: only those mean "the same bytes". */
export function strongEtag(headers: IncomingHttpHeaders): string | undefined {
  const etag = headers.etag;
  return etag !== undefined && /^"[^"]*"$/.test(etag) ? etag : undefined;
}

/** Reads the validator of a response for the requested URL. */
export function validatorOf(url: string, headers: IncomingHttpHeaders): Validator {
  const etag = strongEtag(headers);
  const lastModified = headers["last-modified"];
  return {
    url,
    ...(etag !== undefined && { etag }),
    ...(lastModified !== undefined && !Number.isNaN(Date.parse(lastModified)) && { lastModified }),
  };
}

export type ResumePlan =
  /** Request everything; `restart` if the bytes in place cannot be resumed. */
  | { kind: "whole"; restart: boolean }
  /** Request the rest. `conditional`: only if it is still the same. */
  | { kind: "rest"; from: number; ifRange: string | undefined /** Only up to here, exclusive. */; to?: number };

/**
 * Decides how to resume at `position`. From the URL that the bytes came from, with its validator; from any other, or
 * without a validator, by plain range, but only if a digest verifies the result (`checked`).
 */
export function planResume(
  position: number,
  url: string,
  validator: Validator | undefined,
  checked: boolean,
  rangesAllowed: boolean,
): ResumePlan {
  if (position === 0) return { kind: "whole", restart: false };
  // The bytes in place are dropped when the whole body starts to arrive.
  if (!rangesAllowed) return { kind: "whole", restart: false };
  if (validator?.url === url) {
    const ifRange = validator.etag ?? validator.lastModified;
    if (ifRange !== undefined) return { kind: "rest", from: position, ifRange };
  }
  return checked ? { kind: "rest", from: position, ifRange: undefined } : { kind: "whole", restart: true };
}
