/** What the lock's `request` tells of an entry: that it changed, and no secret. */
import t from "tap";
import { requestDigest } from "../../src/manifest/request.ts";

const of = (url: string) => requestDigest({ url, as: "x" });
const BASE = "https://dl.example.org/x.iso";

t.test("another secret asks for the same", (t) => {
  const secrets = [
    "?token=1",
    "?access_token=22",
    "?X-Amz-Signature=ab&X-Amz-Date=2&X-Amz-Expires=60&X-Amz-Credential=c",
    "?X-Goog-Signature=ab",
    "?sig=abc&se=2026&sv=1&sp=r&sr=b",
    "?Expires=1&Signature=a~b&Key-Pair-Id=K",
    "?t=7",
    "?apikey=1",
    "?api_key=1",
    "?auth=u",
    "?sessionid=4",
    "?PASSWORD=x",
    "?%74oken=1",
    "#fragment",
    "?",
  ];
  for (const it of secrets) t.equal(of(BASE + it), of(BASE), it);
  t.end();
});

t.test("anything else counts", (t) => {
  const others = ["", "?id=1", "?id=2", "?version=1&token=a", "?file=a/b", "?file=a%2Fb", "?x", "?id=1&id=2"];
  t.equal(new Set(others.map((it) => of(BASE + it))).size, others.length);
  t.equal(of(`${BASE}?id=1&token=a`), of(`${BASE}?token=b&id=1`));
  t.not(of(`${BASE}?id=1`), of("https://dl.example.org/y.iso?id=1"));
  t.not(requestDigest({ url: BASE }), requestDigest({ urls: [BASE] }));
  t.equal(requestDigest({ a: 1, url: BASE }), requestDigest({ url: BASE, a: 1 }));
  t.equal(requestDigest({ packages: ["a?b=1"] }) === requestDigest({ packages: ["a?b=2"] }), false, "no URL");
  t.end();
});

t.test("a guess takes its time", (t) => {
  of(`${BASE}?id=0`);
  const started = performance.now();
  for (let id = 1; id <= 4; id++) of(`${BASE}?id=${id}`);
  t.ok(performance.now() - started > 40, "four guesses take more than 40 ms");
  t.end();
});

t.test("of one entry it is computed once: several steps ask, and a query takes long", (t) => {
  const entry = { url: `${BASE}?version=1` };
  const first = requestDigest(entry);
  entry.url = `${BASE}?version=2`;
  t.equal(requestDigest(entry), first);
  t.not(requestDigest({ ...entry }), first);
  t.end();
});
