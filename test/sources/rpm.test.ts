/** src/sources/rpm through `airferry lock` and `plan`: selection, closure, places, and what bad upstreams get. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { makeRpm } from "../fixtures/rpm-files.ts";
import { type LockFile, lockOver, packagesIn } from "../fixtures/rpm-lock.ts";
import { fileNameOf, type MadePackage, type MadeRepository, makeRepository } from "../fixtures/rpm-metadata.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

function open(lock: LockFile | undefined, dir: string, name: string, record: string): string {
  const digest = lock?.entries.find((it) => it.name === name)?.detail.metadata[record] as string;
  const bytes = readFileSync(join(dir, "m.lock.d", digest.slice(7)));
  return (bytes[0] === 0x1f ? gunzipSync(bytes) : bytes).toString("utf8");
}

const LIBS: MadePackage[] = [
  { name: "lib", evr: "1.0-1" },
  { name: "lib", evr: "2.0-1" },
  { name: "words", hidden: ["/usr/share/dict/words"] },
  { name: "shell", files: ["/usr/bin/sh"] },
  { name: "plugin" },
  { name: "other" },
];

t.test("a closure spans repositories: versions, files, rich dependencies", async (t) => {
  const app: MadePackage[] = [
    {
      name: "app",
      evr: "3-1",
      requires: [
        "lib < 2",
        "/bin/sh",
        "/usr/share/dict/words",
        "(plugin if lib)",
        "(other if nothing-like-it)",
        "rpmlib(X) <= 1",
      ],
    },
  ];
  const repositories = { app: await makeRepository(app), libs: await makeRepository(LIBS) };
  const run = await lockOver(t, repositories, { app: { packages: ["app"] }, libs: { packages: [] } });
  t.equal(run.status, 0, run.stderr);
  t.same(run.packages("app"), ["app-3-1.noarch"]);
  t.same(run.packages("libs"), ["lib-1.0-1.noarch", "plugin-1-1.noarch", "shell-1-1.noarch", "words-1-1.noarch"]);
  const why = run.lock?.entries.find((it) => it.name === "libs")?.detail.why;
  t.same(why?.["lib-0:1.0-1.noarch"], ["app-0:3-1.noarch (needs lib < 2)"]);
  t.equal(run.upstream.requests.filter((it) => it.path.endsWith(".rpm")).length, 0, "lock touches no package");
  t.match(open(run.lock, run.dir, "libs", "primary"), /packages="4"/);
  const told = await airferry(run.dir, ["plan", "m.yaml", "--why", "words"]);
  t.match(told.stdout, /words-0:1-1\.noarch \(rpm libs\): app-0:3-1\.noarch \(needs \/usr\/share\/dict\/words\)/);
});

t.test("filelists are read only when a path needs them", async (t) => {
  const repositories = { libs: await makeRepository(LIBS) };
  const run = await lockOver(t, repositories, { libs: { packages: ["lib"] } });
  t.same(run.packages("libs"), ["lib-2.0-1.noarch"]);
  t.notMatch(run.stderr, /reading filelists/);
});

t.test("metadata that is missing upstream does not stand in the way", async (t) => {
  const repositories = { libs: await makeRepository(LIBS, { without: ["filelists", "other"] }) };
  const run = await lockOver(t, repositories, { libs: { packages: ["lib"] } });
  t.equal(run.status, 0, run.stderr);
});

t.test("the best version that can be had is taken", async (t) => {
  const app: MadePackage[] = [
    { name: "app", evr: "1-1", requires: ["lib"] },
    { name: "app", evr: "2-1", requires: ["middle"] },
    { name: "middle", requires: ["lib >= 9"] },
  ];
  const repositories = { app: await makeRepository(app), libs: await makeRepository(LIBS) };
  const run = await lockOver(t, repositories, { app: { packages: ["app"] }, libs: { packages: [] } });
  t.same(run.packages("app"), ["app-1-1.noarch"]);
});

t.test("what cannot be resolved fails with who needs what, and why it came in", async (t) => {
  const app: MadePackage[] = [
    { name: "app", requires: ["middle"] },
    { name: "middle", requires: ["lib >= 9"] },
  ];
  const repositories = { app: await makeRepository(app), libs: await makeRepository(LIBS) };
  const run = await lockOver(t, repositories, { app: { packages: ["app", "no-such"] }, libs: { packages: [] } });
  t.equal(run.status, 2);
  t.match(run.stderr, /nothing provides lib >= 9, needed by middle-0:1-1\.noarch ← app-0:1-1\.noarch/);
  t.match(run.stderr, /there is lib-0:1\.0-1\.noarch in libs/);
  t.match(run.stderr, /no-such/);
});

t.test("a baseline has what it has", async (t) => {
  const app: MadePackage[] = [{ name: "app", requires: ["lib >= 9", "plugin"] }];
  const repositories = { app: await makeRepository(app), libs: await makeRepository(LIBS) };
  const dir = scratch(t);
  writeFileSync(join(dir, "qa.txt"), "lib-9.5-1.x86_64\ngpg-pubkey-1234-5678\n");
  const run = await lockOver(t, repositories, {
    app: { packages: ["app"], baseline: join(dir, "qa.txt") },
    libs: { packages: [] },
  });
  t.equal(run.status, 0, run.stderr);
  t.same(run.packages("libs"), ["plugin-1-1.noarch"]);
});

t.test("at equal version the requester's own repository provides, and each entry lists what it carries", async (t) => {
  const app: MadePackage[] = [
    { name: "app", requires: ["lib"] },
    { name: "lib", evr: "2.0-1" },
  ];
  const repositories = { libs: await makeRepository(LIBS), app: await makeRepository(app) };
  const run = await lockOver(t, repositories, { libs: {}, app: { packages: ["app"] } });
  t.same(run.packages("app"), ["app-1-1.noarch", "lib-2.0-1.noarch"]);
  t.equal(run.packages("libs").length, LIBS.length, "the other one is mirrored whole");
  t.equal(run.lock?.entries[0]?.detail.mode, "exact");
});

t.test("weak dependencies come only when asked for", async (t) => {
  const made = await makeRepository([{ name: "app", recommends: ["plugin", "absent"] }, { name: "plugin" }]);
  t.same((await lockOver(t, { r: made }, { r: { packages: ["app"] } })).packages("r"), ["app-1-1.noarch"]);
  const weak = await lockOver(t, { r: made }, { r: { packages: ["app"], weak_deps: "recommends" } });
  t.same(weak.packages("r"), ["app-1-1.noarch", "plugin-1-1.noarch"]);
});

t.test("requests that exclude each other are both carried, and it is said", async (t) => {
  const made = await makeRepository([{ name: "a", conflicts: ["b"] }, { name: "b" }]);
  const run = await lockOver(t, { r: made }, { r: { packages: ["a", "b"] } });
  t.same(run.packages("r"), ["a-1-1.noarch", "b-1-1.noarch"]);
  t.match(run.stderr, /cannot all be installed on one system/);
});

t.test("a package that another one replaces is said", async (t) => {
  const made = await makeRepository([{ name: "new", obsoletes: ["old"] }, { name: "old" }]);
  const run = await lockOver(t, { r: made }, { r: { packages: ["new", "old"] } });
  t.same(run.packages("r"), ["new-1-1.noarch", "old-1-1.noarch"]);
  t.match(run.stderr, /obsoletes/);
});

t.test("a subset keeps the product certificate of its repository, byte for byte", async (t) => {
  const certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const extra = [{ type: "productid", name: "productid", bytes: Buffer.from(certificate), compress: true }];
  const made = await makeRepository(LIBS, { extra });
  const run = await lockOver(t, { r: made }, { r: { packages: ["lib"] } });
  t.equal(run.status, 0, run.stderr);
  t.equal(open(run.lock, run.dir, "r", "productid"), certificate);
});

const KERNELS: MadePackage[] = [1, 2, 3].flatMap((it) => [
  { name: "kernel", evr: `${it}-1`, arch: "x86_64", requires: [`kernel-core = ${it}-1`] },
  { name: "kernel-core", evr: `${it}-1`, arch: "x86_64", provides: ["installonlypkg(kernel)"] },
  { name: "tool", evr: `${it}-1`, arch: "i686" },
  { name: "tool", evr: `${it}-1`, arch: "x86_64" },
]);

const CHOICES = new Map<string, [object, string[]]>([
  ["a name", [{ packages: ["tool"] }, ["tool-3-1.x86_64"]]],
  // A system that has both must have one version of both.
  ["name.arch", [{ packages: ["tool.i686"] }, ["tool-3-1.i686", "tool-3-1.x86_64"]]],
  ["a version", [{ packages: ["tool-2"] }, ["tool-2-1.x86_64"]]],
  ["a full NEVRA", [{ packages: ["tool-0:1-1.x86_64"] }, ["tool-1-1.x86_64"]]],
  ["a glob", [{ packages: ["to?l*"] }, ["tool-3-1.x86_64"]]],
  [
    "newest of names",
    [
      { packages: ["kernel"], newest: 2 },
      ["kernel-2-1.x86_64", "kernel-3-1.x86_64", "kernel-core-2-1.x86_64", "kernel-core-3-1.x86_64"],
    ],
  ],
  ["multilib", [{ packages: ["tool"], multilib: true }, ["tool-3-1.i686", "tool-3-1.x86_64"]]],
  [
    "newest of all",
    [{ newest: 1, arch: ["x86_64"] }, ["kernel-3-1.x86_64", "kernel-core-3-1.x86_64", "tool-3-1.x86_64"]],
  ],
  ["exclude", [{ exclude: ["kernel*", "tool.i686", "tool-1"] }, ["tool-2-1.x86_64", "tool-3-1.x86_64"]]],
]);

t.test("packages, exclude, arch, newest and multilib", async (t) => {
  const made = await makeRepository(KERNELS);
  const run = await lockOver(
    t,
    Object.fromEntries([...CHOICES.keys()].map((_key, index) => [`r${index}`, made])),
    Object.fromEntries([...CHOICES.values()].map(([entry], index) => [`r${index}`, entry])),
  );
  t.equal(run.status, 0, run.stderr);
  for (const [index, [what, [, expected]]] of [...CHOICES].entries()) {
    t.same(run.packages(`r${index}`), [...expected].sort(), what);
    t.equal(run.lock?.entries[index]?.detail.mode, "subset");
  }
});

t.test("locations outside are fetched there and stored inside; metadata follows", async (t) => {
  const away: MadePackage = { name: "away", href: "../../pool/away++-1.rpm" };
  const based: MadePackage = { name: "based", href: "based-1.rpm", base: "http://elsewhere.example/x/" };
  const run = await lockOver(t, { r: await makeRepository([away, based, { name: "plain" }]) }, { r: {} });
  t.equal(run.status, 0, run.stderr);
  t.equal(run.lock?.entries[0]?.detail.mode, "subset", "a repository that has to be changed is not exact");
  const artifacts = run.lock?.entries[0]?.artifacts.filter((it) => it.path.endsWith(".rpm")) ?? [];
  t.match(artifacts[0]?.path, /^rpms\/r\/external\/[0-9a-f]{8}\/away\+\+-1\.rpm$/);
  t.equal(artifacts[0]?.urls?.[0], `${run.upstream.url}/pool/away%2B%2B-1.rpm`);
  t.equal(artifacts[1]?.urls?.[0], "http://elsewhere.example/x/based-1.rpm");
  const primary = open(run.lock, run.dir, "r", "primary");
  t.notMatch(primary, /\.\.\/|xml:base/);
  t.match(primary, `<location href="${artifacts[0]?.path.slice("rpms/r/".length)}"/>`);
});

const HOSTILE = [
  "/etc/passwd",
  "http://evil.example/x.rpm",
  "a/..\\..\\x.rpm",
  "x/",
  "..",
  "%2e%2e/%2e%2e/..",
  "a\u0001b.rpm",
];

t.test("hostile locations are refused", async (t) => {
  for (const href of HOSTILE) {
    const run = await lockOver(t, { r: await makeRepository([{ name: "bad", href }]) }, { r: {} });
    t.equal(run.status, 4, `${JSON.stringify(href)}: ${run.stderr}`);
    t.match(run.stderr, /bad|malformed/);
  }
});

t.test("damaged metadata is refused with the file and the reason", async (t) => {
  const good = await makeRepository(LIBS);
  const repomd = good.files.get("repodata/repomd.xml") as Buffer;
  const primaryPath = [...good.files.keys()].find((it) => it.includes("primary")) as string;
  const primary = gunzipSync(good.files.get(primaryPath) as Buffer).toString();
  const replaced = (text: string, packed = gzipSync(text)): MadeRepository => {
    const files = new Map(good.files);
    const sha256 = createHash("sha256").update(packed).digest("hex");
    const openSum = createHash("sha256").update(text).digest("hex");
    const record = `<data type="primary"><checksum type="sha256">${sha256}</checksum><open-checksum type="sha256">${openSum}</open-checksum><location href="${primaryPath}"/><size>${packed.length}</size><open-size>${Buffer.byteLength(text)}</open-size></data>`;
    files.set(primaryPath, packed);
    files.set(
      "repodata/repomd.xml",
      Buffer.from(repomd.toString().replace(/<data type="primary">[\s\S]*?<\/data>/, record)),
    );
    return { files, below: (prefix) => new Map([...files].map(([path, bytes]) => [`${prefix}${path}`, bytes])) };
  };
  const withRepomd = (change: (text: string) => string): MadeRepository => {
    const files = new Map(good.files).set("repodata/repomd.xml", Buffer.from(change(repomd.toString())));
    return { files, below: (prefix) => new Map([...files].map(([path, bytes]) => [`${prefix}${path}`, bytes])) };
  };
  const cases = new Map<string, [MadeRepository, RegExp]>([
    ["truncated XML", [replaced(primary.slice(0, primary.length / 2)), /ends early|unclosed/]],
    ["no XML", [replaced("hello"), /malformed/]],
    [
      "a DOCTYPE with declarations",
      [replaced(`<!DOCTYPE a [<!ENTITY b "c">]>${primary}`), /DOCTYPE|declaration|malformed/],
    ],
    [
      "a wrong checksum type",
      [replaced(primary.replace('type="sha256"', 'type="crc32"')), /checksum.*lib|lib.*checksum/s],
    ],
    ["no location", [replaced(primary.replace(/<location[^>]*>/, "")), /no location of package lib/]],
    ["a repomd that lies about the size", [withRepomd((it) => it.replace(/<size>\d+</, "<size>7<")), /size|larger/]],
    [
      "a repomd that lies about the open size",
      [withRepomd((it) => it.replace(/<open-size>\d+</, "<open-size>7<")), /wrong decompressed size: expected 7 bytes/],
    ],
    [
      "a repomd that lies about the digest",
      [withRepomd((it) => it.replace(/(<checksum type="sha256">)[0-9a-f]{4}/, "$1ffff")), /digest|integrity/],
    ],
    ["a repomd without primary", [withRepomd((it) => it.replace('type="primary"', 'type="nothing"')), /no primary/]],
    ["an HTML page", [withRepomd(() => "<html><body>sorry</body></html>"), /expected <repomd>/]],
  ]);
  for (const [what, [repository, message]] of cases) {
    const run = await lockOver(t, { r: repository }, { r: {} });
    t.equal(run.status, 4, `${what}: ${run.stderr}`);
    t.match(run.stderr, message, what);
    t.equal(run.lock, undefined, "nothing was written");
  }
});

t.test("unusual XML is read by a real parser and kept byte for byte", async (t) => {
  const good = await makeRepository([{ name: "odd", requires: ["lib"] }, { name: "lib" }, { name: "more" }]);
  const path = [...good.files.keys()].find((it) => it.includes("primary")) as string;
  const prefixed = gunzipSync(good.files.get(path) as Buffer)
    .toString()
    .replace(/<(\/?)(package|metadata|name|arch|version|checksum|summary|time|size|location|format|file)\b/g, "<$1m:$2")
    .replace("xmlns=", "xmlns:m=")
    .replace("<m:package", "<!-- <package> --><m:package");
  const packed = gzipSync(prefixed);
  const repomd = (good.files.get("repodata/repomd.xml") as Buffer)
    .toString()
    .replace(
      /<data type="primary">[\s\S]*?<\/data>/,
      `<data type="primary"><checksum type="sha256">${createHash("sha256").update(packed).digest("hex")}</checksum><location href="${path}"/></data>`,
    );
  good.files.set(path, packed).set("repodata/repomd.xml", Buffer.from(repomd));
  const run = await lockOver(t, { r: good }, { r: { packages: ["odd"] } });
  t.equal(run.status, 0, run.stderr);
  t.same(run.packages("r"), ["lib-1-1.noarch", "odd-1-1.noarch"]);
  const primary = open(run.lock, run.dir, "r", "primary");
  t.match(primary, /<m:metadata [^>]*xmlns:m="[^>]*packages="2"/);
  t.ok(primary.includes(/<m:package [\s\S]*?<\/m:package>/.exec(prefixed)?.[0] as string), "upstream's own bytes");
});

t.test("a repository that changes while it is read is taken again", async (t) => {
  const before = await makeRepository([{ name: "old" }]);
  const after = await makeRepository([{ name: "new" }], { revision: "2" });
  const run = await lockOver(
    t,
    { r: after },
    { r: {} },
    {
      more: new Map<string, UpstreamFile>([["/old-repomd.xml", before.files.get("repodata/repomd.xml") as Buffer]]),
      behaviour: { "/r/repodata/repomd.xml": [{ redirect: "/old-repomd.xml" }] },
    },
  );
  t.equal(run.status, 0, run.stderr);
  t.match(run.stderr, /upstream changed while its metadata was being read/);
  t.same(run.packages("r"), ["new-1-1.noarch"]);
});

t.test("metalink: repomd.xml is pinned, mirrors are tried in turn, alternates count", async (t) => {
  const made = await makeRepository(LIBS);
  const other = await makeRepository([{ name: "wrong" }], { revision: "9" });
  const sha256 = createHash("sha256")
    .update(made.files.get("repodata/repomd.xml") as Buffer)
    .digest("hex");
  const link = (hashes: string) =>
    `<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/" xmlns:mm0="http://fedorahosted.org/mirrormanager"><files><file name="repomd.xml">${hashes}<resources><url protocol="http" preference="100">@UPSTREAM@/bad/repodata/repomd.xml</url><url protocol="rsync" preference="99">rsync://x/repodata/repomd.xml</url><url protocol="http" preference="90">@UPSTREAM@/good/repodata/repomd.xml</url></resources></file></files></metalink>`;
  const hash = (hex: string) => `<verification><hash type="sha256">${hex}</hash></verification>`;
  const forms = new Map([
    ["current", [link(hash(sha256)), 0]],
    [
      "alternate",
      [
        link(`${hash("0".repeat(64))}<mm0:alternates><mm0:alternate>${hash(sha256)}</mm0:alternate></mm0:alternates>`),
        0,
      ],
    ],
    ["unknown", [link(hash("1".repeat(64))), 4]],
    ["none", ["<html/>", 4]],
  ] as const);
  for (const [what, [text, status]] of forms) {
    const files = new Map<string, UpstreamFile>([...other.below("/bad/"), ...made.below("/good/")]);
    const upstream = await startUpstream({ files });
    t.teardown(() => upstream.close());
    files.set("/link", text.replaceAll("@UPSTREAM@", upstream.url));
    const dir = scratch(t);
    writeManifest(dir, {
      rpms: [
        {
          name: "r",
          metalink: `${upstream.url}/link?repo=$releasever-$basearch`,
          gpgcheck: false,
          vars: { releasever: "9" },
        },
      ],
    });
    const ran = await airferry(dir, ["lock", "m.yaml"]);
    t.equal(ran.status, status, `${what}: ${ran.stderr}`);
    t.ok(
      upstream.requests.some((it) => it.path.includes("9-x86_64") || it.path === "/link"),
      "variables are replaced",
    );
    if (status === 0) {
      const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
      t.same(packagesIn(lock, "r").length, LIBS.length, what);
    }
  }
});

t.test("mirrorlist, and variables without a value", async (t) => {
  const made = await makeRepository(LIBS);
  const files = new Map<string, UpstreamFile>(made.below("/m/"));
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  files.set("/list", `# mirrors\nftp://no\n${upstream.url}/gone/\n${upstream.url}/m\n`);
  const dir = scratch(t);
  writeManifest(dir, { rpms: [{ name: "r", mirrorlist: `${upstream.url}/list`, gpgcheck: false, packages: ["lib"] }] });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  writeManifest(dir, { rpms: [{ name: "r", url: `${upstream.url}/$releasever/`, gpgcheck: false }] });
  const refused = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(refused.status, 2);
  t.match(refused.stderr, /\$releasever.*has no value/);
});

t.test("a repository on disk is planned without its packages being there", async (t) => {
  const made = await makeRepository(LIBS);
  const dir = scratch(t);
  for (const [path, bytes] of made.files) {
    mkdirSync(dirname(join(dir, "repo", path)), { recursive: true });
    writeFileSync(join(dir, "repo", path), bytes);
  }
  writeManifest(dir, { rpms: [{ name: "r", path: "repo", gpgcheck: false, packages: ["lib"] }] });
  const ran = await airferry(dir, ["plan", "m.yaml", "--json"]);
  t.equal(ran.status, 0, ran.stderr);
  const { entries } = JSON.parse(ran.stdout) as { entries: { path: string }[] };
  t.ok(entries.some((it) => it.path === `rpms/r/Packages/${fileNameOf({ name: "lib", evr: "2.0-1" })}`));
  const again = await airferry(dir, ["plan", "m.yaml", "--json"]);
  t.same((JSON.parse(again.stdout) as { entries: unknown }).entries, entries, "the same lock gives the same plan");
});

t.test("the metadata of a repository on disk is no leave to read what lies elsewhere", async (t) => {
  const made = await makeRepository(LIBS);
  const dir = scratch(t);
  for (const [path, bytes] of made.files) {
    mkdirSync(dirname(join(dir, "repo", path)), { recursive: true });
    writeFileSync(join(dir, "repo", path), bytes);
  }
  writeFileSync(join(dir, "secret"), "of this host");
  // The treeinfo's grammar looks at the path as it is written; as a file it would be decoded.
  writeFileSync(join(dir, "repo", ".treeinfo"), "[general]\narch = x86_64\n[images-x86_64]\nkernel = %2e%2e/secret\n");
  writeManifest(dir, { rpms: [{ name: "r", path: "repo", gpgcheck: false, kickstart: true }] });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 4, ran.stderr);
  t.match(ran.stderr, /cannot use location "%2e%2e\/secret" in "r": it has a "\.\." segment/);
});

const WEB: MadePackage[] = ["0.9-1", "1.0-1.module", "2.0-1.module"].map((evr) => ({
  name: "web",
  evr,
  requires: ["lib"],
}));
const modulemd = (stream: string, nevra: string, more = "") =>
  `---\ndocument: modulemd\nversion: 2\ndata:\n  name: web\n  stream: ${stream}\n  version: 1\n  context: c\n  arch: noarch\n  dependencies:\n  - requires:\n      platform: [el9]\n${more}  profiles:\n    common:\n      rpms: [web]\n  artifacts:\n    rpms:\n    - ${nevra}\n...\n`;

t.test("modules: streams, defaults, and documents that are kept verbatim", async (t) => {
  const yaml =
    modulemd("1.10", "web-0:1.0-1.module.noarch") +
    modulemd("2", "web-0:2.0-1.module.noarch") +
    '---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: web\n  stream: "1.10"\n...\n';
  const extra = [{ type: "modules", name: "modules.yaml", bytes: Buffer.from(yaml), compress: true }];
  const made = await makeRepository([...WEB, { name: "lib" }], { extra });
  const choose = async (packages: string[]) => {
    const run = await lockOver(t, { r: made }, { r: { packages } });
    t.equal(run.status, 0, run.stderr);
    return {
      packages: run.packages("r"),
      modules: run.lock?.entries[0]?.detail.metadata.modules ? open(run.lock, run.dir, "r", "modules") : "",
    };
  };
  const byDefault = await choose(["web"]);
  t.same(byDefault.packages, ["lib-1-1.noarch", "web-1.0-1.module.noarch"], "the default stream, though 2.0 is newer");
  t.ok(byDefault.modules.includes("stream: 1.10\n"), "as upstream wrote it");
  t.notMatch(byDefault.modules, /stream: 2\n/);
  t.match(byDefault.modules, /modulemd-defaults/);
  const second = await choose(["@web:2"]);
  t.same(second.packages, ["lib-1-1.noarch", "web-2.0-1.module.noarch"]);
  const profile = await choose(["@web:2/common"]);
  t.same(profile.packages, second.packages);
  const none = await choose(["lib"]);
  t.equal(none.modules, "", "no document hides what was not packed");
  const wrong = await lockOver(t, { r: made }, { r: { packages: ["@web:3"] } });
  t.equal(wrong.status, 2);
  t.match(wrong.stderr, /expected one of the streams 1\.10, 2/);
});

const TREEINFO = (digest: string) => `[general]
family = Aft
version = 9
arch = x86_64
variant = BaseOS
variants = BaseOS,AppStream,Extra
repository = .
packagedir = Packages

[tree]
arch = x86_64
variants = BaseOS,AppStream,Extra

[variant-BaseOS]
id = BaseOS
uid = BaseOS
repository = .
packages = Packages

[variant-AppStream]
id = AppStream
uid = AppStream
repository = ../../../AppStream/x86_64/os
packages = ../../../AppStream/x86_64/os/Packages

[variant-Extra]
id = Extra
uid = Extra
repository = ../../../Extra/x86_64/os
packages = ../../../Extra/x86_64/os/Packages

[images-x86_64]
kernel = images/pxeboot/vmlinuz
initrd = images/pxeboot/initrd.img

[stage2]
mainimage = images/install.img

[checksums]
images/pxeboot/vmlinuz = sha256:${digest}
images/pxeboot/initrd.img = sha256:${digest}
repodata/repomd.xml = sha256:${digest}
`;

t.test("kickstart trees: images, variants rewritten to where they are, checksums true", async (t) => {
  const image = Buffer.from("image");
  const sha256 = createHash("sha256").update(image).digest("hex");
  const made = await makeRepository(LIBS);
  const files = new Map<string, UpstreamFile>([
    ...made.below("/BaseOS/x86_64/os/"),
    ...made.below("/AppStream/x86_64/os/"),
    ["/BaseOS/x86_64/os/.treeinfo", TREEINFO(sha256)],
    ...["pxeboot/vmlinuz", "pxeboot/initrd.img", "install.img"].map((it): [string, UpstreamFile] => [
      `/BaseOS/x86_64/os/images/${it}`,
      image,
    ]),
  ]);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  for (const packages of [undefined, ["lib"]]) {
    const dir = scratch(t);
    const entry = { gpgcheck: false, ...(packages && { packages }) };
    writeManifest(dir, {
      rpms: [
        { name: "baseos", url: `${upstream.url}/BaseOS/$basearch/os/`, ...entry },
        { name: "appstream", url: `${upstream.url}/AppStream/$basearch/os/`, ...entry, kickstart: false },
      ],
    });
    const ran = await airferry(dir, ["lock", "m.yaml"]);
    t.equal(ran.status, 0, ran.stderr);
    const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
    const artifacts = new Map(lock.entries[0]?.artifacts.map((it) => [it.path, it]));
    for (const it of ["pxeboot/vmlinuz", "pxeboot/initrd.img", "install.img"]) {
      t.equal(
        artifacts.get(`rpms/baseos/images/${it}`)?.integrity,
        `sha256-${Buffer.from(sha256, "hex").toString("base64")}`,
        it,
      );
    }
    const kept = artifacts.get("rpms/baseos/.treeinfo")?.kept as string;
    const text = readFileSync(join(dir, "m.lock.d", kept.slice(7)), "utf8");
    t.match(text, /repository = \.\.\/appstream\n/);
    t.match(text, /packages = \.\.\/appstream\/Packages/);
    t.notMatch(text, /Extra\/x86_64/, "what is not mirrored is not named");
    const repomd = lock.entries[0]?.detail.metadata.repomd as string;
    t.ok(text.includes(`repodata/repomd.xml = ${repomd}`), "the checksum of the mirror's own repomd.xml");
    t.match(lock.entries[0]?.detail.notes.join("\n"), /variant AppStream now points to appstream/);
  }
});

t.test("a tree that is locked anew knows its neighbours that stay", async (t) => {
  const made = await makeRepository(LIBS);
  const files = new Map<string, UpstreamFile>([
    ...made.below("/BaseOS/x86_64/os/"),
    ...made.below("/AppStream/x86_64/os/"),
    ["/BaseOS/x86_64/os/.treeinfo", TREEINFO("0".repeat(64))],
  ]);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const lockWith = async (packages: string[]) => {
    const entry = (name: string) => ({ url: `${upstream.url}/${name}/x86_64/os/`, gpgcheck: false });
    const rpms = [
      { name: "baseos", ...entry("BaseOS"), packages },
      { name: "appstream", ...entry("AppStream"), kickstart: false },
    ];
    writeManifest(dir, { rpms });
    const ran = await airferry(dir, ["lock", "m.yaml"]);
    t.equal(ran.status, 0, ran.stderr);
    const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
    const kept = lock.entries[0]?.artifacts.find((it) => it.path === "rpms/baseos/.treeinfo")?.kept as string;
    return readFileSync(join(dir, "m.lock.d", kept.slice(7)), "utf8");
  };
  t.match(await lockWith(["lib"]), /repository = \.\.\/appstream\n/);
  t.match(await lockWith(["lib", "plugin"]), /repository = \.\.\/appstream\n/);
});

const ADVISORIES = `<updates>
<update type="security"><id>A-1</id><references><reference type="cve" id="CVE-1"/></references><pkglist><collection><package name="lib" epoch="0" version="2.0" release="1" arch="noarch"/></collection></pkglist></update>
<update type="bugfix"><id>A-2</id><pkglist><collection><package name="plugin" version="1" release="1" arch="noarch"/></collection></pkglist></update>
</updates>
`;

t.test("advisories: by id, CVE or type; what stays names what is packed", async (t) => {
  const extra = [{ type: "updateinfo", name: "updateinfo.xml", bytes: Buffer.from(ADVISORIES), compress: true }];
  const made = await makeRepository(LIBS, { extra });
  const run = await lockOver(
    t,
    { id: made, cve: made, type: made, both: made },
    {
      id: { advisories: ["A-2"] },
      cve: { advisories: ["CVE-1"] },
      type: { advisories: ["security", "bugfix"] },
      both: { advisories: ["security"], packages: ["lib", "plugin"] },
    },
  );
  t.equal(run.status, 0, run.stderr);
  t.same(run.packages("id"), ["plugin-1-1.noarch"]);
  t.same(run.packages("cve"), ["lib-2.0-1.noarch"]);
  t.same(run.packages("type"), ["lib-2.0-1.noarch", "plugin-1-1.noarch"]);
  t.same(run.packages("both"), ["lib-2.0-1.noarch"]);
  const kept = open(run.lock, run.dir, "id", "updateinfo");
  t.match(kept, /<id>A-2<\/id>/);
  t.notMatch(kept, /A-1/);
});

t.test("an unchanged manifest asks upstream nothing; another entry does not disturb a whole mirror", async (t) => {
  const made = await makeRepository(LIBS);
  const run = await lockOver(t, { r: made, s: made }, { r: {} });
  const asked = run.upstream.requests.length;
  const again = await airferry(run.dir, ["lock", "m.yaml"]);
  t.equal(again.status, 0, again.stderr);
  t.equal(run.upstream.requests.length, asked);
  const manifest = JSON.parse(readFileSync(join(run.dir, "m.yaml"), "utf8")) as { rpms: object[] };
  manifest.rpms.push({ name: "s", url: `${run.upstream.url}/s/`, gpgcheck: false, packages: ["lib"] });
  writeManifest(run.dir, manifest);
  const more = await airferry(run.dir, ["lock", "m.yaml"]);
  t.equal(more.status, 0, more.stderr);
  const later = run.upstream.requests.slice(asked);
  t.ok(later.length > 0);
  t.ok(
    later.every((it) => it.path.startsWith("/s/")),
    later.map((it) => it.path).join(" "),
  );
});

t.test("the lock says of every package which one it is; a lock that does not is made again", async (t) => {
  const run = await lockOver(
    t,
    { r: await makeRepository(LIBS), s: await makeRepository(LIBS) },
    { r: {}, s: { packages: ["lib"] } },
  );
  const nevras = (lock: LockFile | undefined, name: string) =>
    lock?.entries
      .find((it) => it.name === name)
      ?.artifacts.flatMap((it) => (it.path.endsWith(".rpm") ? [it.nevra] : []));
  t.ok(nevras(run.lock, "r")?.includes("lib-0:1.0-1.noarch"), run.stderr);
  t.equal(nevras(run.lock, "r")?.length, LIBS.length);
  t.same(nevras(run.lock, "s"), ["lib-0:2.0-1.noarch"]);
  const file = join(run.dir, "m.lock.json");
  const before = readFileSync(file, "utf8");
  writeFileSync(file, before.replaceAll(/^ *"nevra": .*\n/gm, ""));
  const again = await airferry(run.dir, ["lock", "m.yaml"]);
  t.match(again.stderr, /r: locked by an older airferry/);
  t.same(nevras(JSON.parse(readFileSync(file, "utf8")), "r"), nevras(run.lock, "r"));
});

t.test("a package that is another one than the lock says is refused at pack", async (t) => {
  const dir = scratch(t);
  mkdirSync(join(dir, "loose"));
  writeFileSync(join(dir, "loose", "ferry-1.0-1.noarch.rpm"), makeRpm());
  writeManifest(dir, { rpms: [{ name: "r", path: "loose", gpgcheck: false }] });
  t.equal((await airferry(dir, ["lock", "m.yaml"])).status, 0);
  const file = join(dir, "m.lock.json");
  const lock = readFileSync(file, "utf8");
  t.match(lock, '"nevra": "ferry-0:1.0-1.noarch"');
  writeFileSync(file, lock.replace("ferry-0:1.0-1.noarch", "ferry-0:2.0-1.noarch"));
  const ran = await airferry(dir, ["pack", "m.yaml", "--unsigned", "--frozen"]);
  t.match(ran.stderr, /does not match its .*: expected ferry-0:2\.0-1\.noarch, got ferry-0:1\.0-1\.noarch/);
  t.not(ran.status, 0);
});

/** A library with its tools out of one source, and all that was built with them. */
const COMPANIONS: MadePackage[] = ["1-1", "2-1"].flatMap((evr) => [
  { name: "foo", evr, arch: "src", sourceRpm: "" },
  ...[
    "foo-debuginfo",
    "foo-libs-debuginfo",
    "foo-extra-debuginfo",
    "foo-debugsource",
    "foo-debuginfo-common-x86_64",
  ].flatMap((name) => ["x86_64", "i686"].map((arch) => ({ name, evr, arch, sourceRpm: `foo-${evr}.src.rpm` }))),
]);
const FOO: MadePackage[] = [
  { name: "foo-libs", evr: "1-1", arch: "x86_64", sourceRpm: "foo-1-1.src.rpm" },
  { name: "foo-libs", evr: "2-1", arch: "x86_64", sourceRpm: "foo-2-1.src.rpm" },
  { name: "lone", arch: "x86_64" },
];
const FOO_SOURCE = ["foo-2-1.src"];
const FOO_DEBUG = ["foo-debuginfo", "foo-debuginfo-common-x86_64", "foo-debugsource", "foo-libs-debuginfo"].map(
  (it) => `${it}-2-1.x86_64`,
);

t.test("companions: sources and debug packages of what was selected, and of nothing else", async (t) => {
  const repositories = {
    r: await makeRepository(FOO),
    src: await makeRepository(COMPANIONS.filter((it) => it.arch === "src")),
    debug: await makeRepository(COMPANIONS.filter((it) => it.arch !== "src")),
    all: await makeRepository([...FOO, ...COMPANIONS]),
  };
  const urls = { source_url: "@UPSTREAM@/src/", debuginfo_url: "@UPSTREAM@/debug/" };
  const run = await lockOver(t, repositories, {
    r: { packages: ["foo-libs", "lone"], ...urls },
    all: { packages: ["foo-libs"], source: true, debuginfo: true },
  });
  t.equal(run.status, 0, run.stderr);
  t.same(run.packages("r"), ["foo-libs-2-1.x86_64", "lone-1-1.x86_64"]);
  t.same(run.packages("r-source"), FOO_SOURCE, "in a repository of its own, where dnf looks for it");
  t.same(run.packages("r-debuginfo"), FOO_DEBUG);
  t.same(run.packages("all"), [...FOO_SOURCE, ...FOO_DEBUG, "foo-libs-2-1.x86_64"].sort(), "or in the same one");
  t.match(run.stderr, /r-source: 1 sources of what r carries are missing: lone-1-1\.src\.rpm/);
  const asked = run.upstream.requests.length;
  const again = await airferry(run.dir, ["lock", "m.yaml"]);
  t.equal(again.status, 0, again.stderr);
  t.equal(run.upstream.requests.length, asked, "unchanged: nobody is asked");
  const frozen = await airferry(run.dir, ["pack", "m.yaml", "--frozen", "--unsigned", "--out", "out"]);
  t.equal(frozen.status, 4, "the lock fits the manifest; only the packages themselves are missing");

  const whole = await lockOver(t, repositories, { r: { source_url: urls.source_url } });
  t.same(whole.packages("r-source"), ["foo-1-1.src", "foo-2-1.src"], "of a whole mirror, all");
  const taken = await lockOver(t, repositories, { r: urls, "r-source": { url: "@UPSTREAM@/src/" } });
  t.equal(taken.status, 2);
  t.match(taken.stderr, /source_url is carried as "r-source"/);
});
