/** When to ask again: Retry-After in its forms, and the back-off. */
import t from "tap";
import { backoffMs, parseRetryAfter } from "../../src/http/retry.ts";

t.test("parseRetryAfter() knows seconds and the three forms of HTTP dates", (t) => {
  const now = Date.UTC(1994, 10, 6, 8, 49, 7);
  const cases = new Map<string | undefined, number | undefined>([
    ["120", 120_000],
    ["0", 0],
    ["Sun, 06 Nov 1994 08:49:37 GMT", 30_000],
    ["Sunday, 06-Nov-94 08:49:37 GMT", 30_000],
    ["Sun Nov  6 08:49:37 1994", 30_000],
    ["Sun, 06 Nov 1994 08:00:00 GMT", 0],
    ["soon", undefined],
    ["-5", undefined],
    ["", undefined],
    [undefined, undefined],
  ]);
  for (const [value, expected] of cases) t.equal(parseRetryAfter(value, now), expected, String(value));
  t.end();
});

t.test("backoffMs() doubles with jitter, never undercuts Retry-After, and has caps", (t) => {
  const backoff = { baseMs: 100, maxMs: 1000, maxRetryAfterMs: 5000 };
  for (const [failures, most] of [
    [1, 100],
    [2, 200],
    [4, 800],
    [9, 1000],
    [5000, 1000],
  ] as const) {
    const ms = backoffMs(failures, undefined, backoff);
    t.ok(ms >= most / 2 && ms <= most, `${ms}`);
  }
  const asked = backoffMs(1, 3000, backoff);
  t.ok(asked >= 3000 && asked <= 3300);
  t.ok(backoffMs(1, 1e9, backoff) <= 5500);
  t.end();
});
