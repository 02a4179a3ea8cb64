/** The parts of the engine that are pure text: rewrites, netrc, Retry-After, Content-Range, nearness. */
import t from "tap";
import { parseContentRange, planResume } from "../../src/fetch/resume.ts";
import { parseNetrc, readNetrc } from "../../src/http/netrc.ts";
import { networkRank } from "../../src/http/network-rank.ts";
import { backoffMs, parseRetryAfter } from "../../src/http/retry.ts";
import { rewriteUrl } from "../../src/http/rewrite.ts";
import { redactText } from "../../src/io/redact.ts";

t.test("rewriteUrl() replaces prefixes and hosts at their boundaries", (t) => {
  const rules = [
    { from: "https://dl.example.org/pub/", to: "http://mirror.corp/dl/" },
    { from: "https://dl.example.org/pub/special/", to: "http://special.corp/" },
    { from: "https://bare.example.org", to: "http://mirror.corp:8080/bare/" },
    { from: "registry.example.com", to: "127.0.0.1:5000" },
    { from: "docker.io", to: "harbor.corp/hub" },
    { from: "quay.io:443", to: "http://quay.corp" },
  ];
  const cases = new Map([
    ["https://dl.example.org/pub/x?y=1", "http://mirror.corp/dl/x?y=1"],
    ["https://dl.example.org/pub/special/x", "http://special.corp/x"],
    ["https://dl.example.org/public/x", "https://dl.example.org/public/x"],
    ["https://bare.example.org/x", "http://mirror.corp:8080/bare/x"],
    ["https://bare.example.org", "http://mirror.corp:8080/bare/"],
    ["https://bare.example.org.evil/x", "https://bare.example.org.evil/x"],
    ["https://bare.example.org@evil/x", "https://bare.example.org@evil/x"],
    ["http://registry.example.com/v2/a/manifests/1", "http://127.0.0.1:5000/v2/a/manifests/1"],
    ["https://registry.example.com:444/v2/", "https://registry.example.com:444/v2/"],
    ["https://xregistry.example.com/v2/", "https://xregistry.example.com/v2/"],
    ["https://registry-1.docker.io/v2/library/x/blobs/1", "https://harbor.corp/v2/hub/library/x/blobs/1"],
    ["https://quay.io/v2/a/", "http://quay.corp/v2/a/"],
  ]);
  for (const [url, expected] of cases) t.equal(rewriteUrl(url, rules), expected);
  t.end();
});

t.test("parseNetrc() reads what curl reads", (t) => {
  const text = [
    "# a comment with machine x login y password z",
    "machine one.example login a password b",
    "machine two.example",
    "\tlogin c",
    "\taccount ignored",
    '\tpassword "d \\"e\\" f"',
    "macdef init",
    "machine macro.example login no password no",
    "",
    "machine one.example login second password second",
    "machine hash.example login h password #notacomment",
    "default login anonymous password me@",
  ].join("\n");
  t.strictSame(
    [...parseNetrc(text)],
    [
      ["one.example", { login: "a", password: "b" }],
      ["two.example", { login: "c", password: 'd "e" f' }],
      ["hash.example", { login: "h", password: "#notacomment" }],
      ["", { login: "anonymous", password: "me@" }],
    ],
  );
  t.equal(readNetrc("/does/not/exist").size, 0);
  t.equal(parseNetrc("machine").size, 0);
  t.equal(parseNetrc("machine a login").get("a")?.login, "");
  t.end();
});

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

t.test("parseContentRange() accepts only what makes sense", (t) => {
  t.strictSame(parseContentRange("bytes 0-0/1"), { start: 0, end: 0, size: 1 });
  t.strictSame(parseContentRange("bytes 5-9/*"), { start: 5, end: 9, size: undefined });
  t.strictSame(parseContentRange("bytes */7"), { start: undefined, end: undefined, size: 7 });
  for (const bad of [
    undefined,
    "",
    "bytes",
    "bytes 1-0/5",
    "bytes 0-5/5",
    "bytes */*",
    "bytes 0-1/2, 3-4/5",
    "octets 0-0/1",
    "bytes -1-0/5",
  ]) {
    t.equal(parseContentRange(bad), undefined, String(bad));
  }
  t.end();
});

t.test("planResume() uses a validator for its own URL only", (t) => {
  const validator = { url: "a", etag: '"x"', lastModified: "y" };
  t.strictSame(planResume(0, "a", validator, true, true), { kind: "whole", restart: false });
  t.strictSame(planResume(5, "a", validator, false, true), { kind: "rest", from: 5, ifRange: '"x"' });
  t.strictSame(planResume(5, "b", validator, true, true), { kind: "rest", from: 5, ifRange: undefined });
  t.strictSame(planResume(5, "b", validator, false, true), { kind: "whole", restart: true });
  t.strictSame(planResume(5, "a", undefined, false, true), { kind: "whole", restart: true });
  t.strictSame(planResume(5, "a", validator, true, false), { kind: "whole", restart: false });
  t.end();
});

t.test("networkRank() tells this host, private networks and the rest", (t) => {
  const cases = new Map<string, number>([
    ["example.org", 0],
    ["8.8.8.8", 0],
    ["172.32.0.1", 0],
    ["[2001:db8::1]", 0],
    ["10.0.0.1", 1],
    ["172.16.0.1", 1],
    ["192.168.1.1", 1],
    ["[fd00::1]", 1],
    ["127.0.0.1", 2],
    ["0.0.0.0", 2],
    ["169.254.169.254", 3],
    ["localhost", 2],
    ["a.localhost", 2],
    ["[::1]", 2],
    ["[fe80::1]", 3],
    ["[::ffff:169.254.169.254]", 3],
    ["[::ffff:7f00:1]", 2],
    ["[::ffff:10.0.0.1]", 1],
  ]);
  for (const [host, rank] of cases) t.equal(networkRank(host), rank, host);
  t.end();
});

t.test("redactText() cleans messages of libraries", (t) => {
  t.equal(redactText("GET https://u:p@h/a failed"), "GET https://***@h/a failed");
  t.equal(redactText("sent Bearer abcdefgh.ijk"), "sent Bearer ***");
  t.end();
});
