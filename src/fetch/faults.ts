/**
 * The messages for faults of one transfer, and whether each is worth another attempt.
 */

import { AirferryError, type Problem } from "../errors.ts";
import { AttemptFailure, upstreamError } from "../http/failure.ts";
import type { Opened } from "../http/send-request.ts";
import { plural } from "../io/format.ts";
import { lengthOf } from "./answer.ts";

function sizeHint(opened: Opened): string {
  return `check what ${opened.url.host} sends; if upstream published something new, run: airferry lock MANIFEST --update`;
}

/** The body ended too early. A complete but short one has a wrong size; anything else is resumed. */
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
      hint: "the network or upstream is unstable; run the same command to resume",
    }),
    { transient: true, stalled: stall !== undefined },
  );
}

/**
 * More than `cap` bytes, by Content-Length (`announced`) or while reading. `limited`: the cap is a limit and not the
 * size.
 */
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

/** Another size than in the lock; nothing was read. */
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

/** Upstream's file is no longer the one that the bytes in place came from: restart at once. */
export function changed(url: string, expected: string, actual: string): AttemptFailure {
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_CHANGED", url, "upstream changed during the transfer", {
      expected,
      actual,
      hint: "upstream is being updated; run the command again once that is finished",
    }),
    { transient: true, free: true, distrust: true },
  );
}

/**
 * A 206 that does not match the request. The bytes in place stay valid; the whole is requested from the mirror instead.
 */
export function unfitPart(url: string, opened: Opened, expected: string): AttemptFailure {
  const { headers } = opened.exchange;
  const actual = headers["content-range"] ?? headers["content-type"] ?? "no Content-Range";
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, "the partial response does not match the request", { expected, actual }),
    { transient: true, free: true },
  );
}

/** A 206 to a request without Range. */
export function unrequestedRange(url: string): AttemptFailure {
  return new AttemptFailure(
    upstreamError("ERR_UPSTREAM_INVALID", url, "upstream sent a part (206), but the whole file was requested", {
      hint: "name another mirror",
    }),
  );
}

/** The error for several failed mirrors: that of one of them, with the `problems` of all. */
export function withOtherMirrors(main: AirferryError, problems: readonly Problem[]): AirferryError {
  const { code, message, hint, path, expected, actual, cause } = main;
  const others = plural(problems.length - 1, "other mirror");
  return new AirferryError(code, `${message} (and ${others} failed)`, {
    hint,
    path,
    expected,
    actual,
    cause,
    problems,
  });
}
