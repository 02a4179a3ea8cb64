/** src/init.ts and its command: `init --from`, what it writes, and what bad input gets. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { check } from "../src/check.ts";
import { draftFromFiles, writeDraft } from "../src/init.ts";
import { airferry } from "./fixtures/host.ts";

const KS =
  "url --url=https://x.example/rocky/9/BaseOS/x86_64/os/\n%packages\nvim\n%end\n%post\ncurl https://x.example/a\n%end\n";

t.test("the manifest says where everything comes from, and passes check", async (t) => {
  const dir = t.testdir({
    "ks.cfg": KS,
    "a.repo": "[docker ce]\nbaseurl=https://d.example/$releasever/\ngpgcheck=0\n",
    "images.txt": "quay.io/a/b:1\n",
    "hostile\nname.yaml": `apiVersion: v1\nkind: Pod\nspec: {containers: [{image: "true/x:1"}]}\n---\nimage: "quay.io/x/\u009b31m:1"\n`,
  });
  const files = ["ks.cfg", "a.repo", "images.txt", "hostile\nname.yaml"].map((it) => join(dir, it));
  const draft = await draftFromFiles({ from: files, dir, vars: { releasever: "9" } });
  const { manifest } = await writeDraft(draft);
  t.equal(manifest, join(dir, "ks.yaml"), "named after the first file");
  const text = readFileSync(manifest, "utf8");
  t.match(text, `# ${dir}/ks.cfg:1, packages of ${dir}/ks.cfg:2-3\n  - name: BaseOS\n`);
  t.match(text, '  - name: docker-ce\n    url: https://d.example/$releasever/\n    vars: { releasever: "9" }\n');
  t.match(text, `# Not carried over:\n# - ${dir}/ks.cfg:6: %post: https://x.example/a: fetched while installing`);
  t.match(text, "hostile\\u{a}name.yaml:3\n  - ref: true/x:1\n");
  t.notMatch(text, /[^\n\P{Cc}]/u);
  const report = await check(manifest);
  t.match([report.problems, report.entries], [[], { isos: 0, rpms: 2, files: 0, images: 2 }]);
});

t.test("never replaces a file that it reads, and another one only with --force", async (t) => {
  const dir = t.testdir({ "zarf.yaml": "kind: ZarfPackageConfig\ncomponents: [{images: [a/b]}]\n", "x.yaml": "" });
  const zarf = join(dir, "zarf.yaml");
  t.equal((await draftFromFiles({ from: [zarf], dir })).path, join(dir, "zarf-airferry.yaml"));
  const own = draftFromFiles({ from: [zarf], dir, stream: "zarf", force: true });
  await t.rejects(own, { code: "ERR_USAGE", message: /it is one of the files that are read/ });
  await t.rejects(draftFromFiles({ from: [zarf], dir, stream: "x" }), { message: /it exists already/ });
  await draftFromFiles({ from: [zarf], dir, stream: "x", force: true });
});

t.test("an entry that a manifest cannot have is listed, and the others are written", async (t) => {
  const dir = t.testdir({
    "z.yaml": "kind: ZarfPackageConfig\ncomponents: [{images: [a/b], files: [{source: 'https://x.example/\\\\'}]}]\n",
    "h.yaml":
      "apiVersion: content.hauler.cattle.io/v1\nkind: Files\nspec: {files: [{path: 'https://x.example/a', name: ../../x}, {path: 'HTTPS://x.example/b'}]}\n",
  });
  const draft = await draftFromFiles({ from: ["z.yaml", "h.yaml"].map((it) => join(dir, it)), dir });
  t.equal(draft.manifest.files, undefined);
  t.equal(draft.manifest.images?.length, 1);
  t.equal(draft.skipped.length, 3);
  const wrong = draftFromFiles({ from: [join(dir, "z.yaml")], dir, platforms: ["amd64"] });
  await t.rejects(wrong, { code: "ERR_USAGE", message: /platform "amd64": expected os\/architecture/ });
});

t.test("large files are read in a thread", async (t) => {
  const lines = Array.from({ length: 2000 }, (_, at) => `quay.io/a/b:${at}`).join("\n");
  const dir = t.testdir({ list: lines });
  t.equal((await draftFromFiles({ from: [join(dir, "list")], dir })).manifest.images?.length, 2000);
});

t.test("the command: a folder last, standard input, and one document as JSON", async (t) => {
  const dir = t.testdir({ "ks.cfg": KS, "images.txt": "quay.io/a/b:1\n", site: {} });
  const ran = await airferry(dir, [
    "init",
    "--from",
    "ks.cfg",
    "images.txt",
    "site",
    "--json",
    "--platform",
    "linux/amd64",
  ]);
  t.equal(ran.status, 0, ran.stderr);
  const result = JSON.parse(ran.stdout);
  t.match(result, {
    manifest: "site/ks.yaml",
    files: ["site/ks.yaml", "site/manifest.schema.json"],
    sources: [
      { file: "ks.cfg", formats: ["kickstart"] },
      { file: "images.txt", formats: ["image list"] },
    ],
    skipped: [{ file: "ks.cfg", line: 6, what: "%post: https://x.example/a", why: /^fetched while installing/ }],
    more: 0,
  });
  t.match(readFileSync(join(dir, "site/ks.yaml"), "utf8"), "platforms: [linux/amd64]");
  const listed = await airferry(dir, ["init", "new", "--from", "ks.cfg"]);
  t.equal(listed.stdout, "new/ks.yaml\n");
  t.match(listed.stderr, "not carried over: ks.cfg:6: %post: https://x.example/a: fetched while installing");
});

t.test("bad input", async (t) => {
  const dir = t.testdir({ "a.txt": "quay.io/a/b:1\n", folder: {}, empty: "" });
  execFileSync("mkfifo", [join(dir, "pipe")]);
  writeFileSync(join(dir, "huge"), Buffer.alloc(16 * 1024 * 1024 + 1, 10));
  const wrong = new Map([
    ["missing", /no such file/],
    ["folder", /it is a folder/],
    ["pipe", /it is not a regular file/],
    ["huge", /too large: expected at most 16777216 bytes/],
    ["empty", /nothing in ".*empty" can be carried over/],
  ]);
  for (const [file, fault] of wrong) {
    await t.rejects(draftFromFiles({ from: [join(dir, file)], dir }), { code: "ERR_USAGE", message: fault }, file);
  }
  for (const args of [
    ["--for", "starter"],
    ["--set", "a=b"],
    ["--k8s-version", "1.30.1"],
  ]) {
    const ran = await airferry(dir, ["init", "--from", "a.txt", ...args]);
    t.match([ran.status, ran.stderr], [2, /with --from/], args.join(" "));
  }
  const alone = await airferry(dir, ["init", "--var", "a=b"]);
  t.match([alone.status, alone.stderr], [2, /--var without --from/]);
  const name = await airferry(dir, ["init", "--from", "a.txt", "--stream", "../x"]);
  t.match([name.status, name.stderr], [2, /stream/]);
});
