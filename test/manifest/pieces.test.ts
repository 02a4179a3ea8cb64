/** Long manifests in pieces: the same value as of the whole parse, or left to it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { atOnce } from "../../src/io/pace.ts";
import { parseManifest, readManifest } from "../../src/manifest/load.ts";
import { readInPieces } from "../../src/manifest/pieces.ts";

const HEAD = "# a manifest\napiVersion: airferry/v1\nstream: s\n";
const entries = (count: number, entry: (index: number) => string, start = 0) =>
  Array.from({ length: count }, (_, index) => entry(index + start)).join("");
const FORMS: Record<string, (index: number) => string> = {
  plain: (it) => `  - path: d/f${it}\n    as: a/f${it}\n`,
  flow: (it) => `- {url: "https://e.example/f${it}?a=1&b=2", mode: "0755"}\n`,
  "comments and blank lines": (it) =>
    `  # number ${it}\n  - path: 'f: ${it}' # here\n\n    as: 'x # ${it}'\n# outside\n`,
  "deep and folded": (it) =>
    `    -   url: https://e.example/${it}\n        checksums:\n          url: https://e.example/sums\n`,
  "Windows line ends": (it) => `  - path: f${it}\r\n`,
};

t.test("readInPieces() gives what the whole parse gives", async (t) => {
  for (const [name, form] of Object.entries(FORMS)) {
    const text = `${HEAD}files:\n${entries(600, form)}expires: 90d\nrpms:\n${entries(300, (it) => `  - {name: r${it}, path: r}\n`)}`;
    const read = atOnce(readInPieces(text));
    t.strictSame(read?.value, parseManifest(text, "m.yaml"), name);
  }
});

t.test("readInPieces() leaves to the whole parse what may reach from one entry into another", async (t) => {
  const list = `files:\n${entries(500, FORMS.plain as (it: number) => string)}`;
  for (const [name, text] of Object.entries({
    anchor: `${HEAD}${list}  - &x {path: a}\n  - *x\n`,
    merge: `${HEAD}${list}  - <<: {path: a}\n`,
    "block scalar": `${HEAD}${list}  - path: |\n      a\n  - path: b\n`,
    "second document": `${HEAD}${list}---\nstream: t\n`,
    tag: `${HEAD}${list}  - path: !!str 5\n`,
    "open quote": `${HEAD}${list}  - path: "a\n  - path: b"\n`,
    "less indented": `${HEAD}files:\n    - path: a\n  - path: b\n`,
    "a mapping": `${HEAD}files:\n  path: a\n`,
    "no list": HEAD,
  }))
    t.equal(atOnce(readInPieces(text)), undefined, name);
});

t.test("readManifest() reports the faults of a long manifest with their lines", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "airferry-pieces-"));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "m.yaml");
  const good = entries(700, FORMS.plain as (it: number) => string);
  writeFileSync(file, `${HEAD}files:\n${good}`);
  t.equal((await readManifest(file)).files?.length, 700);
  for (const [bad, path] of [
    ["  - path: x\n    mod: y\n", /m\.yaml:1406 files\[700\]\.mod/],
    ["  - path: x\n    as: a/f3\n", /m\.yaml:1405 files\[700\]/],
    ["  - path: x\n    as: [\n", /m\.yaml:140\d/],
    ["files: []\n", /m\.yaml:1405/],
  ] as const) {
    writeFileSync(file, `${HEAD}files:\n${good}${bad}`);
    const error = await readManifest(file).catch((it) => it);
    t.match(error.problems?.[0]?.path, path, bad);
  }
});
