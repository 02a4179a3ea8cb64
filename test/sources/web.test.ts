/** `web:` from the manifest to the bundle: URLs by hand, recordings, and hostile ones of both. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { EMPTY_DIGEST } from "../../src/io/digest.ts";
import { findWebAnswer, parseWebIndex } from "../../src/io/web-index.ts";
import { answersFile } from "../../src/io/web-recording.ts";
import { airferry } from "../fixtures/host.ts";
import { sha256 } from "../fixtures/pack-sample.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";
import { record } from "../fixtures/web-recording.ts";

const JSON_TYPE = "application/vnd.pypi.simple.v1+json";

/** Everything in a bundle's volumes, by path. */
function contentOf(bundle: string, dir: string): Map<string, string> {
  const out = join(dir, "content");
  rmSync(out, { recursive: true, force: true });
  execFileSync("sh", ["-c", 'mkdir "$1" && cat "$0"/data.tar.* | tar -xf - -C "$1"', bundle, out]);
  const names = readdirSync(out, { recursive: true, withFileTypes: true }).filter((it) => it.isFile());
  return new Map(
    names.map((it) => {
      const file = join(it.parentPath, it.name);
      return [file.slice(out.length + 1), readFileSync(file, "utf8")];
    }),
  );
}

async function pack(t: Test, dir: string, ...more: string[]) {
  const ran = await airferry(dir, ["pack", "m.yaml", "--unsigned", "--json", ...more]);
  t.equal(ran.status, 0, ran.stderr);
  const result = JSON.parse(ran.stdout);
  return { ...ran, result, bundle: join(dir, result.bundle) };
}

t.test("URLs by hand are asked once, pinned, and lie below web/HOST/ with an index", async (t) => {
  const upstream = await startUpstream({
    files: new Map<string, string>([
      ["/simple/six/", "<html>six"],
      ["/six-1.0.tar.gz", "archive"],
      ["/q?a=1&b=2", "query"],
      ["/same", "archive"],
      ["/empty", ""],
    ]),
    behaviour: {
      "/simple/six/": { headers: { "content-type": "text/html", "set-cookie": "SECRET=1" } },
      "/moved": { redirect: "/signed?X-Amz-Signature=SECRET" },
      "/signed?X-Amz-Signature=SECRET": { body: Buffer.from("moved"), headers: { "Content-Type": "text/plain" } },
    },
  });
  upstream.files.set("/moved", "moved").set("/signed?X-Amz-Signature=SECRET", "moved");
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const { url, host } = upstream;
  const urls = [
    `${url}/simple/six/`,
    { url: `${url}/six%2d1.0.tar.gz`, sha256: sha256(Buffer.from("archive")) },
    `${url}/q?a=1&b=2`,
    `${url}/same`,
    `${url}/empty`,
    `${url}/moved`,
  ];
  writeManifest(dir, { web: [{ name: "a", urls, max_size: "1MiB" }] });
  upstream.files.set("/six%2d1.0.tar.gz", "archive");
  const { bundle, result, stderr } = await pack(t, dir);
  t.match(stderr, "6 web answers of 1 host");
  t.match(result.web, [{ name: "a", answers: 6, origins: [url] }]);
  const content = contentOf(bundle, dir);
  const folder = `web/${host.replace(":", "_")}`;
  const index = parseWebIndex(content.get("web/index.json") ?? "");
  content.delete("web/index.json");
  t.strictSame(
    content,
    new Map([
      [`${folder}/moved`, "moved"],
      [`${folder}/q@a=1_b=2`, "query"],
      [`${folder}/same`, "archive"],
      [`${folder}/simple/six/index.html`, "<html>six"],
      [`${folder}/six-1.0.tar.gz`, "archive"],
    ]),
  );
  const find = (path: string) => findWebAnswer(index, { url: `${url}${path}`, method: "GET" });
  t.match(find("/simple/six/"), { status: 200, headers: { "content-type": "text/html" } });
  t.equal(find("/six-1.0.tar.gz")?.path, `${folder}/six-1.0.tar.gz`, "by its normal form");
  t.equal(find("/empty")?.path, undefined);
  t.ok(find("/empty"));
  for (const file of [join(dir, "m.lock.json"), join(bundle, "airferry.json"), join(dir, "content/web/index.json")])
    t.notMatch(readFileSync(file, "utf8"), /SECRET|cookie/i, file);
  const again = await pack(t, dir);
  t.notOk(again.result.packed, "nothing to do");
  t.equal(upstream.of("/same", "GET").length, 1);
  const frozen = await pack(t, dir, "--frozen");
  t.notOk(frozen.result.packed);
  upstream.files.set("/same", "other");
  const { stderr: updated } = await airferry(dir, ["lock", "m.yaml", "--update", "a"]);
  t.match(updated, /changed web web\/\S+\/same: /);
});

t.test("what upstream may not do to a URL by hand", async (t) => {
  const upstream = await startUpstream({
    files: new Map([["/a", "a"]]),
    behaviour: { "/large": { endless: true }, "/gone": { status: 404 } },
  });
  upstream.files.set("/large", "");
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const cases: [url: unknown, code: string][] = [
    [{ url: `${upstream.url}/a`, sha256: "0".repeat(64) }, "ERR_UPSTREAM_DIGEST"],
    [`${upstream.url}/gone`, "ERR_UPSTREAM"],
    [`${upstream.url}/large`, "ERR_UPSTREAM_SIZE"],
  ];
  for (const [url, code] of cases) {
    rmSync(join(dir, "m.lock.json"), { force: true });
    writeManifest(dir, { web: [{ name: "a", urls: [url], max_size: "1KiB" }] });
    const { status, stdout, stderr } = await airferry(dir, ["pack", "m.yaml", "--unsigned", "--json"]);
    t.equal(status, 4);
    t.match(stdout + stderr, `"${code}"`);
  }
});

t.test("a recording is packed without a request, and read again once it has grown", async (t) => {
  const dir = scratch(t);
  const folder = join(dir, "b.recording");
  record(folder, [
    ["https://pypi.example/simple/six/", "<html>six"],
    [
      "https://pypi.example/simple/six/",
      '{"six":1}',
      { headers: { "content-type": JSON_TYPE, vary: "Accept" }, vary: { accept: JSON_TYPE } },
    ],
    ["https://pypi.example/simple", "index"],
    ["https://pypi.example/none", "no", { status: 404 }],
    ["https://pypi.example/nil", "no", { status: 404 }],
    ["http://pypi.example/", "", { status: 301, headers: { location: "https://pypi.example/" } }],
    ["https://pypi.example/simple", "", { method: "HEAD" }],
    ["https://pypi.example/only-head", "", { method: "HEAD", headers: { "content-length": "3" } }],
    ["https://other.example:8443/a", "other"],
  ]);
  writeManifest(dir, {
    web: [{ name: "b", recording: "./b.recording", hosts: ["PyPI.example."] }],
  });
  const { bundle, result } = await pack(t, dir);
  t.equal(result.fetchedBytes, 0);
  const content = contentOf(bundle, dir);
  const index = parseWebIndex(content.get("web/index.json") ?? "");
  t.strictSame([...content.keys()].sort(), [
    "web/index.json",
    "web/pypi.example/nil~404",
    "web/pypi.example/simple/six/index.html",
    "web/pypi.example/simple/six/index.json",
    `web/pypi.example/simple~${sha256(Buffer.from("https://pypi.example/simple\nGET\n\n")).slice(0, 8)}`,
  ]);
  const find = (path: string, more: object = {}) =>
    findWebAnswer(index, { url: `https://pypi.example${path}`, method: "GET", ...more });
  t.match(find("/simple/six/", { accept: `${JSON_TYPE}` }), { path: /index\.json$/ });
  t.match(find("/simple/six/"), { path: /index\.html$/ });
  t.match(find("/none"), { status: 404, path: "web/pypi.example/nil~404" });
  t.match(find("/only-head", { method: "HEAD" }), { method: "HEAD", headers: { "content-length": "3" } });
  t.match(find("/simple", { method: "HEAD" }), { method: "GET" });
  t.match(findWebAnswer(index, { url: "http://pypi.example/", method: "GET" }), {
    status: 301,
    headers: { location: "https://pypi.example/" },
  });
  t.equal(findWebAnswer(index, { url: "https://other.example:8443/a", method: "GET" }), undefined);
  const inspected = JSON.parse((await airferry(dir, ["inspect", bundle, "--json"])).stdout);
  t.match(inspected.web, [{ host: "pypi.example", files: 4 }]);
  t.match(
    inspected.entries.find((it: { path: string }) => it.path.endsWith("index.json")),
    {},
  );
  t.notOk((await pack(t, dir)).result.packed);

  record(folder, [["https://pypi.example/new", "new"]]);
  const grown = await pack(t, dir);
  t.ok(grown.result.packed);
  t.equal(contentOf(grown.bundle, dir).get("web/pypi.example/new"), "new");
  const changes = await airferry(dir, ["diff", bundle, grown.bundle]);
  t.match(changes.stdout, /added +web\/pypi\.example\/new/);
  // The lock names its bodies: earlier bundles may have them.
  rmSync(answersFile(folder));
  t.equal((await airferry(dir, ["plan", "m.yaml"])).status, 0);
});

t.test("of a recording nothing is carried that grants access or is not what it says", async (t) => {
  const dir = scratch(t);
  const folder = join(dir, "b.recording");
  record(folder, [
    ["https://h.example/good", "good"],
    ["https://auth.example/token?service=a", '{"token":"SECRET"}', { headers: { "content-type": "application/json" } }],
    ["https://auth.example/oauth", ' {"access_token": "SECRET"}', { headers: {} }],
    ["https://h.example/tokens.json", '{"tokens":[]}', { headers: { "content-type": "application/json" } }],
    ["https://h.example/signed?X-Goog-Signature=SECRET", "signed"],
    ["https://h.example/moved", "", { status: 302, headers: { location: "https://s3.example/?sig=SECRET" } }],
    ["https://h.example/lost", "lost"],
    ["https://h.example/linked", "linked"],
    ["https://h.example/short", "short", { size: 4 }],
    ["https://h.example/refused", "SECRET", { status: 403 }],
  ]);
  const bodyOf = (text: string) => join(folder, "blobs/sha256", sha256(Buffer.from(text)));
  rmSync(bodyOf("lost"));
  writeFileSync(join(dir, "elsewhere"), "linked");
  rmSync(bodyOf("linked"));
  symlinkSync(join(dir, "elsewhere"), bodyOf("linked"));
  writeManifest(dir, { web: [{ name: "b", recording: "./b.recording" }] });
  const { bundle, stderr } = await pack(t, dir);
  for (const fault of [
    "left out 1 answer of ./b.recording: it has a URL that grants access",
    "left out 2 answers of ./b.recording: each holds a token that grants access",
    "left out 1 answer of ./b.recording: it is of a status that is not carried",
    "left out 2 answers of ./b.recording: each has no body in the recording",
    "left out 1 answer of ./b.recording: it has a body of another size than was recorded",
  ])
    t.match(stderr, fault);
  const content = contentOf(bundle, dir);
  t.strictSame([...content.keys()].sort(), ["web/h.example/good", "web/h.example/tokens.json", "web/index.json"]);
  for (const file of [join(dir, "m.lock.json"), ...readdirSync(bundle).map((it) => join(bundle, it))])
    if (!file.endsWith("signatures")) t.notMatch(readFileSync(file, "latin1"), "SECRET", file);

  writeFileSync(bodyOf("good"), "evil");
  rmSync(bundle, { recursive: true });
  const changed = await airferry(dir, ["pack", "m.yaml", "--unsigned"]);
  t.not(changed.status, 0);
  t.match(changed.stderr, /web\/h\.example\/good.*digest|digest.*web\/h\.example\/good/i);
  truncateSync(answersFile(folder), 0);
  rmSync(join(dir, "m.lock.json"));
  const none = await airferry(dir, ["pack", "m.yaml", "--unsigned"]);
  t.equal(none.status, 2);
  t.match(none.stderr, "web b has no answer that is carried");
  rmSync(answersFile(folder));
  execFileSync("mkfifo", [answersFile(folder)]);
  for (const verb of ["check", "lock"]) {
    const pipe = await airferry(dir, [verb, "m.yaml", "--update"].slice(0, verb === "check" ? 2 : 3));
    t.equal(pipe.status, 2, pipe.stderr);
    t.match(pipe.stderr, /not a regular file|no answers\.jsonl/);
  }
});

t.test("of two entries that answer one request the first counts", async (t) => {
  const dir = scratch(t);
  record(join(dir, "a.recording"), [["https://h.example/x", "first"]]);
  record(join(dir, "b.recording"), [
    ["https://h.example/x", "second"],
    ["https://h.example/y", "first"],
    ["https://h.example/z", "", { digest: EMPTY_DIGEST }],
  ]);
  writeManifest(dir, {
    web: [
      { name: "a", recording: "a.recording" },
      { name: "b", recording: "b.recording" },
    ],
  });
  const { bundle, stderr } = await pack(t, dir);
  t.match(stderr, "1 answer left out: an earlier entry of web: answers the same");
  const content = contentOf(bundle, dir);
  t.equal(content.get("web/h.example/x"), "first");
  t.equal(content.size, 2, "the same body once");
  const index = parseWebIndex(content.get("web/index.json") ?? "");
  t.equal(findWebAnswer(index, { url: "https://h.example/y", method: "GET" })?.path, "web/h.example/x");
});

t.test("a body that another entry carries too is carried once, and there", async (t) => {
  const dir = scratch(t);
  record(join(dir, "b.recording"), [
    ["https://h.example/tool.bin", "tool"],
    ["https://h.example/gone", "tool", { status: 404 }],
    ["https://h.example/other", "other"],
  ]);
  writeFileSync(join(dir, "local"), "tool");
  writeManifest(dir, {
    files: [{ path: "./local", as: "tool.bin" }],
    web: [{ name: "b", recording: "./b.recording" }],
  });
  const { bundle } = await pack(t, dir);
  const content = contentOf(bundle, dir);
  t.strictSame([...content.keys()].sort(), [
    "files/tool.bin",
    "files/tool.bin.sha256",
    "files/tool.bin.sha256sum",
    "web/h.example/other",
    "web/index.json",
  ]);
  const index = parseWebIndex(content.get("web/index.json") ?? "");
  for (const path of ["tool.bin", "gone"])
    t.equal(findWebAnswer(index, { url: `https://h.example/${path}`, method: "GET" })?.path, "files/tool.bin");
});

t.test("check finds the faults of web: without the network", async (t) => {
  const dir = scratch(t);
  record(join(dir, "a.recording"), [["https://h.example/x", "x"]]);
  writeManifest(dir, {
    web: [
      { name: "a", recording: "./a.recording", hosts: ["h.example"] },
      { name: "a", urls: ["https://h.example/?token=SECRET", "https://h/a/../b", "ftp://h/"] },
      { name: "b" },
      { name: "c", urls: ["https://h.example/"], hosts: ["h.example"] },
      { name: "d", recording: "./none.recording" },
      { name: "e", recording: "." },
      {
        name: "f",
        urls: [{ url: "https://h.example/", sha256: "0".repeat(64), integrity: `sha256-${"A".repeat(43)}=` }],
      },
      { name: "g", urls: ["https://user:SECRET@h.example/"] },
      { name: "h", urls: [1, { url: "https://h.example/", sha: "a" }, { sha256: "0".repeat(64) }] },
      { name: "i", git: ["https://h.example/a?b", "git@h.example:a/b.git"] },
    ],
  });
  const { status, stdout, stderr } = await airferry(dir, ["check", "m.yaml", "--json"]);
  t.equal(status, 2, stderr);
  const { problems, entries } = JSON.parse(stdout);
  t.equal(entries.web, 10);
  const text = problems.map((it: { path: string; message: string }) => `${it.path}: ${it.message}`).join("\n");
  for (const fault of [
    /web\[1\]\.name: .*same name/,
    /web\[1\]\.urls\[0\]: .*grant access.*token/,
    /web\[1\]\.urls\[1\]: .*segment/,
    /web\[1\]\.urls\[2\]: /,
    /web\[2\]: .*exactly one of urls, recording, git/,
    /web\[3\]\.hosts: .*recording/,
    /web\[4\]\.recording: .*no such folder/,
    /web\[5\]\.recording: .*answers\.jsonl/,
    /web\[6\]\.urls\[0\]: .*twice/,
    /web\[7\]\.urls\[0\]: .*password/,
    /web\[8\]\.urls\[0\]: must be .* URL, or url: .*got 1/,
    /web\[8\]\.urls\[1\]\.sha: .*sha256/,
    /web\[8\]\.urls\[2\]: must be .* URL, or url: .*got a mapping/,
    /web\[9\]\.git\[0\]: must have no query/,
    /web\[9\]\.git\[1\]: .*not an http/,
  ])
    t.match(text, fault);
  t.notMatch(text, "SECRET");
});
