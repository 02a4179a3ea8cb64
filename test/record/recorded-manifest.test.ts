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
    manifest.add("web", "name", { name: "m", recording: "./m.recording" });
    await manifest.write();
  }
  const added = "web:\n  - name: m\n    recording: ./m.recording\n";
  t.equal(readFileSync(file, "utf8"), `# mine\napiVersion: airferry/v1\nstream: mine # c\n${added}`);
});

t.test("refuses what is no manifest before anything is recorded", async (t) => {
  const dir = t.testdir({ "other.yaml": "foo: bar\n", "list.yaml": "- a\n", "empty.yaml": "", "bad.yaml": "a: [b\n" });
  for (const name of ["other", "list", "empty", "bad"]) {
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
