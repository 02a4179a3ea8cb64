/** Preconditions and ranges as RFC 9110 has them. */
import t from "tap";
import { checkPreconditions, MAX_RANGES, parseRanges } from "../../../src/server/http/ranges.ts";

const ETAG = '"sha256:aa"';

t.test("parseRanges() reads what clients send", async (t) => {
  const cases = new Map<string, string>([
    ["bytes=0-0", "0-1"],
    ["bytes=0-99", "0-100"],
    ["bytes=0-1000", "0-100"],
    ["bytes=99-", "99-100"],
    ["bytes=0-", "0-100"],
    ["bytes=-1", "99-100"],
    ["bytes=-1000", "0-100"],
    ["bytes=0-9,20-29", "0-10 20-30"],
    ["bytes= 0-9 , 20-29", "0-10 20-30"],
    ["BYTES=5-6", "5-7"],
    ["bytes=200-300,1-2", "1-3"],
    ["bytes=0-99999999999999", "0-100"],
  ]);
  for (const [range, expected] of cases) {
    const ranges = parseRanges({ range }, ETAG, 100);
    t.equal(Array.isArray(ranges) ? ranges.map((it) => `${it.start}-${it.end}`).join(" ") : ranges, expected, range);
  }
});

t.test("parseRanges() answers 416 for ranges that cannot be", async (t) => {
  const bad = new Map<string, string>([
    ["bytes=100-", "begins at the end"],
    ["bytes=100-200", "wholly behind the end"],
    ["bytes=-0", "no bytes"],
    ["bytes=5-4", "ends before it begins"],
    ["bytes=", "no range"],
    ["bytes=-", "neither first nor last"],
    ["bytes=a-b", "not numbers"],
    ["bytes=0-1,x", "one of several is malformed"],
    ["bytes=0x1-0x2", "not decimal"],
    ["bytes=0--1", "negative"],
    ["bytes=99999999999999999999-", "too many digits"],
  ]);
  for (const [range, why] of bad) t.equal(parseRanges({ range }, ETAG, 100), "unsatisfiable", why);
  t.equal(parseRanges({ range: "bytes=0-" }, ETAG, 0), undefined, "an empty file has no part, and is sent whole");
});

t.test("parseRanges() leaves to the whole what is not for it", async (t) => {
  t.equal(parseRanges({}, ETAG, 100), undefined, "no range");
  t.equal(parseRanges({ range: "lines=1-2" }, ETAG, 100), undefined, "another unit");
  t.equal(parseRanges({ range: "bytes=0-99,0-99" }, ETAG, 100), undefined, "more than the whole");
  const many = (count: number) => `bytes=${Array.from({ length: count }, (_, i) => `${i}-${i}`).join(",")}`;
  t.equal(parseRanges({ range: many(MAX_RANGES + 1) }, ETAG, 1000), undefined, "too many");
  t.equal(parseRanges({ range: many(MAX_RANGES) }, ETAG, 1000)?.length, MAX_RANGES, "as many as may be");
  t.same(parseRanges({ range: "bytes=1-1", "if-range": ETAG }, ETAG, 100), [{ start: 1, end: 2 }], "If-Range holds");
  for (const ifRange of ['"other"', `W/${ETAG}`, "Mon, 23 Nov 2026 10:00:00 GMT"]) {
    t.equal(parseRanges({ range: "bytes=1-1", "if-range": ifRange }, ETAG, 100), undefined, `If-Range ${ifRange}`);
  }
});

t.test("checkPreconditions() compares tags", async (t) => {
  const cases: [Record<string, string>, number][] = [
    [{}, 200],
    [{ "if-none-match": ETAG }, 304],
    [{ "if-none-match": `W/${ETAG}` }, 304],
    [{ "if-none-match": `"x", ${ETAG}` }, 304],
    [{ "if-none-match": "*" }, 304],
    [{ "if-none-match": '"x"' }, 200],
    [{ "if-match": ETAG }, 200],
    [{ "if-match": "*" }, 200],
    [{ "if-match": '"x"' }, 412],
    [{ "if-match": `W/${ETAG}` }, 412],
    [{ "if-match": '"x"', "if-none-match": ETAG }, 412],
  ];
  for (const [headers, status] of cases) t.equal(checkPreconditions(headers, ETAG), status, JSON.stringify(headers));
});
