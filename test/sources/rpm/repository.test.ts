/** Where repositories are and how their metadata comes: mirrors, variables, codecs, locations, changes under our hands. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import t, { type Test as Tap } from "tap";
import { needs } from "../../fixtures/clients.ts";
import { airferry } from "../../fixtures/host.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";
import { RPM_FIXTURES } from "../../fixtures/rpm-files.ts";
import { type LockFile, lockOver, packagesIn } from "../../fixtures/rpm-lock.ts";
import { type MadePackage, type MadeRepository, makeRepository } from "../../fixtures/rpm-metadata.ts";
import { type Behaviour, startUpstream, type UpstreamFile } from "../../fixtures/upstream.ts";

const sha256Of = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** A repository with other bytes, or another place, for some of its records. */
function changed(
  good: MadeRepository,
  change: (record: { type: string; href: string; bytes: Buffer }) => { href: string; location?: string; bytes: Buffer },
): MadeRepository {
  const files = new Map(good.files);
  const repomd = (files.get("repodata/repomd.xml") as Buffer).toString();
  const rewritten = repomd.replace(/<data type="(\w+)">[\s\S]*?<\/data>/g, (_all, type: string) => {
    const href = /href="([^"]*)"/.exec(_all)?.[1] as string;
    const bytes = files.get(href) as Buffer;
    const next = change({ type, href, bytes });
    files.delete(href);
    files.set(next.href, next.bytes);
    const location = next.location ?? `<location href="${next.href}"/>`;
    return `<data type="${type}"><checksum type="sha256">${sha256Of(next.bytes)}</checksum>${location}<size>${next.bytes.length}</size></data>`;
  });
  files.set("repodata/repomd.xml", Buffer.from(rewritten));
  return { files, below: (prefix) => new Map([...files].map(([path, bytes]) => [`${prefix}${path}`, bytes])) };
}

const PACKAGES: MadePackage[] = [
  { name: "app", requires: ["/usr/share/dict/words"] },
  { name: "words", hidden: ["/usr/share/dict/words"] },
  { name: "more" },
];

const CODECS: Record<string, (open: Buffer) => Buffer> = {
  gz: (open) => gzipSync(open),
  zst: (open) => zstdCompressSync(open),
  xz: (open) => execFileSync("xz", ["-c"], { input: open }),
  bz2: (open) => execFileSync("bzip2", ["-c"], { input: open }),
};

t.test("metadata in gz, zstd, xz and bz2: closed over filelists, whole and subset", async (t) => {
  if (!needs(t, "xz", "bzip2")) return;
  const yaml = "---\ndocument: modulemd-obsoletes\nversion: 1\ndata:\n  module: x\n  stream: y\n...\n";
  const extra = [{ type: "modules", name: "modules.yaml", bytes: Buffer.from(yaml), compress: true }];
  const made = await makeRepository(PACKAGES, { extra });
  for (const [codec, pack] of Object.entries(CODECS)) {
    const repository = changed(made, ({ href, bytes }) => {
      return { href: href.replace(/\.gz$/, `.${codec}`), bytes: pack(gunzipSync(bytes)) };
    });
    const whole = await lockOver(t, { r: repository }, { r: {} });
    t.equal(whole.status, 0, whole.stderr);
    t.equal(whole.lock?.entries[0]?.detail.mode, "exact");
    t.ok(whole.lock?.entries[0]?.artifacts.some((it) => it.path.endsWith(`primary.xml.${codec}`)));
    const part = await lockOver(t, { r: repository }, { r: { packages: ["app"] } });
    t.same(part.packages("r"), ["app-1-1.noarch", "words-1-1.noarch"], `${codec}: filelists were read`);
  }
});

t.test("records at other places: fetched there, and the mirror's own repomd.xml says where they are now", async (t) => {
  const good = await makeRepository(PACKAGES);
  const moved = changed(good, ({ type, bytes }) => {
    const href = `../pool/${type}.xml.gz`;
    return { href, bytes };
  });
  const based = changed(good, ({ type, bytes }) => {
    const href = `${type}.xml.gz`;
    return { href, location: `<location xml:base="@BASE@/elsewhere/" href="${href}"/>`, bytes };
  });
  const files = new Map<string, UpstreamFile>();
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  for (const [path, bytes] of moved.files) files.set(path.startsWith("../") ? path.slice(2) : `/moved/${path}`, bytes);
  for (const [path, bytes] of based.files)
    files.set(
      path.startsWith("repodata/") ? `/based/${path}` : `/elsewhere/${path}`,
      path.startsWith("repodata/") ? bytes.toString().replaceAll("@BASE@", upstream.url) : bytes,
    );
  const dir = scratch(t);
  const rpms = ["moved", "based"].map((name) => ({ name, url: `${upstream.url}/${name}/`, gpgcheck: false }));
  writeManifest(dir, { rpms });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  for (const entry of lock.entries) {
    t.equal(entry.detail.mode, "subset", `${entry.name}: upstream's repomd.xml would lead out of the gap`);
    t.equal(packagesIn(lock, entry.name).length, 3);
    const repomd = readFileSync(join(dir, "m.lock.d", (entry.detail.metadata.repomd as string).slice(7)), "utf8");
    t.notMatch(repomd, /\.\.\/|xml:base/);
    for (const [, href] of repomd.matchAll(/href="([^"]*)"/g))
      t.ok(entry.artifacts.some((it) => it.path === `rpms/${entry.name}/${href}`));
  }
});

t.test("upstream changes while it is read", async (t) => {
  const names = { primary: "repodata/primary.xml.gz", filelists: "repodata/filelists.xml.gz" } as Record<
    string,
    string
  >;
  const plain = ({ type, bytes }: { type: string; bytes: Buffer }) => ({ href: names[type] as string, bytes });
  const before = changed(await makeRepository([{ name: "old" }]), plain);
  const after = changed(await makeRepository([{ name: "new" }], { revision: "2" }), plain);
  const repomd = (it: MadeRepository) => it.files.get("repodata/repomd.xml") as Buffer;

  // Files without digests in their names: old repomd.xml, new primary.xml.
  const settled = await lockOver(
    t,
    { r: after },
    { r: {} },
    { behaviour: { "/r/repodata/repomd.xml": [{ body: repomd(before) }] } },
  );
  t.equal(settled.status, 0, settled.stderr);
  t.match(settled.stderr, /upstream changed while its metadata was being read; reading it again/);
  t.same(settled.packages("r"), ["new-1-1.noarch"]);

  // All was read, but the last look shows another repomd.xml.
  const late = await lockOver(
    t,
    { r: after },
    { r: {} },
    {
      behaviour: {
        "/r/repodata/repomd.xml": [{ body: repomd(before) }],
        "/r/repodata/primary.xml.gz": [{ body: before.files.get(names.primary as string) as Buffer }],
      },
    },
  );
  t.equal(late.status, 0, late.stderr);
  t.same(late.packages("r"), ["new-1-1.noarch"]);

  let n = 0;
  const restless: Behaviour[] = Array.from({ length: 20 }, () => ({
    body: Buffer.concat([repomd(after), Buffer.from(`<!-- ${n++} -->`)]),
  }));
  const never = await lockOver(t, { r: after }, { r: {} }, { behaviour: { "/r/repodata/repomd.xml": restless } });
  t.equal(never.status, 4);
  t.match(never.stderr, /cannot lock rpms "r": the repository changed 4 times while it was read/);
  t.equal(never.lock, undefined, "nothing half-written");

  // Damage that stays is not taken for a change.
  const damaged = await lockOver(
    t,
    { r: after },
    { r: {} },
    { behaviour: { "/r/repodata/primary.xml.gz": Array.from({ length: 20 }, () => ({ body: Buffer.from("x") })) } },
  );
  t.equal(damaged.status, 4);
  t.notMatch(damaged.stderr, /reading it again/);
});

t.test("several repositories are taken together, and again together when one of them changes", async (t) => {
  const [app, lib] = [
    await makeRepository([{ name: "app", requires: ["lib"] }]),
    await makeRepository([{ name: "lib" }]),
  ];
  const [appNow, libNow] = [app, lib].map((it) => it.files.get("repodata/repomd.xml") as Buffer) as [Buffer, Buffer];
  const entries = { r: { packages: ["app"] }, s: { packages: [] } };
  const before = (repomd: Buffer, n: number) => ({ body: Buffer.concat([repomd, Buffer.from(`<!-- ${n} -->`)]) });
  const asked = (run: Awaited<ReturnType<typeof lockOver>>, name: string) =>
    run.upstream.requests.filter((it) => it.path === `/${name}/repodata/repomd.xml`).length;

  const once = await lockOver(t, { r: app, s: lib }, entries, {
    behaviour: { "/s/repodata/repomd.xml": [before(libNow, 1)] },
  });
  t.equal(once.status, 0, once.stderr);
  t.match(once.stderr, /s: upstream changed while its metadata was being read; reading it again/);
  t.notMatch(once.stderr, /r: upstream changed/);
  t.same([once.packages("r"), once.packages("s")], [["app-1-1.noarch"], ["lib-1-1.noarch"]]);
  t.same([asked(once, "r"), asked(once, "s")], [4, 4], "opened and looked at again, twice");

  const restless = (repomd: Buffer) => Array.from({ length: 40 }, (_it, n) => before(repomd, n));
  const never = await lockOver(t, { r: app, s: lib }, entries, {
    behaviour: { "/r/repodata/repomd.xml": restless(appNow), "/s/repodata/repomd.xml": restless(libNow) },
  });
  t.equal(never.status, 4);
  t.match(never.stderr, /the repository changed 4 times while it was read/);
  t.same([asked(never, "r"), asked(never, "s")], [8, 8], "four times, not four times for each other one");
});

t.test("a mirror whose filelists prove damaged once they are needed is left for another one", async (t) => {
  const good = await makeRepository(PACKAGES);
  const behind = await makeRepository(PACKAGES.slice(0, 2));
  const lists = (it: MadeRepository) => [...it.files.keys()].find((path) => path.includes("filelists")) as string;
  const files = new Map<string, UpstreamFile>([...good.below("/good/"), ...behind.below("/behind/")]);
  files.set(`/behind/${lists(behind)}`, Buffer.from("damaged"));
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  files.set("/list", `${upstream.url}/behind/\n${upstream.url}/good/\n`);
  const dir = scratch(t);
  const calm = { name: "calm", url: `${upstream.url}/good/`, gpgcheck: false, packages: ["more"] };
  const r = { name: "r", mirrorlist: `${upstream.url}/list`, gpgcheck: false, packages: ["app"] };
  writeManifest(dir, { rpms: [calm, r] });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  const asked = upstream.requests.map((it) => it.path);
  t.ok(asked.includes(`/behind/${lists(behind)}`) && asked.includes(`/good/${lists(good)}`));
});

t.test("dnf variables in URLs, mirror lists and keys", async (t) => {
  const made = await makeRepository(PACKAGES);
  const files = new Map<string, UpstreamFile>(made.below("/9-stream/aarch64/stock/"));
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  files.set("/list?release=9-stream&arch=aarch64", `${upstream.url}/$releasever/$basearch/\${infra}/\n`);
  const vars = { releasever: "9-stream", infra: "stock" };
  const common = { vars, arch: ["aarch64", "noarch"], gpgcheck: false };
  const dir = scratch(t);
  writeManifest(dir, {
    rpms: [
      { name: "url", url: `${upstream.url}/$releasever/$basearch/\${infra}/`, ...common },
      { name: "list", mirrorlist: `${upstream.url}/list?release=$releasever&arch=$arch`, ...common },
    ],
  });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  for (const name of ["url", "list"]) {
    const urls = lock.entries.find((it) => it.name === name)?.artifacts.flatMap((it) => it.urls ?? []) ?? [];
    t.ok(urls.length > 0 && urls.every((it) => it.startsWith(`${upstream.url}/9-stream/aarch64/stock/`)), name);
  }
  writeManifest(dir, {
    rpms: [{ name: "k", url: `${upstream.url}/9-stream/aarch64/stock/`, keys: [`${upstream.url}/KEY-$releasever`] }],
  });
  const key = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(key.status, 2);
  t.match(key.stderr, /\$releasever" has no value/);
});

const STATIC = join(RPM_FIXTURES, "librepo/python/tests/servermock/yum_mock/static");

/** librepo's own vectors; what its tests call good is locked, what they call bad is refused. */
const VECTORS: [kind: "metalink" | "mirrorlist", file: string, status: number, message?: RegExp][] = [
  ["metalink", "good_01.xml", 0],
  ["metalink", "good_02.xml", 0],
  ["metalink", "metalink_with_alternates.xml", 0],
  ["metalink", "badfirsturl.xml", 0],
  ["metalink", "badfirsthost.xml", 0],
  ["metalink", "firsturlhascorruptedfiles.xml", 0],
  ["metalink", "varsub.xml", 0],
  ["metalink", "badchecksum.xml", 4, /no usable hash of repomd\.xml/],
  ["metalink", "badfilename.xml", 4, /not a metalink of a repomd\.xml/],
  ["metalink", "nourls.xml", 4, /no usable hash|no mirror/],
  // Without a hash a metalink is a mirror list; what it is for is missing.
  ["metalink", "mirrors_01.xml", 4, /no usable hash of repomd\.xml/],
  ["mirrorlist", "good_01", 0],
  ["mirrorlist", "good_02", 0],
  ["mirrorlist", "badfirsturl", 0],
  ["mirrorlist", "firsturlhascorruptedfiles", 0],
  ["mirrorlist", "varsub", 0],
  ["mirrorlist", "nourls", 4, /no mirror/],
];

async function librepoUpstream(t: Tap) {
  const files = new Map<string, UpstreamFile>();
  const names = execFileSync("find", [join(STATIC, "01"), "-type", "f"], { encoding: "utf8" })
    .trim()
    .split("\n");
  for (const file of names) {
    const path = file.slice(STATIC.length);
    files.set(`/yum/static${path}`, { file });
    const harmed = path.includes("primary.xml") ? "harmed" : { file };
    files.set(`/yum/harm_checksum/primary.xml/static${path}`, harmed);
  }
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  return upstream;
}

t.test("librepo's metalinks and mirror lists", async (t) => {
  const upstream = await librepoUpstream(t);
  for (const [kind, file, status, message] of VECTORS) {
    const text = readFileSync(join(STATIC, kind, file), "utf8").replaceAll(
      "127.0.0.1:{PORT_PLACEHOLDER}",
      upstream.host,
    );
    upstream.files.set(`/${kind}/${file}`, text);
    const dir = scratch(t);
    const entry = { name: "r", [kind]: `${upstream.url}/${kind}/${file}`, gpgcheck: false, vars: { version: "01" } };
    writeManifest(dir, { rpms: [entry] });
    const ran = await airferry(dir, ["lock", "m.yaml"]);
    t.equal(ran.status, status, `${kind}/${file}: ${ran.stderr}`);
    if (message) t.match(ran.stderr, message, file);
    if (status !== 0) continue;
    const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
    t.same(packagesIn(lock, "r"), ["filesystem-2.4.44-1.fc16.i686"], file);
    const [rpm] = lock.entries[0]?.artifacts.filter((it) => it.path.endsWith(".rpm")) ?? [];
    t.ok(rpm?.urls?.includes(`${upstream.url}/yum/static/01/filesystem-2.4.44-1.fc16.i686.rpm`), file);
  }
});

t.test("metalink: a dead mirror costs no waiting, one that is behind is passed over and asked last", async (t) => {
  const made = await makeRepository(PACKAGES);
  const behind = await makeRepository([{ name: "behind" }]);
  const files = new Map<string, UpstreamFile>([...behind.below("/behind/"), ...made.below("/good/")]);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const closed = await startUpstream();
  await closed.close();
  const repomd = sha256Of(made.files.get("repodata/repomd.xml") as Buffer);
  const urls = [closed.url, `${upstream.url}/behind`, `${upstream.url}/good`]
    .map((it, at) => `<url protocol="http" preference="${100 - at}">${it}/repodata/repomd.xml</url>`)
    .join("");
  const hash = `<verification><hash type="sha256">${repomd}</hash></verification>`;
  files.set(
    "/link",
    `<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml">${hash}<resources>${urls}</resources></file></files></metalink>`,
  );
  const dir = scratch(t);
  writeManifest(dir, { rpms: [{ name: "r", metalink: `${upstream.url}/link`, gpgcheck: false }] });
  const started = Date.now();
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  t.ok(Date.now() - started < 10_000, "the dead one's retries would take fifteen seconds");
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  const [rpm] = lock.entries[0]?.artifacts.filter((it) => it.path.endsWith(".rpm")) ?? [];
  t.equal(rpm?.urls?.[0], `${upstream.url}/good/Packages/app-1-1.noarch.rpm`, "the one that is as new comes first");
  t.equal(rpm?.urls?.length, 3, "and the others stay as a resort");
});

const ODD: MadePackage[] = [
  { name: "c++", href: "Packages/c++-1-1.noarch.rpm" },
  { name: "snap", evr: "1^git2~rc1-1", href: "Packages/snap-1^git2~rc1-1.noarch.rpm" },
  { name: "epoch", evr: "2:1-1", href: "Packages/epoch-2:1-1.noarch.rpm" },
  { name: "coded", href: "Packages/coded%2b%2b-1-1.noarch.rpm" },
  { name: "blank", href: "Packages/blank 1 #2?.rpm" },
  { name: "first", href: "a:b-1-1.noarch.rpm" },
];

t.test("names with + ^ ~ : are asked for so that every server understands, and stored as they are", async (t) => {
  const made = await makeRepository(ODD);
  const files = new Map<string, UpstreamFile>(made.below("/core:/stable:/v1.33/rpm/"));
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  writeManifest(dir, { rpms: [{ name: "k", url: `${upstream.url}/core:/stable:/v1.33/rpm/`, gpgcheck: false }] });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  const rpms = new Map(
    lock.entries[0]?.artifacts.filter((it) => it.path.endsWith(".rpm")).map((it) => [it.path, it.urls?.[0]]),
  );
  const base = `${upstream.url}/core:/stable:/v1.33/rpm`;
  t.same(Object.fromEntries(rpms), {
    "rpms/k/Packages/c++-1-1.noarch.rpm": `${base}/Packages/c%2B%2B-1-1.noarch.rpm`,
    "rpms/k/Packages/snap-1^git2~rc1-1.noarch.rpm": `${base}/Packages/snap-1%5Egit2~rc1-1.noarch.rpm`,
    "rpms/k/Packages/epoch-2:1-1.noarch.rpm": `${base}/Packages/epoch-2:1-1.noarch.rpm`,
    "rpms/k/Packages/coded++-1-1.noarch.rpm": `${base}/Packages/coded%2B%2B-1-1.noarch.rpm`,
    "rpms/k/Packages/blank 1 #2?.rpm": `${base}/Packages/blank%201%20%232%3F.rpm`,
    "rpms/k/a:b-1-1.noarch.rpm": `${base}/a:b-1-1.noarch.rpm`,
  });
});

t.test("key files with several armor blocks, some that nobody here can use", async (t) => {
  const made = await makeRepository(PACKAGES);
  const upstream = await startUpstream({ files: new Map<string, UpstreamFile>(made.below("/r/")) });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const of = (path: string) => readFileSync(join(RPM_FIXTURES, "gpg-keys", path), "utf8");
  const [rhel10, centos7] = [of("redhat/RPM-GPG-KEY-redhat10-release"), of("centos/RPM-GPG-KEY-CentOS-7")];
  t.equal(rhel10.match(/BEGIN PGP PUBLIC KEY BLOCK/g)?.length, 3);
  writeFileSync(join(dir, "keys.asc"), `Some words before.\n\n${rhel10}\n${centos7}`);
  writeManifest(dir, { rpms: [{ name: "r", url: `${upstream.url}/r/`, keys: ["keys.asc"] }] });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stderr, /keys of r: skipped a version \d key of algorithm \d+/, "and it is said which were left out");
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  const [key] = lock.entries[0]?.detail.keys ?? [];
  t.ok(key?.fingerprints.includes("6341AB2753D78A78A7C27BB124C6A8A7F4A80EB5"), "CentOS 7, the last block");
  t.ok(key?.fingerprints.includes("567E347AD0044ADE55BA8A5F199E2F91FD431D51"), "Red Hat's, the first");
  const carried = readFileSync(join(dir, "m.lock.d", key?.kept.slice(7) as string), "utf8");
  t.equal(carried.match(/BEGIN PGP PUBLIC KEY BLOCK/g)?.length, key?.fingerprints.length, "one block for each");

  const pinned = { keys: ["keys.asc"], fingerprints: ["6341 AB27 53D7 8A78 A7C2 7BB1 24C6 A8A7 F4A8 0EB5"] };
  writeManifest(dir, { rpms: [{ name: "r", url: `${upstream.url}/r/`, ...pinned }] });
  t.equal((await airferry(dir, ["lock", "m.yaml"])).status, 0);
  const again = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  t.same(
    again.entries[0]?.detail.keys[0]?.fingerprints,
    ["6341AB2753D78A78A7C27BB124C6A8A7F4A80EB5"],
    "pinned: that one",
  );
});

t.test("a login and a rewrite: asked elsewhere, with credentials, and recorded as the original", async (t) => {
  const made = await makeRepository(PACKAGES);
  const authorization = `Basic ${Buffer.from("reader:secret").toString("base64")}`;
  const upstream = await startUpstream({
    files: new Map<string, UpstreamFile>(made.below("/cache/rocky/9/")),
    behaviour: { "*": { authorization } },
  });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const hosts = { [upstream.host]: { username_env: "MIRROR_USER", password_env: "MIRROR_PASSWORD" } };
  writeManifest(dir, { rpms: [{ name: "r", url: "https://rpms.example.com/rocky/9/", gpgcheck: false }], hosts });
  const rewrite = ["lock", "m.yaml", "--rewrite", `https://rpms.example.com/=${upstream.url}/cache/`];
  const ran = await airferry(dir, rewrite, { MIRROR_USER: "reader", MIRROR_PASSWORD: "secret" });
  t.equal(ran.status, 0, ran.stderr);
  const text = readFileSync(join(dir, "m.lock.json"), "utf8");
  t.notMatch(text, /127\.0\.0\.1|secret|reader/);
  const urls = (JSON.parse(text) as LockFile).entries[0]?.artifacts.flatMap((it) => it.urls ?? []) ?? [];
  t.ok(urls.length > 2 && urls.every((it) => it.startsWith("https://rpms.example.com/rocky/9/")));
  const wrong = scratch(t);
  writeManifest(wrong, { rpms: [{ name: "r", url: `${upstream.url}/cache/rocky/9/`, gpgcheck: false }], hosts });
  const refused = await airferry(wrong, ["lock", "m.yaml"], { MIRROR_USER: "reader", MIRROR_PASSWORD: "other" });
  t.equal(refused.status, 4);
  t.match(refused.stderr, /401/);
  t.notMatch(refused.stderr, /other|secret/);
});

t.test("what a server answers for a .treeinfo that is missing", async (t) => {
  const made = await makeRepository(PACKAGES);
  const page = { body: Buffer.from("<!DOCTYPE html><html><body>Not found</body></html>") };
  const kinds: Record<string, Behaviour> = { page, forbidden: { status: 403 }, gone: { status: 410 } };
  for (const [what, behaviour] of Object.entries(kinds)) {
    const run = await lockOver(
      t,
      { r: made },
      { r: {} },
      {
        behaviour: {
          "/r/.treeinfo": behaviour,
          "/r/treeinfo": behaviour,
          "/r/repodata/repomd.xml.asc": { status: 403 },
        },
      },
    );
    t.equal(run.status, 0, `${what}: ${run.stderr}`);
    t.notOk(
      run.lock?.entries[0]?.artifacts.some((it) => it.path.endsWith("treeinfo")),
      what,
    );
    t.equal(run.lock?.entries[0]?.detail.tree, false);
  }
});
