/**
 * Sources and debug packages of what is carried: built, signed, packed, served, and found by `dnf download --source` and
 * `dnf debuginfo-install`, which look for repositories by the names that airferry.repo gives them.
 */
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { Gnupg } from "../fixtures/gnupg.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { scratch } from "../fixtures/program.ts";
import { carryAcross, dnf, needsDnfPlugins, run } from "../fixtures/rpm-carry.ts";
import { RPM_BUILDERS } from "../fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

const start = promisify(execFile);

/** A tool with a library package, and the debug packages that rpmbuild makes of such a one. */
const SPEC = (version: string) => `Name: aft-tool
Version: ${version}
Release: 1
Summary: A tool
License: MIT
Source0: tool
AutoReqProv: no
%description
A tool.
%package libs
Summary: Its library
%description libs
A library.
%package debuginfo
Summary: Debug information of the tool
AutoReqProv: no
%description debuginfo
Debug information.
%package libs-debuginfo
Summary: Debug information of its library
AutoReqProv: no
%description libs-debuginfo
Debug information.
%package debugsource
Summary: Sources for the debugger
AutoReqProv: no
%description debugsource
Sources.
%install
for it in bin/aft-tool lib64/libaft-tool.so.1 lib/debug/aft-tool lib/debug/libaft-tool.so.1 src/debug/aft-tool.c; do
  install -D -m 644 %{SOURCE0} %{buildroot}/usr/$it
done
%files
/usr/bin/aft-tool
%files libs
/usr/lib64/libaft-tool.so.1
%files debuginfo
/usr/lib/debug/aft-tool
%files libs-debuginfo
/usr/lib/debug/libaft-tool.so.1
%files debugsource
/usr/src/debug/aft-tool.c
`;

const VERSIONS = ["1.0", "2.0"];

/** Builds both versions; returns the file names of all packages. */
async function buildTool(work: string, to: string): Promise<string[]> {
  mkdirSync(to, { recursive: true });
  for (const version of VERSIONS) {
    const top = join(work, `build-${version}`);
    mkdirSync(join(top, "SOURCES"), { recursive: true });
    writeFileSync(join(top, "SOURCES/tool"), `tool ${version}\n`);
    writeFileSync(join(top, "x.spec"), SPEC(version));
    const defines = {
      _topdir: top,
      debug_package: "%{nil}",
      _build_id_links: "none",
      _build_name_fmt: "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
      _rpmdir: to,
      _srcrpmdir: to,
    };
    const options = Object.entries(defines).flatMap(([k, v]) => ["--define", `${k} ${v}`]);
    await start("rpmbuild", ["-ba", "--quiet", "--target", "x86_64", ...options, join(top, "x.spec")]);
  }
  return readdirSync(to);
}

/** The sections of airferry.repo for an entry; companions as they stand on a real host, where plugins switch them on. */
function sectionsOf(repos: string, name: string): string {
  const sections = repos
    .split(/\n(?=\[)/)
    .filter((it) => new RegExp(`^\\[airferry-${name}(-source|-debuginfo)?\\]`).test(it));
  return sections
    .map((it) => (/^\[\S+-(source|debuginfo)\]/.test(it) ? it.replace("enabled=1", "enabled=0") : it))
    .join("\n");
}

t.test("dnf finds sources and debug packages, with both checks on", async (t) => {
  if (!needsDnfPlugins(t) || !needs(t, ...RPM_BUILDERS)) return;
  const work = scratch(t, "airferry-companions");
  const gnupg = new Gnupg();
  t.teardown(() => gnupg.close());
  gnupg.generate("aft", "rsa3072");
  writeFileSync(join(work, "key.asc"), gnupg.publicKey("aft"));
  const built = await buildTool(work, join(work, "built"));
  t.equal(built.length, 12);
  const macros = { _gpg_name: gnupg.fingerprint("aft"), _gpg_path: gnupg.dir, __gpg: "/usr/bin/gpg" };
  const defines = Object.entries(macros).flatMap(([k, v]) => ["--define", `${k} ${v}`]);
  await start("rpmsign", [...defines, "--addsign", ...built.map((it) => join(work, "built", it))]);

  const isSource = (it: string) => it.endsWith(".src.rpm");
  const isDebug = (it: string) => /-debug(info|source)-/.test(it);
  const folders: Record<string, (file: string) => boolean> = {
    tool: (it) => !isSource(it) && !isDebug(it),
    source: isSource,
    debug: isDebug,
    all: () => true,
  };
  const files = new Map<string, UpstreamFile>();
  for (const [folder, wanted] of Object.entries(folders)) {
    const dir = join(work, folder);
    mkdirSync(dir);
    for (const it of built.filter(wanted)) copyFileSync(join(work, "built", it), join(dir, it));
    await start("createrepo_c", ["-q", "--no-database", "--general-compress-type=gz", dir]);
    // A vendor that signs all but its sources: airferry's own signature has to stand in.
    if (folder !== "source") gnupg.run(["--armor", "--detach-sign", join(dir, "repodata/repomd.xml")]);
    for (const it of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
      files.set(`/${folder}/${it.split("/").map(encodeURIComponent).join("/")}`, { file: join(dir, it) });
    }
  }
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  await writeKeyPairs(work);
  const dir = join(work, "m");
  mkdirSync(dir);
  const of = (folder: string) => `${upstream.url}/${folder}/`;
  const keys = ["../key.asc"];
  const companions = { source_url: of("source"), debuginfo_url: of("debug") };
  const rpms = [
    { name: "part", url: of("tool"), keys, packages: ["aft-tool-libs"], ...companions },
    { name: "whole", url: of("tool"), keys, ...companions },
    { name: "all", url: of("all"), keys, packages: ["aft-tool-libs"], source: true, debuginfo: true },
  ];
  const { packed, repos } = await carryAcross(t, dir, { stream: "companions", rpms }, "../k");
  t.equal(packed.status, 0, packed.stderr);
  for (const it of ["part", "part-source", "part-debuginfo", "whole", "whole-source", "whole-debuginfo", "all"]) {
    const section = new RegExp(`\\[airferry-${it}\\]\\n[^[]*`).exec(repos)?.[0] ?? "";
    t.match(section, /gpgcheck=1\nrepo_gpgcheck=1/, it);
    t.match(section, /gpgkey=https:.*\/keys\//, it);
  }
  const key = join(dir, "vendor.asc");
  copyFileSync(join(work, "key.asc"), key);

  for (const name of ["part", "whole", "all"]) {
    const sections = sectionsOf(repos, name);
    const sources = join(dir, `${name}-sources`);
    const downloaded = await dnf(dir, name, sections, "download", "--source", `--destdir=${sources}`, "aft-tool-libs");
    t.equal(downloaded.status, 0, `${name}: ${downloaded.out}`);
    t.same(readdirSync(sources), ["aft-tool-2.0-1.src.rpm"], name);
    const source = join(sources, "aft-tool-2.0-1.src.rpm");
    t.ok(readFileSync(source).equals(readFileSync(join(work, "built/aft-tool-2.0-1.src.rpm"))), "the vendor's bytes");
    const database = ["--define", `_dbpath ${join(dir, `${name}-keys`)}`];
    t.equal((await run("rpmkeys", [...database, "--import", key], dir)).status, 0);
    const signed = await run("rpmkeys", [...database, "--checksig", source], dir);
    t.match(signed.out, /digests signatures OK/, name);

    const installed = await dnf(dir, name, sections, "install", "aft-tool-libs");
    t.equal(installed.status, 0, installed.out);
    const debug = await dnf(dir, name, sections, "debuginfo-install", "aft-tool-libs");
    t.equal(debug.status, 0, `${name}: ${debug.out}`);
    t.notMatch(debug.out, /Could not find/, name);
    const list = await run("rpm", ["--root", join(dir, name), "-qa"], dir);
    for (const it of ["aft-tool-libs", "aft-tool-libs-debuginfo", "aft-tool-debugsource"]) {
      t.match(list.out, new RegExp(`^${it}-2\\.0-1\\.x86_64$`, "m"), `${name}: ${list.out}`);
    }
  }
  const old = join(dir, "old-sources");
  const wanted = ["download", "--source", `--destdir=${old}`, "aft-tool-libs-1.0"];
  t.equal((await dnf(dir, "old", sectionsOf(repos, "whole"), ...wanted)).status, 0);
  t.same(readdirSync(old), ["aft-tool-1.0-1.src.rpm"], "a whole mirror has the sources of all its versions");
  t.not((await dnf(dir, "old", sectionsOf(repos, "part"), ...wanted)).status, 0, "a subset those of what it carries");
});
