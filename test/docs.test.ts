/** Documents say what the code does now: error codes, commands, the schema. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { cliDocs } from "../scripts/lib/cli-docs.ts";
import { ERROR_CODES } from "../src/errors.ts";
import { manifestJsonSchema } from "../src/manifest/schema.ts";
import { airferry } from "./fixtures/host.ts";
import { ROOT } from "./fixtures/program.ts";

const read = (name: string) => readFileSync(join(ROOT, name), "utf8");

t.test("docs/errors.md has every code with its exit status, and no other", async (t) => {
  const rows = [...read("docs/errors.md").matchAll(/^\| (ERR_[A-Z_]+) \| (\d+) \|/gm)].map(([, code, exit]) => [
    code,
    Number(exit),
  ]);
  t.same(Object.fromEntries(rows), ERROR_CODES);
});

t.test("docs/cli.md is what the program's help says", async (t) => {
  t.equal(read("docs/cli.md"), await cliDocs(), "run: node scripts/lib/cli-docs.ts > docs/cli.md");
});

t.test("completion knows what every flag takes", async (t) => {
  const ran = await airferry(ROOT, ["completion", "fish"]);
  t.equal(ran.status, 0, ran.stderr);
});

t.test("manifests/manifest.schema.json is what airferry schema prints", async (t) => {
  t.same(
    JSON.parse(read("manifests/manifest.schema.json")),
    manifestJsonSchema(),
    "run: scripts/airferry schema > manifests/manifest.schema.json",
  );
});

t.test("links between documents lead somewhere", async (t) => {
  const documents = readdirSync(join(ROOT, "docs")).filter((it) => it.endsWith(".md"));
  for (const name of ["README.md", "CONTRIBUTING.md", "SECURITY.md", ...documents.map((it) => `docs/${it}`)]) {
    const text = read(name);
    for (const [, link] of text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
      t.doesNotThrow(() => {
        const path = join(ROOT, name, "..", link as string);
        return link?.endsWith("/") ? undefined : readFileSync(path);
      }, `${name} → ${link}`);
    }
  }
});
