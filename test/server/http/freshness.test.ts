/** How long caches may keep what, and the conditional answers that they ask for again with. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hashSync } from "bcryptjs";
import t from "tap";
import { digestOf, hexOf } from "../../../src/io/digest.ts";
import { freshnessOf } from "../../../src/server/http/freshness.ts";
import { TestImages } from "../../fixtures/images.ts";
import { sendRaw, startServer } from "../../fixtures/serving.ts";

const FOREVER = "public, max-age=31536000, immutable";
const BRIEF = "public, max-age=10";
const ASK = "no-cache";
const PRIMARY = Buffer.from("primary");
const HEX = hexOf(digestOf(PRIMARY));

t.test("by path and digest", async (t) => {
  const other = digestOf(Buffer.from("other"));
  const own = digestOf(PRIMARY);
  const rows: [path: string, digest: typeof own | undefined, expected: string][] = [
    [`rpms/r/repodata/${HEX}-primary.xml.gz`, own, FOREVER],
    [`rpms/r/repodata/${HEX}-primary.xml.gz`, other, BRIEF],
    [`rpms/r/repodata/${HEX}-primary.xml.gz`, undefined, BRIEF],
    [`rpms/r/repodata/${"a".repeat(128)}-primary.xml.zst`, own, BRIEF],
    ["rpms/r/repodata/primary.xml.gz", own, ASK],
    ["rpms/r/repodata/repomd.xml", own, ASK],
    ["rpms/r/repodata/repomd.xml.asc", own, ASK],
    ["rpms/r/Packages/a-1-1.x86_64.rpm", own, BRIEF],
    ["rpms/r/.treeinfo", own, ASK],
    ["treeinfo", undefined, ASK],
    ["images/blobs/sha256/ab", own, FOREVER],
    ["images/index.json", own, ASK],
    ["keys/r.asc", own, ASK],
    ["files/a.tgz", own, BRIEF],
    ["files/a.tgz.sha256", own, ASK],
    ["files/a.tgz.sha256sum", own, ASK],
    ["files/d/PULP_MANIFEST", own, ASK],
    ["isos/r.iso", own, BRIEF],
  ];
  for (const [path, digest, expected] of rows) t.equal(freshnessOf(path, digest), expected, `${path} ${digest}`);
});

function release() {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ "etc/motd": "hello\n" }]);
  const signature = images.referrer(image, "application/x", Buffer.from("signature"));
  const content = {
    "files/a.tgz": "tarball",
    "rpms/r/Packages/a-1-1.noarch.rpm": "package",
    "rpms/r/repodata/repomd.xml": "<repomd/>",
    [`rpms/r/repodata/${HEX}-primary.xml`]: PRIMARY,
    ...images.content(),
  };
  const v2 = "/v2/quay.io/t/a";
  const [layer] = [...images.blobs.keys()];
  const guarded = {
    [`${v2}/manifests/1`]: ASK,
    [`${v2}/manifests/${image.digest}`]: FOREVER,
    [`${v2}/manifests/${image.digest.replace(":", "-")}`]: ASK,
    [`${v2}/blobs/${layer}`]: FOREVER,
    [`${v2}/tags/list`]: ASK,
    [`${v2}/tags/list?n=1`]: ASK,
    [`${v2}/referrers/${image.digest}`]: ASK,
    "/v2/_catalog": ASK,
    [`/images/blobs/${layer?.replace(":", "/")}`]: FOREVER,
  };
  t.ok(signature);
  const open = {
    "/": ASK,
    "/registry": ASK,
    "/files/": ASK,
    "/files/a.tgz": BRIEF,
    "/s/a/files/a.tgz": BRIEF,
    "/files/a.tgz.sha256": ASK,
    "/rpms/r/Packages/a-1-1.noarch.rpm": BRIEF,
    "/rpms/r/repodata/repomd.xml": ASK,
    [`/rpms/r/repodata/${HEX}-primary.xml`]: FOREVER,
    "/config/": ASK,
    "/config/airferry.repo": ASK,
    "/index.json": ASK,
    "/openapi.json": ASK,
  };
  const catalog = { images: [images.catalogImage("quay.io/t/a:1", image)] };
  return { releases: [{ stream: "a", content, catalog }], guarded, open };
}

t.test("every answer says it, and has an ETag that a 304 answers", async (t) => {
  const { releases, guarded, open } = release();
  const { url, port } = await startServer(t, releases);
  for (const [path, expected] of Object.entries({ ...open, ...guarded })) {
    const answer = await fetch(url + path);
    t.equal(answer.status, 200, path);
    await answer.arrayBuffer();
    t.equal(answer.headers.get("cache-control"), expected, path);
    const etag = answer.headers.get("etag") ?? "";
    t.match(etag, /^"[!#-~]+"$/, path);
    for (const method of ["GET", "HEAD"]) {
      const again = await fetch(url + path, { method, headers: { "If-None-Match": `"x", W/${etag}` } });
      t.equal(again.status, 304, `${method} ${path}`);
      for (const name of ["cache-control", "vary", "etag"])
        t.equal(again.headers.get(name), answer.headers.get(name), `${name} of the 304 of ${path}`);
      const failed = await fetch(url + path, { method, headers: { "If-Match": '"x"' } });
      t.equal(failed.status, 412, path);
      t.equal((await failed.arrayBuffer()).byteLength, 0);
    }
  }
  const [vary] = ["/config/airferry.repo"].map(async (it) => (await fetch(url + it)).headers.get("vary"));
  t.match(await vary, /Host, X-Forwarded-Host, X-Forwarded-Proto/);
  for (const path of ["/files/nothing", "/v2/quay.io/t/a/manifests/9", "/v2/nobody/tags/list"]) {
    const answer = await fetch(url + path);
    t.equal(answer.status, 404, path);
    t.equal(answer.headers.get("cache-control"), ASK, `${path}: it may be here with the next release`);
    t.notOk(answer.headers.has("etag"));
  }
  t.equal((await fetch(`${url}/healthz`)).headers.get("cache-control"), "no-store");

  // What the fast path answers and what Node's HTTP answers: the same fields.
  const fields = (text: string) =>
    text
      .split("\r\n\r\n", 1)[0]
      ?.split("\r\n")
      .filter((it) => !/^(?:date|connection|keep-alive):/i.test(it))
      .sort();
  const path = `/rpms/r/repodata/${HEX}-primary.xml`;
  const fast = await sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`, 200);
  const slow = await sendRaw(port, `GET ${path} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n`, 200);
  t.same(fields(fast), fields(slow));
});

t.test("behind a login nothing is for shared caches", async (t) => {
  const { releases, guarded, open } = release();
  const htpasswd = join(t.testdir(), "htpasswd");
  writeFileSync(htpasswd, `u:${hashSync("p", 4)}\n`);
  const { url } = await startServer(t, releases, { htpasswd });
  const headers = { Authorization: `Basic ${Buffer.from("u:p").toString("base64")}` };
  for (const [path, expected] of Object.entries(guarded)) {
    const answer = await fetch(url + path, { headers });
    t.equal(answer.status, 200, path);
    await answer.arrayBuffer();
    t.equal(
      answer.headers.get("cache-control"),
      expected === FOREVER ? FOREVER.replace("public", "private") : `private, ${ASK}`,
    );
    const refused = await fetch(url + path);
    t.equal(refused.status, 401, path);
    t.equal(refused.headers.get("cache-control"), `private, ${ASK}`);
  }
  t.equal((await fetch(`${url}/files/a.tgz`)).headers.get("cache-control"), open["/files/a.tgz"], "the rest is open");
});
