/** src/sort/: what of a recording becomes an entry with its lock, what does not, and what a person changed since. */
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { parse } from "yaml";
import type { Fetcher } from "../../src/fetch/types.ts";
import { HttpStatus, upstreamError } from "../../src/http/failure.ts";
import { digestOf } from "../../src/io/digest.ts";
import { type RecordedAnswer, readRecording } from "../../src/io/web-recording.ts";
import { pathsOf } from "../../src/manifest/file-names.ts";
import { openManifest } from "../../src/record/recorded-manifest.ts";
import { sortRecording } from "../../src/sort/sort-recording.ts";
import { readLock } from "../../src/sources/lock-document.ts";
import { TestImages } from "../fixtures/images.ts";
import { makeIso } from "../fixtures/iso-maker.ts";
import { record } from "../fixtures/web-recording.ts";

type Row = [url: string, body: string | Buffer, more?: Partial<RecordedAnswer>];

/** Upstream that has these bodies and nothing else. */
function upstreamOf(bodies: ReadonlyMap<string, Buffer>, asked: string[]): Fetcher {
  const get = (url = "") => {
    asked.push(url);
    const bytes = bodies.get(url);
    if (bytes === undefined) throw upstreamError("ERR_UPSTREAM", url, "status 404", { cause: new HttpStatus(404) });
    return { url, finalUrl: url, askedUrl: url, status: 200, headers: {}, bytes, acceptRanges: false };
  };
  return {
    head: async ({ urls }) => get(urls[0]),
    fetchBytes: async ({ urls }) => get(urls[0]),
    fetchInto: async ({ urls }) => get(urls[0]),
    close: async () => {},
  };
}

/** A folder with a recording; `sort` sorts it, and tells what came of it. */
function lab(t: Test) {
  const dir = t.testdir();
  const folder = join(dir, "b.recording");
  const file = join(dir, "b.yaml");
  const asked: string[] = [];
  const bodies = new Map<string, Buffer>();
  const reports: string[] = [];
  return {
    file,
    asked,
    bodies,
    reports,
    add: (...rows: Row[]) => record(folder, rows),
    async sort(isWhole = false) {
      const manifest = await openManifest(file, "b");
      const { answers } = await readRecording(folder);
      const sorted = await sortRecording({
        manifest,
        paths: pathsOf(file),
        folder,
        answers: () => answers,
        watch: () => {},
        settled: async () => {},
        fetcher: upstreamOf(bodies, asked),
        isWhole,
        report: (line) => reports.push(line),
      });
      await manifest.write();
      const lock = await readLock(pathsOf(file).lock);
      return { ...sorted, text: parse(readFileSync(file, "utf8")), lock };
    },
  };
}

const GZIP = Buffer.from("1f8b0800", "hex");
const PLAIN = { headers: { "content-type": "application/octet-stream" } };

t.test("images with the platforms that were pulled", async (t) => {
  const it = lab(t);
  const images = new TestImages();
  const [amd, arm] = ["linux/amd64", "linux/arm64"].map((name) => images.image(name, [{ "/etc/box": name }]));
  const index = images.index([amd, arm].filter((found) => found !== undefined));
  const single = images.image("linux/amd64", [{ "/etc/one": "1" }]);
  const torn = images.image("linux/amd64", [{ "/etc/torn": "1" }]);
  const at = "https://r.example/v2/tools/box";
  const manifest = (digest = "") => images.manifests.get(digest) ?? { mediaType: "", bytes: Buffer.alloc(0) };
  const typed = (digest = "", more: Partial<RecordedAnswer> = {}) => ({
    headers: { "content-type": manifest(digest).mediaType, "docker-content-digest": digest },
    ...more,
  });
  const blobsOf = (digest = "", base = at): Row[] => {
    const { config, layers } = JSON.parse(manifest(digest).bytes.toString());
    return [config, ...layers].map((blob) => [
      `${base}/blobs/${blob.digest}`,
      images.blobs.get(blob.digest) ?? "",
      PLAIN,
    ]);
  };
  it.add(
    [`${at}/manifests/1.0`, manifest(index.digest).bytes, typed(index.digest)],
    [`${at}/manifests/${amd?.digest}`, manifest(amd?.digest).bytes, typed(amd?.digest)],
    ...blobsOf(amd?.digest),
    // A client that asks for the tag by HEAD alone.
    ["http://plain.example:5000/v2/one/manifests/2", "", typed(single.digest, { method: "HEAD" })],
    [
      `http://plain.example:5000/v2/one/manifests/${single.digest}`,
      manifest(single.digest).bytes,
      typed(single.digest),
    ],
    ...blobsOf(single.digest, "http://plain.example:5000/v2/one"),
    [`https://r.example/v2/torn/manifests/1`, manifest(torn.digest).bytes, typed(torn.digest)],
    [
      `https://r.example/v2/torn/manifests/sha256-${"a".repeat(64)}.sig`,
      manifest(single.digest).bytes,
      typed(single.digest),
    ],
  );
  // Of the other platform manifest and config are carried too, so that every digest resolves.
  const armConfig = JSON.parse(manifest(arm?.digest).bytes.toString()).config.digest;
  it.bodies.set(`${at}/manifests/${arm?.digest}`, manifest(arm?.digest).bytes);
  it.bodies.set(`${at}/blobs/${armConfig}`, images.blobs.get(armConfig) ?? Buffer.alloc(0));
  const { text, lock, left, entries } = await it.sort();
  t.strictSame(text.images, [
    { ref: "plain.example:5000/one:2", insecure: true, referrers: false },
    { ref: "r.example/tools/box:1.0", platforms: ["linux/amd64"], referrers: false },
  ]);
  t.match(readFileSync(it.file, "utf8"), `- ref: r.example/tools/box:1.0 # ${index.digest}\n`);
  t.match(left, [{ id: "r.example/torn:1", reason: "no platform has all of its layers in the recording" }]);
  t.match(entries, [{ key: "images" }, { key: "images" }]);
  t.match(lock?.entries, [
    { detail: { images: [{ digest: single.digest }] } },
    { detail: { images: [{ digest: index.digest }] } },
  ]);
  t.equal(it.asked.filter((url) => !/referrers|\.sig$|\.att$|\.sbom$/.test(url)).length, 2, it.asked.join("\n"));
});

t.test("ISOs and plain files, and nothing that a package manager fetched", async (t) => {
  const it = lab(t);
  const plain = (...urls: string[]): Row[] => urls.map((url) => [url, GZIP, PLAIN]);
  it.add(
    ["https://dl.example/os/boot.iso", makeIso([]), PLAIN],
    ["https://dl.example/os/fake.iso", "no image", PLAIN],
    ["https://dl.example/bin/tool", "\u007fELF and more", PLAIN],
    ["https://dl.example/page.tar.gz", "<html>log in", { headers: { "content-type": "text/html" } }],
    ["https://dl.example/gone.tar.gz", "gone", { status: 404 }],
    ["https://dl.example/index.html", "<html>", {}],
    ...plain("https://dl.example/a/x.tar.gz", "https://mirror.example/a/x.tar.gz"),
  );
  it.add(
    ["https://other.example/b/x.tar.gz", Buffer.concat([GZIP, GZIP]), PLAIN],
    ["https://dl.example/x.tgz?download=1", Buffer.concat([GZIP, Buffer.from("q")]), PLAIN],
    ...plain(
      "https://npm.example/six/-/six-1.0.tgz",
      "https://go.example/m/@v/v1.zip",
      "https://deb.example/pool/a/a_1.deb",
      `https://py.example/packages/aa/bb/${"c".repeat(60)}/six-1.tar.gz`,
      "https://crates.example/crates/a/a-1.crate",
      "https://repo.example/maven2/a/a.jar",
    ),
  );
  const { text, left, lock } = await it.sort();
  t.strictSame(text.isos, [{ name: "boot", url: "https://dl.example/os/boot.iso" }]);
  t.strictSame(text.files, [
    { url: "https://dl.example/a/x.tar.gz" },
    { url: "https://dl.example/bin/tool" },
    { url: "https://other.example/b/x.tar.gz", as: "other.example/x.tar.gz" },
  ]);
  t.match(left, [{ id: "https://dl.example/page.tar.gz", reason: /is not a gzip file/ }]);
  t.match(it.reports, [/page\.tar\.gz stays under web: .*is not a gzip file/]);
  t.match(
    lock?.entries.find((entry) => entry.kind === "iso"),
    {
      artifacts: [{ integrity: digestOf(makeIso([])), established: "first-sight" }],
    },
  );
  t.strictSame(it.asked, [], "nothing is asked for");
});

t.test("a file whose digest's file would have too long a name is no entry", async (t) => {
  const it = lab(t);
  const name = `${"l".repeat(247)}.bin`;
  it.add([`https://dl.example/${name}`, "x"], ["https://dl.example/a.bin", "y"]);
  const { text, left } = await it.sort();
  t.strictSame(text.files, [{ url: "https://dl.example/a.bin" }]);
  t.match(left, [{ id: `https://dl.example/${name}`, reason: /longer than 255 bytes/ }]);
});

t.test("a note of what was sorted that is anything else is refused, or says nothing", async (t) => {
  const it = lab(t);
  it.add(["https://dl.example/a.bin", "y"]);
  const note = join(it.file, "..", "b.recording/sorted.json");
  execFileSync("mkfifo", [note]);
  await t.rejects(it.sort(), { message: /not a regular file/ });
  rmSync(note);
  for (const text of ["null", '{"sorted":{"a":1}}', "{", '{"sorted":[1,"isos x"]}']) {
    writeFileSync(note, text);
    t.equal((await it.sort()).text.files?.length, 1);
    rmSync(it.file, { force: true });
  }
});

t.test("what a person wrote, changed or removed stays so", async (t) => {
  const it = lab(t);
  writeFileSync(
    it.file,
    "apiVersion: airferry/v1\nstream: mine\nfiles:\n  - url: https://dl.example/own.tar.gz # mine\n    max_size: 1GiB\n",
  );
  for (const name of ["own", "a", "b"])
    it.add([`https://dl.example/${name}.tar.gz`, Buffer.concat([GZIP, Buffer.from(name)]), PLAIN]);
  const first = await it.sort();
  t.strictSame(first.text.files, [
    { url: "https://dl.example/own.tar.gz", max_size: "1GiB" },
    { url: "https://dl.example/a.tar.gz" },
    { url: "https://dl.example/b.tar.gz" },
  ]);
  t.strictSame(
    first.lock?.entries.map((entry) => entry.name),
    ["a.tar.gz", "b.tar.gz"],
    "theirs is theirs to lock",
  );
  const text = readFileSync(it.file, "utf8");
  t.match(text, "own.tar.gz # mine");
  const edited = text
    .replace("  - url: https://dl.example/a.tar.gz\n", "")
    .replace("b.tar.gz\n", "b.tar.gz # kept\n    as: c.gz\n");
  writeFileSync(it.file, edited);
  const again = Buffer.concat([GZIP, Buffer.from("b again")]);
  it.add(["https://dl.example/b.tar.gz", again, PLAIN], ["https://dl.example/new.zip", "PK\u0003\u0004", PLAIN]);
  const second = await it.sort();
  t.strictSame(second.text.files, [
    { url: "https://dl.example/own.tar.gz", max_size: "1GiB" },
    { url: "https://dl.example/b.tar.gz", as: "c.gz" },
    { url: "https://dl.example/new.zip" },
  ]);
  t.match(readFileSync(it.file, "utf8"), "b.tar.gz # kept");
  t.match(
    second.lock?.entries.find((entry) => entry.name === "c.gz"),
    { artifacts: [{ integrity: digestOf(again) }] },
  );
});
