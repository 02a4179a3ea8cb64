import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import t, { type Test } from "tap";
import { buildIndex } from "../../src/packages/build-index.ts";
import { metadataPlaces } from "../../src/packages/metadata-places.ts";
import { PackageIndex } from "../../src/packages/package-index.ts";
import type { MetadataPlace } from "../../src/packages/types.ts";
import { needs } from "../fixtures/clients.ts";
import { xorriso } from "../fixtures/el-dvd.ts";
import { makeRepository } from "../fixtures/rpm-metadata.ts";
import { createTestStore } from "../fixtures/store-reader.ts";

const RELEASE = `sha256:${"1".repeat(64)}` as const;

/** Everything in an index, repository by repository. */
async function contentOf(t: Test, bytes: Buffer | undefined) {
  if (bytes === undefined) return undefined;
  const fill = async (target: Buffer, at: number) => void bytes.copy(target, 0, at);
  const index = await PackageIndex.open({ size: bytes.length, fill }, RELEASE);
  if (index === undefined) return t.fail("not an index");
  const all: Record<string, string[]> = {};
  for (const { path, packages } of index.repositories) {
    all[path] = (await index.read(index.list(path, 0, packages))).map((it) => Object.values(it).join(" | "));
  }
  return all;
}

const xml = (head: string, block: string) =>
  Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n<${head} packages="1">${block}</${head.split(" ")[0]}>`);

t.test("buildIndex() lists packed repositories", async (t) => {
  const store = createTestStore(t.testdir());
  const made = await makeRepository([
    { name: "zlib", evr: "2:1.2-3", summary: "A <b> compression library", provides: ["libz.so.1()(64bit)"] },
    { name: "attr", href: "Packages/a/attr.rpm", summary: "x".repeat(10_000) },
    { name: "elsewhere", base: "http://other.example/" },
  ]);
  const content: Record<string, Buffer> = {};
  for (const [path, bytes] of made.files) content[`rpms/os/${path}`] = bytes;
  // One whose metadata is no metadata, one without any.
  content["rpms/broken/repodata/repomd.xml"] = Buffer.from("<repomd>");
  const rpm = (name: string) =>
    ({
      name,
      path: `rpms/${name}/`,
      mode: "exact",
      repomdSignedBy: "none",
      gpgcheck: false,
      keys: [],
      packages: 1,
    }) as never;
  const release = await store.put({ stream: "a", content, catalog: { rpms: [rpm("broken"), rpm("none"), rpm("os")] } });
  const places = metadataPlaces(release, store.blobPath);
  t.strictSame(
    places.map((it) => it.path),
    ["rpms/broken/", "rpms/none/", "rpms/os/"],
  );
  t.strictSame(await contentOf(t, await buildIndex(RELEASE, places)), {
    "rpms/os/": [
      `attr | 1-1 | noarch | ${"x".repeat(500)} | Packages/a/attr.rpm | 100`,
      "elsewhere | 1-1 | noarch | x |  | 100",
      "zlib | 2:1.2-3 | noarch | A <b> compression library | Packages/zlib-1.2-3.noarch.rpm | 100",
    ],
  });
  t.equal(await buildIndex(RELEASE, []), undefined);
  t.equal(await buildIndex(RELEASE, places.slice(0, 2)), undefined, "nothing to look up");
});

t.test("buildIndex() reads metadata of an unusual dialect", async (t) => {
  const block = `<c:package type="rpm"><c:name>odd</c:name><c:arch>noarch</c:arch><c:version epoch="0" ver="1" rel="2"/><c:checksum type="sha256" pkgid="YES">${"a".repeat(64)}</c:checksum><c:summary>Strange &amp; rare</c:summary><c:size package="7"/><c:location href="odd.rpm"/><c:format><r:provides><r:entry name="cap(odd)"/></r:provides></c:format></c:package>`;
  const primary = xml(
    'c:metadata xmlns:c="http://linux.duke.edu/metadata/common" xmlns:r="http://linux.duke.edu/metadata/rpm"',
    block,
  );
  const dir = t.testdir({
    primary,
    repomd: xml(
      'repomd xmlns="http://linux.duke.edu/metadata/repo"',
      `<data type="primary"><checksum type="sha256">${"a".repeat(64)}</checksum><location href="repodata/p.xml"/></data>`,
    ),
  });
  const files = { "repodata/repomd.xml": join(dir, "repomd"), "repodata/p.xml": join(dir, "primary") };
  const bytes = await buildIndex(RELEASE, [{ kind: "files", path: "rpms/odd/", files }]);
  t.strictSame(await contentOf(t, bytes), { "rpms/odd/": ["odd | 1-2 | noarch | Strange & rare | odd.rpm | 7"] });
});

const primaryOf = (blocks: string) =>
  xml('metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"', blocks);
const repomdOf = (href: string) =>
  xml(
    'repomd xmlns="http://linux.duke.edu/metadata/repo"',
    `<data type="primary"><checksum type="sha256">${"a".repeat(64)}</checksum><location href="repodata/${href}"/></data>`,
  );
const block = (name: string, summary: string, provides: string) =>
  `<package type="rpm"><name>${name}</name><arch>noarch</arch><version epoch="0" ver="1" rel="2"/><checksum type="sha256" pkgid="YES">${"a".repeat(64)}</checksum><summary>${summary}</summary><size package="7"/><location href="x.rpm"/><format><rpm:provides>${provides}</rpm:provides></format></package>`;

t.test("buildIndex() keeps little of much, and makes no index of too much", async (t) => {
  const provides = Array.from({ length: 100 }, (_, at) => `<rpm:entry name="${"c".repeat(1000)}${at}"/>`).join("");
  const long = (name: string) => block(name, "x", provides);
  // 64 KiB of each in the index: 1,600 do not fit.
  const dir = t.testdir({
    few: primaryOf(long("long") + block("short", "y".repeat(1_000_000), "")),
    broken: primaryOf(`${long("one")}<package type="rpm"/>`),
    many: gzipSync(primaryOf(Array.from({ length: 1600 }, (_, at) => long(`p${at}`)).join("")), { level: 1 }),
    "few.md": repomdOf("p.xml"),
    "many.md": repomdOf("p.xml.gz"),
  });
  const place = (name: string, repomd: string, primary: string): MetadataPlace => ({
    kind: "files",
    path: `rpms/${name}/`,
    files: { "repodata/repomd.xml": join(dir, repomd), [`repodata/${primary}`]: join(dir, name) },
  });
  const few = await buildIndex(RELEASE, [place("broken", "few.md", "p.xml"), place("few", "few.md", "p.xml")]);
  t.ok(few !== undefined && few.length < 70_000, `${few?.length} bytes`);
  t.strictSame(await contentOf(t, few), {
    "rpms/few/": ["long | 1-2 | noarch | x | x.rpm | 7", `short | 1-2 | noarch | ${"y".repeat(500)} | x.rpm | 7`],
  });
  t.equal(await buildIndex(RELEASE, [place("many", "many.md", "p.xml.gz")]), undefined);
});

t.test("buildIndex() lists repositories inside ISOs", { timeout: 120_000 }, async (t) => {
  if (!needs(t, "xorriso")) return;
  const dir = t.testdir({ tree: {} });
  for (const variant of ["BaseOS", "AppStream"]) {
    const { files } = await makeRepository([{ name: `of-${variant}` }]);
    for (const [path, bytes] of files) {
      const file = join(dir, "tree", variant, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, bytes);
    }
  }
  await xorriso(join(dir, "tree"), join(dir, "dvd.iso"));
  writeFileSync(join(dir, "no.iso"), "no image");
  const iso = (name: string): MetadataPlace => ({ kind: "iso", path: `isos/${name}/`, file: join(dir, `${name}.iso`) });
  t.strictSame(await contentOf(t, await buildIndex(RELEASE, [iso("no"), iso("dvd")])), {
    "isos/dvd/AppStream/": ["of-AppStream | 1-1 | noarch | x | Packages/of-AppStream-1-1.noarch.rpm | 100"],
    "isos/dvd/BaseOS/": ["of-BaseOS | 1-1 | noarch | x | Packages/of-BaseOS-1-1.noarch.rpm | 100"],
  });
});
