/**
 * How the faults of one transfer read, and whether each is worth another attempt.
 */

import { AttemptFailure, upstreamError } from "../http/failure.ts";
import type { Opened } from "../http/send-request.ts";
import { lengthOf } from "./answer.ts";

function sizeHint(opened: Opened): string {
  return `look at what ${opened.url.host} sends; if upstream published something new, run: airferry lock MANIFEST --update`;
}

/** The body ended too early. A complete one that is too short is a wrong size; anything else continues. */
export function tooShort(
  url: string,
  opened: Opened,
  how: string,
  have: number,
  wanted: number | undefined,
): AttemptFailure {
  const { headers } = opened.exchange;
  const framed = headers["transfer-encoding"] !== undefined || lengthOf(opened) !== undefined;
  const whole = headers["content-range"] === undefined;
  const expected = wanted === undefined ? "the end of the body" : `${wanted} bytes`;
  const actual = `${have} bytes`;
  if (how === "end" && framed && whole) {
    return new AttemptFailure(
      upstreamError("ERR_UPSTREAM_SIZE", url, "the body is shorter than it should be", {
        expected,
        actual,
        hint: sizeHint(opened),
      }),
      { distrust: true },
    );
  }
  const stall = opened.exchange.stalled();
  const fault = stall === undefined ? "the connection was cut" : `the transfer stalled: ${stall}`;
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM", url, fault, {
      expected,
      actual,
      hint: "the network or upstream is unsteady; run the command again: it continues where it stopped",
    }),
    { transient: true, stalled: stall !== undefined },
  );
}

/** More than `cap` bytes, by Content-Length (`announced`) or on the way. `limited`: the cap is a limit and not the size. */
export function tooLarge(
  url: string,
  opened: Opened,
  cap: number,
  limited: boolean,
  announced: number | undefined,
): AttemptFailure {
  return new AttemptFailure(
    upstreamError(
      "ERR_UPSTREAM_SIZE",
      url,
      limited ? "the body is larger than allowed" : "the body is larger than it should be",
      {
        expected: `${limited ? "at most " : ""}${cap} bytes`,
        actual: announced === undefined ? "more" : `${announced} bytes`,
        hint: sizeHint(opened),
      },
    ),
    { distrust: announced === undefined },
  );
}

/** Another size than the lock says; nothing has been taken. */
export function wrongSize(
  url: string,
  opened: Opened,
  wanted: { size?: number | undefined; etag?: string | undefined },
  got: number,
): AttemptFailure {
  const { etag } = opened.exchange.headers;
  const moved = wanted.etag !== undefined && etag !== undefined && etag !== wanted.etag;
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_SIZE", url, moved ? "upstream changed since it was locked" : "wrong size", {
      expected: `${wanted.size} bytes`,
      actual: `${got} bytes`,
      hint: sizeHint(opened),
    }),
  );
}

/** Upstream has something else now than what the bytes in place came from: start over at once. */
export function changed(url: string, expected: string, actual: string): AttemptFailure {
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_CHANGED", url, "upstream changed in the middle of the transfer", {
      expected,
      actual,
      hint: "upstream is being updated; run the command again when it is settled",
    }),
    { transient: true, free: true, distrust: true },
  );
}

/** A 206 that is not what was asked for. What is in place stays good; the mirror is asked for the whole instead. */
export function unfitPart(url: string, opened: Opened, expected: string): AttemptFailure {
  const { headers } = opened.exchange;
  const actual = headers["content-range"] ?? headers["content-type"] ?? "no Content-Range";
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, "the partial answer does not fit", { expected, actual }),
    { transient: true, free: true },
  );
}

/** A 206 to a request without Range. */
export function unrequestedRange(url: string): AttemptFailure {
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, "upstream sent a part (206) although the whole was asked for", {
      hint: "name another mirror",
    }),
  );
}
