import { createHash } from "node:crypto";
import t from "tap";
import { checkPath } from "../../src/io/path-grammar.ts";
import { normalizeWebUrl } from "../../src/io/web-url.ts";
import { webPaths } from "../../src/sources/web-paths.ts";

/** Answers whose bodies all differ, unless `body` is given. */
const answers = (urls: readonly (string | { url: string; status?: number; type?: string; body?: string })[]) =>
  urls.map((it, index) => {
    const { url, status = 200, type = "", body = String(index) } = typeof it === "string" ? { url: it } : it;
    return { url: normalizeWebUrl(url), method: "GET" as const, status, headers: { "content-type": type }, body };
  });

t.test("a path reads as its URL does", async (t) => {
  const cases = new Map<Parameters<typeof answers>[0][number], string>([
    ["https://h.example/a/b-1.0.tar.gz", "web/h.example/a/b-1.0.tar.gz"],
    ["https://h.example:8443/a", "web/h.example_8443/a"],
    ["https://[2001:db8::1]/a", "web/_2001_db8__1_/a"],
    ["https://h.example/a/?x=1&y=2", "web/h.example/a/index@x=1_y=2"],
    [{ url: "https://h.example/a/", type: "text/html; charset=utf-8" }, "web/h.example/a/index.html"],
    [{ url: "https://h.example/a/", type: "application/vnd.pypi.simple.v1+json" }, "web/h.example/a/index.json"],
    [{ url: "https://h.example/", type: "application/xml" }, "web/h.example/index.xml"],
    [{ url: "https://h.example/a", status: 404 }, "web/h.example/a~404"],
    ["https://h.example/@scope%2fname", "web/h.example/@scope_name"],
    ["https://h.example/pool/gcc_1%3a2%2bb1_amd64.deb", "web/h.example/pool/gcc_1_2+b1_amd64.deb"],
    ["https://h.example//a//b", "web/h.example/_/a/_/b"],
    ["https://h.example/.well-known/x", "web/h.example/.well-known/x"],
    ["https://h.example/%E4%BD%A0%E5%A5%BD/%00%0A%1b[2J", "web/h.example/_/_2J"],
    ["https://h.example/a%2f..%2f..%2fetc", "web/h.example/a_.._.._etc"],
    ["https://h.example/$(id);`id`&|", "web/h.example/_(id)__id___"],
  ]);
  for (const [answer, path] of cases) t.strictSame(webPaths(answers([answer])), [path]);
});

t.test("a path is found, whatever paths others have prepared", async (t) => {
  const hash = createHash("sha256").update("https://h.example/a\nGET\n\n").digest("hex");
  const prepared = Array.from({ length: 16 }, (_, it) => `https://h.example/a~${hash.slice(0, 4 * (it + 1))}/x`);
  const paths = webPaths(answers(["https://h.example/a", "https://h.example/a/b", ...prepared]));
  t.equal(new Set(paths).size, 18);
});

t.test("paths do not collide, in whatever order the answers come", async (t) => {
  const hostile = answers(
    [
      "https://h.example/simple",
      "https://h.example/simple/",
      "https://h.example/simple/six",
      "https://h.example/simple/six/",
      "https://h.example/SIMPLE",
      "https://h.example/Simple/Six",
      "https://h.example/SIMPLE/six/a",
      "https://H.EXAMPLE/simple?a",
      "http://h.example/simple",
      "https://h.example/a%2fb",
      "https://h.example/a%5Cb",
      "https://h.example/a_b",
      "https://h.example/a_b/c",
      "https://h.example//",
      "https://h.example/_",
      "https://h.example/_/index",
      "http://index.json/",
      "http://index.json/a",
      "http://INDEX.json:80/b",
      `https://h.example/${"a".repeat(300)}`,
      `https://h.example/${"a".repeat(301)}`,
      `https://h.example/${"d/".repeat(2000)}x`,
      `https://h.example/${"d/".repeat(2000)}y`,
      `https://h.example/?${"q".repeat(8000)}`,
      `https://h.example/${"%E4%BD%A0".repeat(300)}`,
    ].filter((it) => URL.canParse(it)),
  );
  const paths = webPaths(hostile);
  const lower = paths.map((it) => it.toLowerCase());
  t.equal(new Set(lower).size, hostile.length);
  for (const path of paths) {
    t.equal(checkPath(path), undefined, path.slice(0, 100));
    t.ok(path.startsWith("web/") && path.length < 1000 && !lower.some((it) => path.toLowerCase().startsWith(`${it}/`)));
    t.not(path, "web/index.json");
    t.notOk(path.startsWith("web/index.json/"));
  }
  const folders = paths.flatMap((it) => it.split("/").map((_, at, all) => all.slice(0, at).join("/")));
  t.equal(new Set(folders).size, new Set(folders.map((it) => it.toLowerCase())).size, "folders neither");
  const back = webPaths(hostile.toReversed()).reverse();
  t.strictSame(back, paths);
  // A name that was chosen for another.
  const [first = ""] = webPaths(answers(["https://h.example/A", "https://h.example/a"])).slice(1);
  const taken = answers(["https://h.example/A", "https://h.example/a", `https://h.example/${first.split("/").at(-1)}`]);
  t.equal(new Set(webPaths(taken)).size, 3);
});

t.test("answers of one host with the same body share a path", async (t) => {
  const same = { body: "x" };
  const [a, b, other] = webPaths(
    answers([
      { url: "https://h.example/b", status: 404, ...same },
      { url: "https://h.example/a", status: 404, ...same },
      { url: "https://i.example/a", status: 404, ...same },
    ]),
  );
  t.strictSame([a, b, other], ["web/h.example/a~404", "web/h.example/a~404", "web/i.example/a~404"]);
});
