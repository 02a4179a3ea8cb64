/** What counts as a plain GET: nothing whose answer could depend on more than its target, and nothing that Node would refuse. */
import t from "tap";
import { PlainRequests } from "../../../src/server/http/plain-request.ts";

const requests = new PlainRequests();
const parse = (text: string) => requests.parse(Buffer.from(text, "latin1"));
const get = (target: string, ...headers: string[]) =>
  ["GET ", target, " HTTP/1.1\r\n", ...headers.map((it) => `${it}\r\n`), "\r\n"].join("");

t.test("plain requests", async (t) => {
  t.same(parse(get("/files/a.rpm", "Host: h:9000", "User-Agent: dnf/4", "Accept: */*")), {
    url: "/files/a.rpm",
    headers: { host: "h:9000", agent: "dnf/4", forwardedFor: undefined },
  });
  t.same(parse(get("/a", "host:[::1]:80", "Connection: Keep-Alive", "X-Libdnf: 1", "Sec-Fetch-Mode: cors")), {
    url: "/a",
    headers: { host: "[::1]:80", agent: undefined, forwardedFor: undefined },
  });
  t.equal(parse(get("/b", "Host: h:9000", "User-Agent: dnf/4", "Accept: */*"))?.url, "/b", "headers that are known");
});

const OTHERS = new Map([
  [get("/a"), "no Host"],
  [get("/a", "Host: a", "Host: a"), "two of them"],
  [get("/a", "Host: a b"), "none that a URL can have"],
  [get("/a", "Host:"), "an empty one"],
  [get("/a", "Host: a", "Range: bytes=0-1"), "a range"],
  [get("/a", "Host: a", "If-None-Match: *"), "a condition"],
  [get("/a", "Host: a", "if-range: x"), "a condition in lower case"],
  [get("/a", "Host: a", "Connection: close"), "an end"],
  [get("/a", "Host: a", "Connection: keep-alive, upgrade"), "more than keep-alive"],
  [get("/a", "Host: a", "Content-Length: 0"), "a body"],
  [get("/a", "Host: a", "Transfer-Encoding: chunked"), "a body of chunks"],
  [get("/a", "Host: a", "Expect: 100-continue"), "an expectation"],
  [get("/a", "Host: a", "Upgrade: h2c"), "another protocol"],
  [get("/a", "Host: a", "Authorization: Basic x"), "a login"],
  [get("/a", "Host: a", "TE: trailers"), "a header that is not known"],
  [get("/a", "Host: a", " folded: x"), "a folded line"],
  [get("/a", "Host : a"), "a space before the colon"],
  [get("/a", "Host: a", "Accept: \u0001"), "a control character"],
  [get("/a", "Host: a", "Accept: \u00e9"), "not ASCII"],
  [get("/a", "Host: a", "no colon"), "no header at all"],
  [get("a", "Host: a"), "no path"],
  [get("http://h/a", "Host: a"), "an absolute target"],
  [get("*", "Host: a"), "an asterisk"],
  ["GET /a HTTP/1.0\r\nHost: a\r\n\r\n", "HTTP/1.0"],
  ["GET /a HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/2.0"],
  ["GET /a\r\n\r\n", "HTTP/0.9"],
  ["HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD"],
  ["get /a HTTP/1.1\r\nHost: a\r\n\r\n", "lower case"],
  [" GET /a HTTP/1.1\r\nHost: a\r\n\r\n", "a space first"],
  ["\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", "an empty line first"],
  ["GET  /a HTTP/1.1\r\nHost: a\r\n\r\n", "two spaces"],
  ["GET /a  HTTP/1.1\r\nHost: a\r\n\r\n", "two spaces behind"],
  ["GET /a HTTP/1.1\nHost: a\n\n", "bare line feeds"],
  ["GET /a HTTP/1.1\r\nHost: a\nAccept: x\r\n\r\n", "a bare line feed between"],
  ["GET /a HTTP/1.1\r\nHost: a\r\n", "not all of it"],
  [`${get("/a", "Host: a")}${get("/b", "Host: a")}`, "two requests"],
  [`${get("/a", "Host: a")}x`, "more behind it"],
  [`${get("/a", "Host: a")}\r\n\r\n`, "empty lines behind it"],
  [get("/a", "Host: a", `X-Long: ${"x".repeat(5000)}`), "long"],
  ["", "nothing"],
]);

t.test("all others", async (t) => {
  for (const [text, why] of OTHERS) t.equal(parse(text), undefined, why);
  for (const [text, why] of OTHERS) t.equal(parse(text), undefined, `${why}, again`);
});
