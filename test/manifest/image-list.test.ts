/** `list:` of an images entry. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseImageList } from "../../src/manifest/image-list.ts";
import { readManifest } from "../../src/manifest/load.ts";

t.test("parseImageList() takes comments, blank lines, CRLF, a byte order mark, and each image once", async (t) => {
  const text =
    "\uFEFF# release 1\r\nredis:7   # cache\r\n\r\ndocker.io/library/redis:7\nquay.io/a/b@sha256:" + "0".repeat(64);
  const { entries, problems } = parseImageList(text, { list: "x", platforms: ["linux/amd64"] }, "x");
  t.strictSame(problems, []);
  t.strictSame(entries, [
    { platforms: ["linux/amd64"], ref: "redis:7" },
    { platforms: ["linux/amd64"], ref: `quay.io/a/b@sha256:${"0".repeat(64)}` },
  ]);
});

t.test("parseImageList() names the line of what is no image", async (t) => {
  const { problems } = parseImageList(
    "redis:7\n- quay.io/a:1\nhttps://quay.io/a\nRedis:7\n",
    { list: "x" },
    "images.txt",
  );
  t.strictSame(
    problems.map((it) => it.path),
    ["images.txt:2", "images.txt:3", "images.txt:4"],
  );
  t.match(problems[0]?.message, /several words; one image a line/);
  t.match(parseImageList("# nothing\n", { list: "x" }, "x").problems, [{ message: "lists no image" }]);
});

t.test("readManifest() puts the listed images in the list's place, and entries of their own before them", async (t) => {
  const dir = t.testdir({
    "images.txt": "redis:7\nquay.io/a/b:1\n",
    more: { "x.txt": "quay.io/a/b:1\nquay.io/c/d:2\n" },
  });
  const write = (images: string) => {
    const file = join(dir, "m.yaml");
    writeFileSync(file, `apiVersion: airferry/v1\nstream: s\nimages:\n${images}`);
    return readManifest(file);
  };
  const { images } = await write(
    "  - list: images.txt\n    platforms: [linux/amd64]\n  - list: more/x.txt\n  - ref: docker.io/library/redis:7\n    platforms: [linux/arm64]\n",
  );
  t.strictSame(images, [
    { ref: "quay.io/a/b:1", platforms: ["linux/amd64"] },
    { ref: "quay.io/c/d:2" },
    { ref: "docker.io/library/redis:7", platforms: ["linux/arm64"] },
  ]);
  mkdirSync(join(dir, "folder"));
  writeFileSync(join(dir, "bad.txt"), "redis:7\nnot an image\n");
  const refused = await write("  - list: none.txt\n  - list: folder\n  - list: bad.txt\n").catch((error) => error);
  t.match(refused, {
    code: "ERR_MANIFEST_INVALID",
    problems: [
      { path: "images[0].list", message: 'no such file: "none.txt"' },
      { path: "images[1].list", message: 'not a file: "folder"' },
      { path: "bad.txt:2", message: /several words/ },
    ],
  });
});

t.test("keys of images that only go with others are told", async (t) => {
  const dir = t.testdir({});
  const problems = async (images: string) => {
    const file = join(dir, "m.yaml");
    writeFileSync(file, `apiVersion: airferry/v1\nstream: s\nimages: [${images}]\n`);
    return (await readManifest(file).catch((error) => error)).problems?.map((it: { message: string }) => it.message);
  };
  for (const [text, message] of new Map([
    ["{ archive: a.tar, tags: {} }", /requires ref/],
    ["{ ref: quay.io/a/b:1, tags: { newest: 1 } }", /must have no tag: tags: gives it/],
    ["{ ref: quay.io/a/b, tags: { match: '[' } }", /is not a regular expression/],
    ["{ list: x.txt, as: quay.io/a/b:1 }", /names one image, but a list has many/],
    ["{ ref: a/b:1, version: 1.2.3 }", /requires chart/],
    ["{ chart: app }", /is missing: expected a URL/],
    ["{ chart: app, repo: 'https://charts.example', as: quay.io/a/b:1 }", /the chart's version gives it/],
    ["{ chart: app, repo: 'https://charts.example', values: [v.yaml] }", /requires images/],
    ["{ ref: a/b, archive: x }", /needs exactly one of ref, list, archive, chart/],
    ["{ ref: a/b, tags: {} }, { ref: a/b, tags: {} }", /has the same reference as images\[0\]/],
  ])) {
    t.match((await problems(text))?.join("\n"), message, text);
  }
  t.equal(
    await problems("{ ref: a/b, tags: { match: '^1' } }, { ref: a/b, tags: { match: '^2' } }, { ref: a/b }"),
    undefined,
  );
});
