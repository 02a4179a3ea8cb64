/** Documents that `checksums:` names are carried as upstream has them, at a path of their own, and only those with a plain URL. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parseLock } from "../../src/sources/lock-document.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const hex = (text: string) => createHash("sha256").update(text).digest("hex");
const LIST = `${hex("one")}  one\n${hex("two")} *two\r\n# no newline at its end`;
/** Digests of the entries below `upstream/`. */
function sumsIn(bundle: string): string[] {
  const { entries } = JSON.parse(readFileSync(join(bundle, "airferry.json"), "utf8"));
  return entries
    .filter((it: { path: string }) => it.path.startsWith("upstream/"))
    .map((it: { sha256: string }) => it.sha256);
}

const AT = "https://dl.lab.example/v1";

t.test("lists of checksums are carried once, byte for byte, and no URL with a secret", async (t) => {
  const files = new Map([
    ["/v1/one", "one"],
    ["/v1/two", "two"],
    ["/v1/CHECKSUM", LIST],
    ["/v1/sums.txt", LIST],
    ["/v1/sums.txt?token=SECRET", LIST],
  ]);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const rewrite = ["--rewrite", `https://dl.lab.example/=${upstream.url}/`];
  const entry = (name: string, url: string, as = name) => ({ url: `${AT}/${name}`, as, checksums: { url } });
  const run = async (named: object[], ...more: string[]) => {
    const packed = await airferry(dir, [
      "pack",
      writeManifest(dir, { files: named }),
      "--unsigned",
      ...rewrite,
      ...more,
    ]);
    t.equal(packed.status, 0, packed.stderr);
    return join(dir, packed.stdout.trim());
  };
  const named = [
    entry("one", `${AT}/CHECKSUM`),
    entry("two", `${AT}/CHECKSUM`),
    entry("two", `${AT}/sums.txt`, "again/two"),
    entry("one", `${AT}/sums.txt?token=SECRET`, "again/one"),
    entry("one", `${upstream.url}/v1/sums.txt`, "again/three"),
  ];
  const bundle = await run(named);
  const { catalog, entries } = JSON.parse(readFileSync(join(bundle, "airferry.json"), "utf8"));
  const paths: string[] = entries
    .map((it: { path: string }) => it.path)
    .filter((it: string) => it.startsWith("upstream/"));
  t.equal(paths.length, 2);
  for (const it of paths) t.match(it, /^upstream\/[0-9a-f]{32}\/(?:CHECKSUM|sums\.txt)$/);
  const sources = catalog.provenance.filter((it: { path: string }) => paths.includes(it.path));
  const line = { kind: "file", established: "first-sight" };
  t.match(
    sources.toSorted((a: { source: string }, b: { source: string }) => (a.source < b.source ? -1 : 1)),
    [
      { ...line, source: `${AT}/CHECKSUM` },
      { ...line, source: `${AT}/sums.txt` },
    ],
  );
  t.strictSame(sumsIn(bundle), [hex(LIST), hex(LIST)], "byte for byte");
  for (const it of [join(dir, "m.lock.json"), join(bundle, "airferry.json")])
    t.notMatch(readFileSync(it, "utf8"), "SECRET");

  // What is kept with the lock is not asked for again, and is read again where it is lost.
  const asked = upstream.of("/v1/CHECKSUM", "GET").length;
  await run(named, "--out", "again");
  t.equal(upstream.of("/v1/CHECKSUM", "GET").length, asked);
  rmSync(join(dir, "m.lock.d"), { recursive: true });
  files.set("/v1/CHECKSUM", `${LIST}\n`);
  const locked = await airferry(dir, ["lock", "m.yaml", ...rewrite]);
  t.match(locked.stderr, /added file upstream\/[0-9a-f]{32}\/CHECKSUM/);
  const next = await run(named);
  t.ok(upstream.of("/v1/CHECKSUM", "GET").length > asked);
  t.strictSame(sumsIn(next).sort(), [hex(LIST), hex(`${LIST}\n`)].sort());
  t.equal(
    readdirSync(join(dir, "m.lock.d"), { recursive: true, withFileTypes: true }).filter((it) => it.isFile()).length,
    2,
  );
});

t.test("a lock with another path, or no URL, is none", async (t) => {
  const url = `${AT}/CHECKSUM`;
  const document = { established: "first-sight", kept: hex(LIST), path: "upstream/0/CHECKSUM", size: 1, url };
  const lockOf = (more: object) => {
    const artifact = { path: "files/one", established: "first-sight", urls: [url] };
    const documents = [{ ...document, kept: `sha256:${document.kept}`, ...more }];
    const entry = { kind: "file", name: "one", request: "x", artifacts: [artifact], documents };
    return JSON.stringify({ lockVersion: 1, stream: "test", time: "2026-01-01T00:00:00Z", entries: [entry] });
  };
  t.match(parseLock(lockOf({}), "m.lock.json").entries, [{ documents: [{ url }] }]);
  const wrong = [
    { path: "upstream/../files/x" },
    { path: "files/x" },
    { path: "upstream/" },
    { url: "file:///etc/passwd" },
    { url: "CHECKSUM" },
    { established: "generated" },
    { size: -1 },
    { more: 1 },
  ];
  for (const it of wrong)
    t.throws(() => parseLock(lockOf(it), "m.lock.json"), { code: "ERR_LOCK_INVALID" }, JSON.stringify(it));
});
