import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { digestOf, EMPTY_DIGEST } from "../../src/io/digest.ts";
import { keptHeaders, variantOf } from "../../src/io/web-answer.ts";
import {
  answerLine,
  answersFile,
  bodyPath,
  parseAnswer,
  type RecordedAnswer,
  readRecording,
} from "../../src/io/web-recording.ts";
import { scratch } from "../fixtures/program.ts";

const ANSWER: RecordedAnswer = {
  url: "https://pypi.example/simple/six/",
  method: "GET",
  status: 200,
  headers: { "content-type": "text/html" },
  digest: digestOf("six"),
  size: 3,
  time: "2026-11-30T12:00:00.000Z",
};

t.test("a recording is read as it was written: the newest of each key, sorted, up to a torn line", async (t) => {
  const folder = scratch(t);
  const json = { ...ANSWER, headers: { "content-type": "application/json" }, vary: { accept: "application/json" } };
  const missing: RecordedAnswer = {
    ...ANSWER,
    url: "https://pypi.example/a",
    status: 404,
    digest: EMPTY_DIGEST,
    size: 0,
  };
  const lines = [ANSWER, missing, json, { ...ANSWER, status: 410 }].map(answerLine);
  await writeFile(answersFile(folder), `${lines.join("")}{"url":"https://torn.exam`);
  const { answers, unused, digest } = await readRecording(folder);
  t.strictSame(answers, [missing, { ...ANSWER, status: 410 }, json]);
  t.equal(unused.size, 0);
  await appendFile(answersFile(folder), "ple/\n");
  const again = await readRecording(folder);
  t.strictSame(again.answers, answers, "a line that was torn and continued is none");
  t.strictSame([...again.unused], [["is not JSON", 1]]);
  t.not(again.digest, digest);
  t.equal(bodyPath(ANSWER.digest), `blobs/sha256/${ANSWER.digest.slice(7)}`);
  await t.rejects(readRecording(join(folder, "none")), { code: "ENOENT" });
});

t.test("lines of a hostile recording are counted, and nothing of them is carried", async (t) => {
  const folder = scratch(t);
  await mkdir(folder, { recursive: true });
  const wrong: [fault: string, line: unknown][] = [
    ["is not JSON", "{"],
    ["is not JSON", `${"[".repeat(100)}${"]".repeat(100)}`],
    ["is not an object", "[]"],
    ["is not an object", "null"],
    ["has no URL", { ...ANSWER, url: 1 }],
    ["is not an http:// or https:// URL", { ...ANSWER, url: "file:///etc/passwd" }],
    ["has a user or password", { ...ANSWER, url: "https://user:SECRET@h/a" }],
    ['has a "." or ".." segment', { ...ANSWER, url: "https://h/../../etc" }],
    ["has white space, a control character or a backslash", { ...ANSWER, url: "https://h/\u001b[2J" }],
    ["has a URL that grants access", { ...ANSWER, url: "https://h/a?X-Amz-Signature=SECRET" }],
    ["is of another method than GET and HEAD", { ...ANSWER, method: "POST" }],
    ["is of a status that is not carried", { ...ANSWER, status: 401 }],
    ["is of a status that is not carried", { ...ANSWER, status: "200" }],
    ["has no digest", { ...ANSWER, digest: "sha256:../../../etc/passwd" }],
    ["has no size", { ...ANSWER, size: -1 }],
    ["has no size", { ...ANSWER, size: 1e300 }],
    ["has no time", { ...ANSWER, time: "\u001b" }],
    ["is longer than 262144 bytes", { ...ANSWER, url: `https://h/${"a".repeat(300_000)}` }],
  ];
  const text = wrong.map(([, it]) => `${typeof it === "string" ? it : JSON.stringify(it)}\n`).join("");
  await writeFile(answersFile(folder), text + answerLine(ANSWER));
  const { answers, unused } = await readRecording(folder);
  t.strictSame(answers, [ANSWER]);
  const expected = new Map<string, number>();
  for (const [fault] of wrong) expected.set(fault, (expected.get(fault) ?? 0) + 1);
  t.strictSame(new Map(unused), expected);
});

t.test("of headers an allow-list is kept, without what grants access", async (t) => {
  const headers = {
    "Content-Type": "text/html",
    ETag: '"a"',
    "set-cookie": "SECRET",
    authorization: "Bearer SECRET",
    "www-authenticate": 'Bearer realm="https://h/token"',
    "content-encoding": "gzip",
    "content-length": "3",
    "x-request-id": "1",
    location: "https://s3.example/a?X-Amz-Signature=SECRET",
    link: "<https://u:SECRET@h/a>; rel=next",
    "cache-control": "a\r\nset-cookie: SECRET",
    "content-disposition": "a".repeat(5000),
    "last-modified": undefined,
    vary: ["Accept", "Accept-Language"],
  };
  const kept = { "content-type": "text/html", etag: '"a"', vary: "Accept, Accept-Language" };
  t.strictSame(keptHeaders(headers), kept);
  t.strictSame(Object.keys(keptHeaders(headers)), Object.keys(kept), "sorted");
  t.match(keptHeaders(headers, "HEAD"), { "content-length": "3" });
  t.strictSame(keptHeaders({ location: "/a?b=c#d" }), { location: "/a?b=c#d" });
  const { headers: read } = parseAnswer(JSON.stringify({ ...ANSWER, headers: { ...headers, vary: "Accept" } }));
  t.strictSame(read, { ...kept, vary: "Accept" });
});

t.test("a variant is told apart by what Vary names", async (t) => {
  const request = { accept: " text/html ,\t*/*; q=0.1 ", "accept-language": "de", cookie: "SECRET" };
  t.strictSame(variantOf(request, "Accept, Cookie"), { accept: "text/html,*/*;q=0.1" });
  t.strictSame(variantOf(request, "accept-language,ACCEPT"), {
    accept: "text/html,*/*;q=0.1",
    "accept-language": "de",
  });
  for (const vary of [undefined, "", "*", "Cookie", "Accept-Encoding"]) t.equal(variantOf(request, vary), undefined);
  t.equal(variantOf({}, "Accept"), undefined);
  t.equal(variantOf({ accept: "a\u0001b" }, "Accept"), undefined);
});
