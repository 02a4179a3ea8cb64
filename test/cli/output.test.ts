/** Nobody's text makes a line of its own, or drives a terminal: tables, messages and documents that are printed. */
import { join } from "node:path";
import t from "tap";
import { formatTable } from "../../src/cli/table.ts";
import { makeBundle, makeKey } from "../fixtures/bundle-maker.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

t.test("formatTable() makes one line of each row, whatever its cells hold, with columns that align", async (t) => {
  const lines = formatTable(
    ["A", "B", "C"],
    [
      ["x\ny", "漢字", "1"],
      ["\u202e", "e\u0301", "22"],
    ],
  );
  t.strictSame(lines, ["A         B     C", "x\\u{a}y   漢字  1", "\\u{202e}  e\u0301     22"]);
});

t.test("inspect of a bundle that nobody verified prints no line that the bundle forges", async (t) => {
  const dir = scratch(t);
  const evil = "https://dl.example.org/x\nverified  good by 2 of 2 trusted keys\u001b[2J\u202e";
  makeBundle(join(dir, "b"), {
    files: { "files/a": Buffer.from("1") },
    keys: [makeKey()],
    spoil: (inventory) => {
      inventory.catalog.provenance = [{ path: "files/a", kind: "file", source: evil, established: "manifest" }];
    },
  });
  // Text that could forge a line does not even pass the format's own check; and what says so prints none of it raw.
  for (const args of [["--files"], [], ["--json"]]) {
    const { status, stdout, stderr } = await airferry(dir, ["inspect", "b", ...args]);
    t.equal(status, 3, stderr);
    t.match(stderr, /catalog\.provenance/);
    t.notMatch(stdout + stderr, /^\s*verified {2}good/m, args.join(" "));
    t.notMatch(stdout + stderr, /[\u001b\u202e]/, "raw");
  }
});

t.test("errors about foreign names stay on their lines", async (t) => {
  const dir = scratch(t);
  const { stderr } = await airferry(dir, ["inspect", "no\nairferry: hint: run this\u001b[2J"]);
  t.notMatch(stderr, /^airferry: hint: run this/m);
  t.match(stderr, "no\\u{a}airferry: hint: run this\\u{1b}[2J");
});

t.test("commands in notes and hints name the manifest as it was typed", async (t) => {
  const dir = scratch(t);
  const upstream = await startUpstream({ files: new Map([["/a", "one"]]) });
  t.teardown(() => upstream.close());
  const manifest = writeManifest(dir, { files: [{ url: `${upstream.url}/b` }] }, "my m.yaml");
  const name = manifest.split("/").at(-1) as string;
  const hint = /run: airferry lock 'my m\.yaml' --update$/m;
  t.match((await airferry(dir, ["lock", name])).stderr, hint);
  t.match((await airferry(dir, ["plan", `./${name}`, "--json"])).stderr, /airferry lock '\.\/my m\.yaml' --update/);
});
