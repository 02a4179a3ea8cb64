/** Base URLs with a query: joined, listed, recorded and asked again. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { askedUrls, recordedUrls } from "../../../src/sources/recorded-urls.ts";
import { baseOf, isSamePlace, resolveHref } from "../../../src/sources/rpm/location.ts";
import { looksLikeMetalink, parseMetalink, parseMirrorlist } from "../../../src/sources/rpm/metalink.ts";
import { airferry } from "../../fixtures/host.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";
import { makeRepository } from "../../fixtures/rpm-metadata.ts";
import { startUpstream } from "../../fixtures/upstream.ts";

t.test("urlOf() puts the location into the path and keeps the query", async (t) => {
  const table = new Map([
    [["a/b.rpm", "https://h/r"], "https://h/r/a/b.rpm"],
    [["a/b.rpm", "https://h/r/?t=1"], "https://h/r/a/b.rpm?t=1"],
    [["a/b.rpm", "https://h/r?t=a/b&sig=x%2By%3D"], "https://h/r/a/b.rpm?t=a/b&sig=x%2By%3D"],
    [["../b.rpm", "https://h/r/os?t=1"], "https://h/r/b.rpm?t=1"],
    [["q?x#y.rpm", "https://h/r?t=1#f"], "https://h/r/q%3Fx%23y.rpm?t=1"],
    [["v1:x/b.rpm", "https://h?t=1"], "https://h/v1:x/b.rpm?t=1"],
  ]);
  for (const [[href, base], url] of table) t.equal(resolveHref(href as string, base as string), url);
  t.equal(baseOf("https://h/r?t=1"), "https://h/r/?t=1");
  t.equal(baseOf(baseOf("https://h/r?t=/")), "https://h/r/?t=/");
  t.ok(isSamePlace("https://h/r?t=1", "https://h/r/?t=2"));
  t.notOk(isSamePlace("https://h/r?t=1", "https://h/s?t=1"));
});

const METALINK = (url: string) =>
  Buffer.from(
    `<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml"><verification><hash type="sha256">${"a".repeat(64)}</hash></verification><resources><url protocol="https" preference="100">${url}</url></resources></file></files></metalink>`,
  );

t.test("lists of mirrors keep queries, too", async (t) => {
  t.same(parseMirrorlist(Buffer.from("https://h/r?t=1\nhttps://g/r\n"), "m").bases, [
    "https://h/r/?t=1",
    "https://g/r/",
  ]);
  const metalink = METALINK("https://h/r/repodata/repomd.xml?t=1&amp;u=2");
  t.same((await parseMetalink(metalink, "m")).bases, ["https://h/r/?t=1&u=2"]);
  t.ok(looksLikeMetalink(metalink));
  t.notOk(looksLikeMetalink(Buffer.from("https://h/metalink/\n")));
});

t.test("what the manifest has is not recorded, and found again", async (t) => {
  const base = "https://h/r/os/?token=s3cr3t";
  for (const href of ["a.rpm", "../b.rpm"]) {
    const url = resolveHref(href, base);
    const recorded = recordedUrls([url], [base]);
    t.notMatch(recorded.join(), "s3cr3t");
    t.same(askedUrls(recorded, [base]).urls, [url]);
  }
  const list = "https://h/mirrors?token=s3cr3t";
  const listed = "https://h/r/a.rpm?token=s3cr3t";
  t.same(recordedUrls([listed], [list]), ["https://h/r/a.rpm?***"]);
  t.same(askedUrls(recordedUrls([listed], [list]), [list]).urls, [listed]);
  t.same(recordedUrls(["https://h/r/a.rpm?own=1"], [list]), ["https://h/r/a.rpm?own=1"], "published by upstream");
});

t.test("a repository behind a token is locked and packed; the token is nowhere", async (t) => {
  const repository = await makeRepository([{ name: "app" }]);
  const files = repository.below("/r/");
  const inner = new Map([...files].map(([path, bytes]) => [`${path}?token=s3cr3t`, bytes]));
  const upstream = await startUpstream({
    files: new Map([...inner, ["/mirrors?token=s3cr3t", ""]]),
  });
  upstream.files.set("/mirrors?token=s3cr3t", `${upstream.url}/r?token=s3cr3t\n`);
  t.teardown(() => upstream.close());
  for (const place of [
    { url: `${upstream.url}/r?token=s3cr3t` },
    { mirrorlist: `${upstream.url}/mirrors?token=s3cr3t` },
  ]) {
    const dir = scratch(t);
    writeManifest(dir, { rpms: [{ name: "r", ...place, gpgcheck: false }] });
    const ran = await airferry(dir, ["plan", "m.yaml", "--json"]);
    t.equal(ran.status, 0, ran.stderr);
    t.notMatch(readFileSync(join(dir, "m.lock.json"), "utf8") + ran.stdout + ran.stderr, "s3cr3t");
    t.match(readFileSync(join(dir, "m.lock.json"), "utf8"), /app[^"]*\.rpm\?\*\*\*/);
    const pack = await airferry(dir, ["pack", "m.yaml", "--unsigned", "--out", "out"]);
    t.notMatch(pack.stderr, "s3cr3t");
    const asked = upstream.requests.filter((it) => it.path.includes(".rpm"));
    t.ok(asked.length > 0 && asked.every((it) => it.path.endsWith(".rpm?token=s3cr3t")), "asked with the token");
  }
});
