import t from "tap";
import { normalizeWebUrl, secretParameter, targetWithoutDots } from "../../src/io/web-url.ts";

t.test("normalizeWebUrl() gives one spelling of a URL", async (t) => {
  const cases = new Map([
    ["HTTPS://PyPI.org:443/simple/six/", "https://pypi.org/simple/six/"],
    ["http://h.example:80", "http://h.example/"],
    ["https://Files.example./x", "https://files.example/x"],
    ["http://files.example.:8080", "http://files.example:8080/"],
    ["http://files.example%2e:80/a.", "http://files.example/a."],
    ["http://127.0.0.1.:8080/", "http://127.0.0.1:8080/"],
    ["http://h.example:443/a", "http://h.example:443/a"],
    ["http://[2001:DB8::1]:8080/a", "http://[2001:db8::1]:8080/a"],
    ["https://h.example/pool/gcc_1%2bdeb12u1.deb", "https://h.example/pool/gcc_1+deb12u1.deb"],
    ["https://h.example/%7euser/%41", "https://h.example/~user/A"],
    ["https://h.example/@scope%2fname", "https://h.example/@scope%2Fname"],
    ["https://h.example/a%3A2%40b", "https://h.example/a:2@b"],
    ["https://h.example/a|b^c\"d'e[f]", "https://h.example/a%7Cb%5Ec%22d'e%5Bf%5D"],
    ["https://h.example/ü/%c3%bc", "https://h.example/%C3%BC/%C3%BC"],
    ["https://h.example/100%", "https://h.example/100%25"],
    ["https://h.example/a%zz", "https://h.example/a%25zz"],
    ["https://h.example//a//", "https://h.example//a//"],
    ["https://h.example/a#b?c", "https://h.example/a"],
    ["https://h.example?a=b", "https://h.example/?a=b"],
    ["https://h.example/t?scope=repository%3Aa%2Fb%3Apull", "https://h.example/t?scope=repository:a/b:pull"],
    // What divides a query keeps its meaning.
    ["https://h.example/?a=1%262%3d3%2b4", "https://h.example/?a=1%262%3D3%2B4"],
    ["https://h.example/?a=1+2&b", "https://h.example/?a=1+2&b"],
    ["https://h.example/a/?x=../..", "https://h.example/a/?x=../.."],
    ["https://h.example/a...b/.../.well-known", "https://h.example/a...b/.../.well-known"],
  ]);
  for (const [text, expected] of cases) {
    t.equal(normalizeWebUrl(text), expected);
    t.equal(normalizeWebUrl(expected), expected, "again");
    t.equal(new URL(expected).href.replace(/^(\w+:\/\/[^/]+)$/, "$1/"), expected, "clients ask for exactly that");
  }
});

t.test("normalizeWebUrl() refuses what is not an address of a web server", async (t) => {
  const cases = new Map([
    ["", /not an http/],
    ["ftp://h/a", /not an http/],
    ["https:/h/a", /not an http/],
    ["//h/a", /not an http/],
    ["https:///a", /host/],
    ["https://../a", /host/],
    ["https://a=b/", /host/],
    ["https://a../", /host/],
    ["https://./", /host/],
    [`https://${"a.".repeat(130)}example/`, /host/],
    ["https://a b/", /white space/],
    ["https://h:99999/", /host/],
    ["https://[::1/", /host/],
    ["https://user:SECRET@h/", /user or password/],
    ["https://SECRET@h/", /user or password/],
    ["https://h/a/../b", /segment/],
    ["https://h/a/%2e%2E/b", /segment/],
    ["https://h/.", /segment/],
    ["https://h/a\\..\\b", /backslash/],
    ["https://h/a\r\nHost: b", /white space/],
    ["https://h/a\tb", /white space/],
    ["https://h/\ud800", /Unicode/],
    [`https://h/${"a".repeat(9000)}`, /longer than 8192/],
    [`https://h/${"ü".repeat(4000)}`, /longer than 8192/],
  ]);
  for (const [text, fault] of cases) t.throws(() => normalizeWebUrl(text), fault, text.slice(0, 40));
});

t.test("targetWithoutDots() resolves what has dots, and nothing else", async (t) => {
  const resolved = { "/./Packages": "/Packages", "/a/../b//./c?x=/./y": "/b/c?x=/./y", "/a/.": "/a/", "/..": "/" };
  for (const [target, expected] of Object.entries(resolved)) t.equal(targetWithoutDots(target), expected);
  for (const it of ["/a//b", "/.a/..b/c.", "/a?b=/../c", "/", "*"]) t.equal(targetWithoutDots(it), it);
});

t.test("secretParameter() names what grants access, and nothing else", async (t) => {
  const secret = [
    "X-Amz-Signature",
    "x-amz-credential",
    "X-Goog-Signature",
    "Signature",
    "sig",
    "token",
    "access_token",
    "private_token",
    "accessToken",
    "Key-Pair-Id",
    "api_key",
    "apikey",
    "license_key",
    "subscription-key",
    "AWSAccessKeyId",
    "client_secret",
    "password",
    "%74oken",
  ];
  for (const name of secret) {
    t.equal(secretParameter(`https://h/a?b=c&${name}=x`), decodeURIComponent(name));
    t.equal(secretParameter(`/a?${name}`), decodeURIComponent(name));
    t.equal(secretParameter(`/a#b&${name}=x`), decodeURIComponent(name));
  }
  for (const it of [
    "key=AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "code=0123456789abcdef0123",
    "Code=4%2F0AX4XfWhabcdefghi",
  ])
    t.equal(secretParameter(`https://h/a?${it}`)?.toLowerCase(), it.replace(/=.*/, "").toLowerCase(), it);
  const values = ["code=de", "code=404", "key=name", "key=linux-headers-generic", "key=0x3B4FE6ACC0B21F32"];
  for (const it of [...values, `key=${"0123456789ABCDEF".repeat(3).slice(0, 40)}`])
    t.equal(secretParameter(`https://h/a?${it}`), undefined, it);
  const plain = ["https://h/token", "https://h/a", "https://h/a?b=token", "https://h/a?go-get=1"];
  const names = [
    "service",
    "scope",
    "format",
    "key",
    "assign",
    "design",
    "author",
    "expires",
    "version",
    "repo",
    "arch",
  ];
  for (const url of [...plain, ...names.map((it) => `https://h/a?${it}=x`)])
    t.equal(secretParameter(url), undefined, url);
});
