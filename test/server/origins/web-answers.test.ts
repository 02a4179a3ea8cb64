/** Recorded answers of web servers go out as they were: status, headers, variants; and made-up ones do not replace them. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import t from "tap";
import { digestOf } from "../../../src/io/digest.ts";
import { RETRY_MS } from "../../../src/server/http/forget-later.ts";
import { sendRaw, startServer, temporaryDir } from "../../fixtures/serving.ts";

const get = (url: string, more = "", method = "GET") =>
  `${method} ${url} HTTP/1.1\r\nHost: x\r\n${more}Connection: close\r\n\r\n`;

const setTimeoutOfNode = globalThis.setTimeout;
const JSON_TYPE = "application/vnd.pypi.simple.v1+json";

function release(stream: string, answers: object[], content: Record<string, string>) {
  return {
    stream,
    content: { ...content, "web/index.json": JSON.stringify({ answers }) },
    catalog: {
      web: [{ name: "build", answers: answers.length, origins: ["https://pypi.example.org"] }],
      provenance: [
        {
          path: "files/tool",
          kind: "file" as const,
          source: "https://pypi.example.org/tool",
          established: "first-sight" as const,
        },
      ],
    },
  };
}

const BASE = "https://pypi.example.org";
const PLAIN = { "content-type": "text/plain", etag: '"abc"', "last-modified": "Mon, 30 Nov 2026 10:00:00 GMT" };
const ANSWERS = [
  { url: `${BASE}/moved`, method: "GET", status: 302, headers: { location: "/x%20y?a=1" } },
  {
    url: `${BASE}/gone`,
    method: "GET",
    status: 410,
    headers: { "content-type": "text/html" },
    path: "web/pypi.example.org/gone",
  },
  {
    url: `${BASE}/a//b?q=%2F`.replace("%2F", "/"),
    method: "GET",
    status: 200,
    headers: PLAIN,
    path: "web/pypi.example.org/b",
  },
  {
    url: `${BASE}/simple/six/`,
    method: "GET",
    status: 200,
    headers: { "content-type": JSON_TYPE, vary: "Accept" },
    vary: { accept: JSON_TYPE },
    path: "web/pypi.example.org/json",
  },
  {
    url: `${BASE}/simple/six/`,
    method: "GET",
    status: 200,
    headers: { "content-type": "text/html", vary: "Accept" },
    vary: { accept: "text/html" },
    path: "web/pypi.example.org/html",
  },
  {
    url: `${BASE}/tool.sha256`,
    method: "GET",
    status: 200,
    headers: { "content-type": "text/plain" },
    path: "web/pypi.example.org/sum",
  },
  { url: `${BASE}/only-head`, method: "HEAD", status: 200, headers: { "content-length": "77" } },
];
const BODIES = {
  "files/tool": "tool",
  "web/pypi.example.org/gone": "it is gone",
  "web/pypi.example.org/b": "the body",
  "web/pypi.example.org/json": "{}",
  "web/pypi.example.org/html": "<html>",
  "web/pypi.example.org/sum": "upstream's own",
};

t.test("recorded answers", async (t) => {
  const tlsDir = await temporaryDir(t);
  const { serving, store } = await startServer(t, [release("a", ANSWERS, BODIES)], { proxy: "127.0.0.1:0", tlsDir });
  const port = Number(new URL(serving.origins?.proxyUrl ?? "").port);
  const ask = (path: string, more = "", method = "GET") => sendRaw(port, get(BASE + path, more, method));
  t.match(await ask("/moved"), /^HTTP\/1.1 302 [\s\S]*location: \/x%20y\?a=1\r\n/);
  t.match(await ask("/gone"), /^HTTP\/1.1 410 [\s\S]*it is gone$/);
  const body = await ask("/a//b?q=%2f", "Range: bytes=4-\r\n");
  t.match(body, /^HTTP\/1.1 206 [\s\S]*ETag: "abc"\r\n[\s\S]*last-modified: Mon, 30 Nov[\s\S]*\r\n\r\nbody$/);
  t.match(await ask("/a//b?q=/", 'If-None-Match: "abc"\r\n'), "HTTP/1.1 304 ");
  t.match(await ask("/a//b"), "404 ", "another query");
  t.match(await ask("/a/b?q=/"), "404 ", "another path");
  t.match(await ask("/simple/six/", `Accept: ${JSON_TYPE}\r\n`), /vary: Accept[\s\S]*\r\n\r\n{}$/);
  t.match(await ask("/simple/six/", "Accept: text/html\r\n"), /\r\n\r\n<html>$/);
  t.match(
    await ask("/simple/six/", `Accept: ${JSON_TYPE}\r\n`, "HEAD"),
    /^HTTP\/1.1 200 [\s\S]*Content-Length: 2\r\n[\s\S]*\r\n\r\n$/,
  );
  t.match(await ask("/tool.sha256"), "upstream's own");
  t.match(await ask("/tool.sha256sum"), /^HTTP\/1.1 200 [\s\S]* {2}tool\n$/, "made of the digest");
  t.match(await ask("/only-head", "", "HEAD"), /^HTTP\/1.1 200 [\s\S]*Content-Length: 77\r\n/);
  t.match(await ask("/only-head"), "404 ");
  t.match(await ask("/gone", "", "POST"), "405 ");

  const other = { url: `${BASE}/gone`, method: "GET", status: 200, headers: {}, path: "web/pypi.example.org/gone" };
  const differs = { ...other, url: `${BASE}/tool.sha256` };
  await store.put(release("b", [other, differs], { "web/pypi.example.org/gone": "it is here" }));
  await new Promise((resolve) => setTimeout(resolve, 1100));
  t.match(await ask("/gone"), /^HTTP\/1.1 200 [\s\S]*it is here$/, "somebody found it");
  t.match(await ask("/tool.sha256"), /^HTTP\/1.1 404 [\s\S]*\/s\/a\/web\/pypi.example.org\/sum\n\/s\/b\/web/);
});

t.test("what upstream said is better than what its own release has of that URL, and no other's", async (t) => {
  const tlsDir = await temporaryDir(t);
  const headers = { "content-type": "application/x-tool", "last-modified": "Mon, 30 Nov 2026 10:00:00 GMT" };
  const said = { url: `${BASE}/tool`, method: "GET", status: 200, headers, path: "web/pypi.example.org/said" };
  const gone = { url: `${BASE}/tool`, method: "GET", status: 404, headers: {} };
  const own = release("a", [said], { "files/tool": "tool", "web/pypi.example.org/said": "as upstream said" });
  const { serving, store } = await startServer(t, [own], { proxy: "127.0.0.1:0", tlsDir });
  const port = Number(new URL(serving.origins?.proxyUrl ?? "").port);
  const tool = () => sendRaw(port, get(`${BASE}/tool`));
  for (let i = 0; i < 2; i++)
    t.match(await tool(), /Content-Type: application\/x-tool\r\n[\s\S]*last-modified: Mon[\s\S]*as upstream said$/);
  const changed = async (...all: ReturnType<typeof release>[]) => {
    for (const it of all) await store.put(it);
    await new Promise((resolve) => setTimeout(resolve, 1100));
  };
  await changed(release("a", [gone], { "files/tool": "tool" }));
  t.match(await tool(), /200 OK[\s\S]*\r\n\r\ntool$/, "there is one now");
  const web = { ...release("b", [said], { "web/pypi.example.org/said": "as upstream said" }) };
  await changed({ ...web, catalog: { ...web.catalog, provenance: [] } });
  t.match(await tool(), /200 OK[\s\S]*\r\n\r\ntool$/, "the file of another stream");
});

t.test("an index that was repaired is read again, and not with every request before that", async (t) => {
  const tlsDir = await temporaryDir(t);
  const { serving, store } = await startServer(t, [release("a", ANSWERS, BODIES)], { proxy: "127.0.0.1:0", tlsDir });
  const port = Number(new URL(serving.origins?.proxyUrl ?? "").port);
  const file = store.blobPath(digestOf(JSON.stringify({ answers: ANSWERS })));
  const right = readFileSync(file);
  const later: (() => void)[] = [];
  t.intercept(globalThis, "setTimeout", {
    value: (run: () => void, ms: number) => {
      if (ms !== RETRY_MS) return setTimeoutOfNode(run, ms);
      later.push(run);
      return { unref: () => {} };
    },
  });
  rmSync(file);
  writeFileSync(file, right.subarray(1));
  t.match(await sendRaw(port, get(`${BASE}/gone`)), "404 ");
  rmSync(file);
  writeFileSync(file, right);
  t.match(await sendRaw(port, get(`${BASE}/gone`)), "404 ");
  t.equal(later.length, 1);
  for (const it of later) it();
  t.match(await sendRaw(port, get(`${BASE}/gone`)), "410 ");
});

t.test("an index that cannot be read is reported once, and nothing else is missing", async (t) => {
  const tlsDir = await temporaryDir(t);
  const broken = release("a", [{ url: "no URL" }], BODIES);
  const { serving, messages } = await startServer(t, [broken], { proxy: "127.0.0.1:0", tlsDir });
  const port = Number(new URL(serving.origins?.proxyUrl ?? "").port);
  for (let i = 0; i < 2; i++) t.match(await sendRaw(port, get(`${BASE}/gone`)), "404 ");
  t.match(await sendRaw(port, get(`${BASE}/tool`)), /\r\n\r\ntool$/);
  t.equal(messages.length, 1);
  t.match(messages[0], "expected a URL in normal form");
});
