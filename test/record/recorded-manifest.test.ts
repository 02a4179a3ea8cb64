/** src/record/recorded-manifest.ts: what a recording adds to, and what it leaves alone. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { openManifest } from "../../src/record/recorded-manifest.ts";

t.test("adds to a manifest, and keeps what a person wrote", async (t) => {
  const dir = t.testdir({ "m.yaml": "# mine\napiVersion: airferry/v1\nstream: mine # c\n" });
  const file = join(dir, "m.yaml");
  for (const _ of [1, 2]) {
    const manifest = await openManifest(file, "m");
    manifest.addRecording("m", "./m.recording");
    await manifest.write();
  }
  const added = "web:\n  - name: m\n    recording: ./m.recording\n";
  t.equal(readFileSync(file, "utf8"), `# mine\napiVersion: airferry/v1\nstream: mine # c\n${added}`);
});

t.test("entries have names of their own, and none is doubled by another spelling", async (t) => {
  const mine = [
    "apiVersion: airferry/v1",
    "stream: mine",
    "web:",
    "  - name: m",
    "    recording: m.recording",
    "  - name: git-h.example-a-b-2",
    "    urls: [ https://h.example/x ]",
    "  - name: tools",
    "    git: [ https://H.example:443/tools/ ]",
    "",
  ].join("\n");
  const dir = t.testdir({
    "m.yaml": mine,
    "n.yaml": "apiVersion: airferry/v1\nstream: n\nweb: [{name: n, git: [x]}]\n",
  });
  const file = join(dir, "m.yaml");
  for (const _ of [1, 2]) {
    const manifest = await openManifest(file, "m");
    manifest.addRecording("m", "./m.recording");
    const urls = [
      "https://h.example/a/b",
      "https://h.example/a/b.git",
      "https://h.example/a-b",
      "http://h.example/a/b",
      "https://h.example/tools",
    ];
    for (const url of urls) manifest.addRepository(url);
    await manifest.write();
  }
  const entry = (name: string, url: string) => `  - name: ${name}\n    git:\n      - ${url}\n`;
  t.equal(
    readFileSync(file, "utf8"),
    [
      mine,
      entry("git-h.example-a-b", "https://h.example/a/b"),
      entry("git-h.example-a-b-3", "https://h.example/a-b"),
      entry("git-h.example-a-b-4", "http://h.example/a/b"),
    ].join(""),
  );
  const taken = await openManifest(join(dir, "n.yaml"), "n");
  taken.addRecording("n", "./n.recording");
  await taken.write();
  t.match(readFileSync(join(dir, "n.yaml"), "utf8"), /name: n-2\b.*recording: \.\/n\.recording/s);
});

t.test("refuses what is no manifest before anything is recorded", async (t) => {
  const dir = t.testdir({
    "other.yaml": "foo: bar\n",
    "list.yaml": "- a\n",
    "empty.yaml": "",
    "bad.yaml": "a: [b\n",
    "web.yaml": "apiVersion: airferry/v1\nweb: { name: a }\n",
  });
  for (const name of ["other", "list", "empty", "bad", "web"]) {
    const file = join(dir, `${name}.yaml`);
    const before = readFileSync(file, "utf8");
    await t.rejects(
      openManifest(file, name),
      { code: "ERR_MANIFEST_INVALID", message: /cannot add to manifest/ },
      name,
    );
    t.equal(readFileSync(file, "utf8"), before);
  }
});
