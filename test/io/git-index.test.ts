import t from "tap";
import { findGitRequest, GIT_INDEX, gitUrl, isGitRefName, parseGitIndex } from "../../src/io/git-index.ts";

const OID = "a".repeat(40);
const GOOD = { url: "https://h.example/a/r.git", format: "sha1", refs: [{ name: "HEAD", oid: OID }], path: "web/h/p" };
const index = (...repositories: unknown[]) => parseGitIndex(JSON.stringify({ repositories }));

t.test("parseGitIndex() takes what packers write, and nothing else", async (t) => {
  t.strictSame(index(GOOD, { ...GOOD, url: "https://h.example/b" }).length, 2);
  const sha256 = { name: "refs/tags/v1", oid: "a".repeat(64), peeled: "b".repeat(64) };
  t.equal(index({ ...GOOD, format: "sha256", head: "refs/heads/main", refs: [sha256], path: undefined }).length, 1);
  const wrong = [
    null,
    { ...GOOD, url: "https://h.example/a/r.git/" },
    { ...GOOD, url: "https://h.example/r?a=b" },
    { ...GOOD, url: "file:///etc" },
    { ...GOOD, format: "md5" },
    { ...GOOD, head: "refs/pull/1" },
    { ...GOOD, head: 1 },
    { ...GOOD, path: "web/../a" },
    { ...GOOD, path: "files/a" },
    { ...GOOD, refs: {} },
    { ...GOOD, refs: [null] },
    { ...GOOD, refs: [{ name: "HEAD" }] },
    { ...GOOD, refs: [{ name: "HEAD", oid: OID, peeled: 1 }] },
    { ...GOOD, refs: [{ name: "HEAD", oid: "a" }] },
    { ...GOOD, refs: [{ name: "refs/heads/a\n0000", oid: OID }] },
    { ...GOOD, refs: [sha256] },
  ];
  for (const it of wrong) t.throws(() => index(it), /wrong repositories\[0\]/, JSON.stringify(it));
  t.throws(() => index(GOOD, GOOD), /twice/);
  for (const text of ["{", "null", "{}", '{"repositories":{}}'])
    t.throws(() => parseGitIndex(text), /JSON|no list|Expected/);
  t.equal(GIT_INDEX, "web/git.json");
});

t.test(
  "what grants access is for the writer to know: a URL has no query at all, and nothing else is looked at",
  async (t) => {
    for (const query of ["sig=x", "token=x", "X-Amz-Signature=x", "a=b", ""])
      t.throws(() => index({ ...GOOD, url: `https://h.example/r?${query}` }), /wrong repositories\[0\]/, query);
    const refs = ["refs/heads/token=x", "refs/tags/sig=x&access_token=y"].map((name) => ({ name, oid: OID }));
    const fine = { ...GOOD, url: "https://h.example/token=x/r;sig=y", head: "refs/heads/token=x", refs };
    t.strictSame(index(fine), [fine]);
  },
);

t.test("names of refs are those that git allows", async (t) => {
  for (const it of ["HEAD", "refs/heads/main", "refs/heads/a/b-c_d.e", "refs/tags/v1.0+x", "refs/heads/ü"])
    t.ok(isGitRefName(it), it);
  const wrong = [
    "",
    "main",
    "refs/pull/1/head",
    "refs/heads/",
    "refs/heads/a b",
    "refs/heads/a\n",
    "refs/heads/a..b",
    "refs/heads/a.lock",
    "refs/heads/a/",
    "refs/heads//a",
    "refs/heads/.a",
    "refs/heads/a@{1}",
    "refs/heads/a\0b",
    "refs/heads/a:b",
    "refs/heads/\ud800",
    `refs/heads/${"a".repeat(1000)}`,
  ];
  for (const it of wrong) t.notOk(isGitRefName(it), it.slice(0, 40));
});

t.test("a request finds its repository with and without .git", async (t) => {
  const repositories = index(GOOD, { ...GOOD, url: "https://h.example/b" });
  const find = (url: string) => findGitRequest(repositories, url)?.repository.url;
  for (const it of [
    "/a/r.git/info/refs?service=git-upload-pack",
    "/a/r/info/refs?a=b&service=git-upload-pack",
    "/a/r.git/git-upload-pack",
  ])
    t.equal(find(`https://h.example${it}`), GOOD.url, it);
  t.equal(find("https://h.example/b.git/git-upload-pack"), "https://h.example/b");
  for (const it of [
    "/a/r.git/info/refs",
    "/a/r.git/info/refs?service=git-receive-pack",
    "/a/r.git",
    "/git-upload-pack",
    "/a/x/git-upload-pack",
  ])
    t.equal(find(`https://h.example${it}`), undefined, it);
  t.equal(find("http://h.example/a/r.git/git-upload-pack"), undefined);
  t.equal(gitUrl("HTTPS://H.example/a%2fb/"), "https://h.example/a%2Fb");
  t.throws(() => gitUrl("https://h.example/?a"), /query/);
});
