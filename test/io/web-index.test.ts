import t from "tap";
import {
  findWebAnswer,
  type IndexedAnswer,
  parseWebIndex,
  readWebIndex,
  WEB_INDEX,
  type WebIndex,
} from "../../src/io/web-index.ts";

const six = "https://pypi.example/simple/six/";
const JSON_TYPE = "application/vnd.pypi.simple.v1+json";
const answer = (type: string, more: object = {}): IndexedAnswer => ({
  url: six,
  method: "GET",
  status: 200,
  headers: { "content-type": type },
  path: `web/pypi.example/simple/six/${type.replace(/\W+/g, "-")}`,
  ...more,
});
const index = (...answers: object[]): WebIndex => parseWebIndex(JSON.stringify({ answers }));

t.test("findWebAnswer() chooses the variant of a client as its server would", async (t) => {
  const json = answer(JSON_TYPE, { vary: { accept: `${JSON_TYPE},text/html;q=0.1` } });
  const html = answer("text/html; charset=utf-8", { vary: { accept: "text/html" } });
  const both = index(json, html);
  const cases: [accept: string | undefined, expected: object | undefined][] = [
    [`${JSON_TYPE}, text/html; q=0.1`, json],
    ["text/html", html],
    [`text/html;q=0.5,${JSON_TYPE};q=0.9`, json],
    ["text/*", html],
    ["application/*, text/html;q=0.1", json],
    [`${JSON_TYPE};q=0, */*`, html],
    ["image/png", undefined],
    ["*/*", json],
    [undefined, json],
    ["*/*;q=nonsense", undefined],
    [",;,;q=1,".repeat(10_000), undefined],
  ];
  for (const [accept, expected] of cases)
    t.strictSame(findWebAnswer(both, { url: six, method: "GET", accept }), expected, `${accept?.slice(0, 60)}`);
  const plain = answer("text/html");
  t.strictSame(
    findWebAnswer(index(json, plain), { url: six, method: "GET", accept: "*/*" }),
    plain,
    "it does not vary",
  );
  t.strictSame(findWebAnswer(index(json, plain), { url: six, method: "GET", accept: "image/png" }), plain);
  t.strictSame(findWebAnswer(index(json, plain), { url: six, method: "GET", accept: JSON_TYPE }), json);
  const german = answer("text/html", { vary: { "accept-language": "de" } });
  const find = (acceptLanguage?: string) =>
    findWebAnswer(index(german, plain), { url: six, method: "GET", accept: "text/html", acceptLanguage });
  t.strictSame(find("de"), german);
  t.strictSame(find("fr"), plain);
  t.strictSame(find(), plain);
});

t.test("HEAD is answered by its own answer, else as GET; other methods and URLs are not", async (t) => {
  const get = answer("text/html");
  const head = { url: six, method: "HEAD", status: 404, headers: { "content-length": "3" } };
  t.strictSame(findWebAnswer(index(get, head), { url: six, method: "HEAD" }), head);
  t.strictSame(findWebAnswer(index(get), { url: six, method: "HEAD" }), get);
  t.equal(findWebAnswer(index(head), { url: six, method: "GET" }), undefined);
  t.equal(findWebAnswer(index(get), { url: six, method: "POST" }), undefined);
  t.equal(findWebAnswer(index(get), { url: "https://pypi.example/simple/six", method: "GET" }), undefined);
});

t.test("a long index is read in parts, whatever is in its strings", async (t) => {
  const trap = ',{"headers":{';
  const answers = Array.from({ length: 3000 }, (_, i) => ({
    headers: { etag: `"${trap}${i}"`, link: trap },
    method: "GET",
    status: 200,
    url: `https://h.example/${i}`,
  }));
  const text = JSON.stringify({ answers });
  t.ok(text.length > 256 * 1024);
  let parts = 0;
  for (const reading = readWebIndex(text); ; parts++) {
    const { done, value } = reading.next();
    if (!done) continue;
    t.strictSame([...value.values()].flat(), answers);
    break;
  }
  t.ok(parts > 1);
  t.throws(() => parseWebIndex(`${text.slice(0, -2)},${text.slice(12)}`), /answers\[3000\] twice/);
  t.throws(() => parseWebIndex(`${text.slice(0, -3)}]}`), /JSON|Expected/);
});

t.test("what grants access is for the writer to know: a later one knows more", async (t) => {
  const urls = ["https://h/a?sig=x", "https://h/a?token=x"];
  const headers = { location: "/b?access_token=x", link: "</c?X-Amz-Signature=x>" };
  const read = index(
    ...urls.map((url) => answer("a", { url, headers, vary: { accept: "a?key=b", "accept-language": "b?sid=1" } })),
  );
  t.strictSame([...read.keys()], urls);
  t.strictSame(read.get(urls[0] ?? "")?.[0]?.headers, headers);
});

t.test("parseWebIndex() refuses what no packer writes", async (t) => {
  t.equal(index(answer("text/html"), { url: `${six}a`, method: "HEAD", status: 404, headers: {} }).size, 2);
  const wrong: [text: string, fault: RegExp][] = [
    ["{", /JSON/],
    ["null", /no list/],
    ["{}", /no list/],
    ['{"answers":{}}', /no list/],
    [`{"answers":[${"0,".repeat(200_000)}0]}`, /more than 200000/],
    [`${"[".repeat(1000)}${"]".repeat(1000)}`, /deep/],
  ];
  for (const [text, fault] of wrong) t.throws(() => parseWebIndex(text), fault);
  const answers: [more: unknown, fault: RegExp][] = [
    [null, /object/],
    [[], /object/],
    [{ ...answer("a"), more: 1 }, /unknown/],
    [answer("a", { url: "HTTPS://pypi.example/" }), /normal form/],
    [answer("a", { method: "POST" }), /GET or HEAD/],
    [answer("a", { status: 200.5 }), /status/],
    [answer("a", { status: 500 }), /status/],
    [answer("a", { headers: { "set-cookie": "a=b" } }), /headers/],
    [answer("a", { headers: { etag: "a\r\nset-cookie: b" } }), /headers/],
    [answer("a", { headers: { etag: 1 } }), /headers/],
    [answer("a", { headers: undefined }), /headers/],
    [answer("a", { vary: {}, headers: [] }), /headers/],
    [answer("a", { vary: { cookie: "a" } }), /variant/],
    [answer("a", { vary: { accept: "a\u0007" } }), /variant/],
    [answer("a", { path: "/files/a" }), /path/],
    [answer("a", { path: "web/../files/a" }), /path/],
    [answer("a", { path: 1 }), /path/],
    [answer("a", { path: `${WEB_INDEX}/` }), /path/],
    [answer("a", { method: "HEAD" }), /path/],
  ];
  for (const [it, fault] of answers)
    t.throws(() => parseWebIndex(JSON.stringify({ answers: [it] })), fault, JSON.stringify(it).slice(0, 80));
  t.throws(() => index(answer("a"), answer("b")), /twice/);
});
