/**
 * Repositories with every checksum type that rpm-md knows, whole and subset: locked, packed, served, and installed from by real
 * dnf. Old ones (sha1, md5) are as common as the systems that made them.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { scratch } from "../fixtures/program.ts";
import { carryAcross, dnf, needsDnfPlugins, run } from "../fixtures/rpm-carry.ts";
import { RPM_FIXTURES, withLargeFixtures } from "../fixtures/rpm-files.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

const TYPES = ["md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512"];
/** sha1 is librepo's below and sha256 everybody's; on sha224 libdnf 0.69 ends itself with a failed assertion. */
const INSTALLED = ["md5", "sha", "sha384", "sha512"];

interface LockFile {
  entries: {
    name: string;
    artifacts: { path: string; kept?: string; integrity?: string }[];
    detail: { mode: string; metadata: Record<string, string> };
  }[];
}

/** The sections of airferry.repo for these repositories alone. */
function only(repos: string, ...names: string[]): string {
  return names.map((it) => new RegExp(`\\[airferry-${it}\\][^[]*`).exec(repos)?.[0] ?? "").join("");
}

function filesBelow(dir: string, prefix: string): [string, UpstreamFile][] {
  const found = readdirSync(dir, { recursive: true, withFileTypes: true, encoding: "utf8" });
  return found
    .filter((it) => it.isFile())
    .map((it) => join(it.parentPath, it.name))
    .map((file) => [`${prefix}${file.slice(dir.length).split("/").map(encodeURIComponent).join("/")}`, { file }]);
}

t.test("md5 to sha512: types stay as upstream has them, whole and subset", async (t) => {
  if (!needs(t, "dnf", ...RPM_BUILDERS)) return;
  const work = scratch(t, "airferry-checksums");
  const tree = await buildRpmTree(join(work, "tree"));
  writeFileSync(join(work, "key.asc"), tree.key);
  await writeKeyPairs(work);
  const files = new Map<string, UpstreamFile>();
  for (const type of TYPES) {
    const folder = join(work, type);
    mkdirSync(folder);
    cpSync(join(tree.dir, "base/Packages"), join(folder, "Packages"), { recursive: true });
    const types = ["-s", type, "--repomd-checksum", type];
    execFileSync("createrepo_c", ["-q", "--no-database", "--general-compress-type=gz", ...types, folder]);
    for (const [path, file] of filesBelow(folder, `/${type}`)) files.set(path, file);
  }
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const dir = join(work, "carried");
  mkdirSync(dir);
  const rpms = TYPES.flatMap((type) => {
    const entry = { url: `${upstream.url}/${type}/`, keys: ["../key.asc"] };
    return [
      { name: `whole-${type}`, ...entry },
      { name: `part-${type}`, ...entry, packages: ["aft-lib", "aft++"] },
    ];
  });
  const { packed, repos } = await carryAcross(t, dir, { stream: "sums", rpms }, "../k");
  t.equal(packed.status, 0, packed.stderr);
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  const kept = (digest: string | undefined) => readFileSync(join(dir, "m.lock.d", (digest as string).slice(7)));
  for (const type of TYPES) {
    const repodata = join(work, type, "repodata");
    const upstreamRepomd = readFileSync(join(repodata, "repomd.xml"));
    const primaryFile = readdirSync(repodata).find((it) => it.endsWith("primary.xml.gz")) as string;
    const upstreamPrimary = gunzipSync(readFileSync(join(repodata, primaryFile))).toString();
    t.match(upstreamPrimary, `<checksum type="${type}" pkgid="YES">`, "createrepo_c did as told");
    const whole = lock.entries.find((it) => it.name === `whole-${type}`);
    t.equal(whole?.detail.mode, "exact");
    t.ok(kept(whole?.detail.metadata.repomd).equals(upstreamRepomd), `${type}: repomd.xml as upstream has it`);
    const sri = type === "sha" ? "sha1" : type;
    const rpm = whole?.artifacts.find((it) => it.path.endsWith("aft-lib-1.1-1.noarch.rpm"));
    t.match(rpm?.integrity, new RegExp(`^${sri}-`), "what upstream says is what pack checks");

    const part = lock.entries.find((it) => it.name === `part-${type}`);
    t.equal(part?.detail.mode, "subset");
    const primary = gunzipSync(kept(part?.detail.metadata.primary)).toString();
    const blocks = primary.match(/<package type="rpm">[\s\S]*?<\/package>/g) ?? [];
    t.equal(blocks.length, 2);
    for (const block of blocks) t.ok(upstreamPrimary.includes(block), `${type}: a block of upstream's, byte for byte`);
    const filelists = gunzipSync(kept(part?.detail.metadata.filelists)).toString();
    const pkgids = blocks.map((it) => /pkgid="YES">([0-9a-f]+)</.exec(it)?.[1] as string);
    for (const pkgid of pkgids) t.match(filelists, `pkgid="${pkgid}"`, "filelists joins by the same");
    const records = kept(part?.detail.metadata.repomd).toString();
    t.notMatch(records, /checksum type="(?!sha256")/, "our own records are SHA-256, whatever upstream's are");
  }
  for (const type of INSTALLED) {
    for (const kind of ["whole", "part"]) {
      const root = `${kind}-${type}`;
      const installed = await dnf(dir, root, only(repos, root), "install", "aft-lib", "aft++");
      t.equal(installed.status, 0, `${root}: ${installed.out}`);
      const list = await run("rpm", ["--root", join(dir, root), "-qa"], dir);
      t.match(list.out, /aft-lib-1\.1-1/, root);
    }
  }
});

t.test("bytes that an md5 or sha1 repository does not promise are refused", async (t) => {
  if (!needs(t, ...RPM_BUILDERS)) return;
  const work = scratch(t, "airferry-checksums-bad");
  const tree = await buildRpmTree(join(work, "tree"));
  writeFileSync(join(work, "key.asc"), tree.key);
  const folder = join(work, "md5");
  cpSync(join(tree.dir, "base/Packages"), join(folder, "Packages"), { recursive: true });
  execFileSync("createrepo_c", ["-q", "--no-database", "-s", "md5", folder]);
  const files = new Map<string, UpstreamFile>(filesBelow(folder, "/md5"));
  // As well signed as the other, but another one.
  const path = "/md5/Packages/aft-lib-1.1-1.noarch.rpm";
  files.set(path, files.get("/md5/Packages/aft-lib-1.0-1.noarch.rpm") as UpstreamFile);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  mkdirSync(join(work, "m"));
  await writeKeyPairs(work);
  const rpms = [{ name: "md5", url: `${upstream.url}/md5/`, keys: ["../key.asc"] }];
  const { packed } = await carryAcross(t, join(work, "m"), { rpms }, "../k");
  t.equal(packed.status, 4, packed.stderr);
  t.match(packed.stderr, /aft-lib-1\.1-1\.noarch\.rpm/);
  t.notOk(existsSync(join(work, "m/bundles/test-000001/SHA256SUMS")), "no bundle");
});

const LIBREPO = join(RPM_FIXTURES, "librepo/python/tests/servermock/yum_mock/static/01");

t.test("librepo's sha1 repository of Fedora 16, signed, whole and subset", withLargeFixtures, async (t) => {
  if (!needsDnfPlugins(t)) return;
  const work = scratch(t, "airferry-librepo");
  await writeKeyPairs(work);
  const upstream = await startUpstream({ files: new Map(filesBelow(LIBREPO, "/01")) });
  t.teardown(() => upstream.close());
  const dir = join(work, "m");
  mkdirSync(dir);
  writeFileSync(join(dir, "qa.txt"), "setup-2.8-1.noarch\n");
  const url = `${upstream.url}/01/`;
  // The key is that of the metadata; Fedora's, which signed the package, is not published there.
  const entry = { url, keys: [`${url}repodata/repomd.xml.key`], gpgcheck: false, repo_gpgcheck: true, arch: ["i686"] };
  const rpms = [
    { name: "whole", ...entry },
    { name: "part", ...entry, packages: ["filesystem"], baseline: "qa.txt" },
  ];
  const { packed, repos } = await carryAcross(t, dir, { rpms }, "../k");
  t.equal(packed.status, 0, packed.stderr);
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  t.same(
    lock.entries.map((it) => it.detail.mode),
    ["exact", "subset"],
  );
  for (const name of ["whole", "part"]) {
    const repo = only(repos, name);
    t.match(repo, /gpgcheck=0\nrepo_gpgcheck=1/);
    const asked = await dnf(
      dir,
      name,
      repo,
      "--forcearch=i686",
      "repoquery",
      "--qf=%{name}-%{epoch}:%{version}-%{release}.%{arch} %{size}",
      "filesystem",
    );
    t.match(asked.out, /^filesystem-0:2\.4\.44-1\.fc16\.i686 /m, asked.out);
    const to = join(dir, `${name}-down`);
    const got = await dnf(dir, name, repo, "--forcearch=i686", "download", `--destdir=${to}`, "filesystem");
    t.equal(got.status, 0, got.out);
    const rpm = readFileSync(join(to, "filesystem-2.4.44-1.fc16.i686.rpm"));
    t.ok(rpm.equals(readFileSync(join(LIBREPO, "filesystem-2.4.44-1.fc16.i686.rpm"))), name);
  }
  const bad = join(work, "bad");
  mkdirSync(bad);
  upstream.files.set("/01/repodata/repomd.xml.asc", { file: join(LIBREPO, "repodata/repomd.xml.asc.bad") });
  const refused = await carryAcross(t, bad, { rpms: [{ name: "whole", ...entry }] }, "../k");
  t.equal(refused.packed.status, 4, refused.packed.stderr);
  t.match(refused.packed.stderr, /repomd\.xml.*no good OpenPGP signature/s);
});
