/** The .rpm, by rpmbuild. Nothing is taken from the host that it is made on. */
import { execFileSync } from "node:child_process";
import { readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DOCUMENT_FOLDER } from "./payload.ts";

/** What both kinds of packages are made from. */
export interface PackageParts {
  /** An empty folder for what is made on the way, and a full one with the files. */
  work: string;
  tree: string;
  /** As package managers order them: `0.2.0`, `0.2.0~dev`. */
  version: string;
  /** Of Node: `x64` or `arm64`. */
  arch: string;
  /** Seconds; the time of everything inside. */
  time: number;
}

const ARCHES: Record<string, string> = { x64: "x86_64", arm64: "aarch64" };

/** Makes the package and returns its path in `work`. */
export function makeRpm({ work, tree, version, arch, time }: PackageParts): string {
  const target = ARCHES[arch] ?? arch;
  const spec = join(work, "airferry.spec");
  // The program is no build of this host: it is neither stripped, which would take its content, nor searched for needs.
  writeFileSync(
    spec,
    `Name: airferry
Version: ${version}
Release: 1
Summary: Carries what an operating-system image build needs across an air gap
License: Apache-2.0
AutoReqProv: no
Requires: glibc >= 2.28, libstdc++, libgcc
%global debug_package %{nil}
%global __os_install_post %{nil}
%description
Mirrors ISOs, RPM repositories, files and container images into a signed bundle, checks and imports it on the other
side of an air gap, and serves it there. One program without further parts.
%install
cp -a "${tree}/." "%{buildroot}"
%files
/usr/bin/airferry
/usr/lib/systemd/system/airferry.service
/usr/share/man/man1/airferry*.1.gz
/usr/share/bash-completion/completions/airferry
/usr/share/zsh/site-functions/_airferry
/usr/share/fish/vendor_completions.d/airferry.fish
%dir /${DOCUMENT_FOLDER}
%doc /${DOCUMENT_FOLDER}/NOTICE
%doc /${DOCUMENT_FOLDER}/THIRD-PARTY.txt
%doc /${DOCUMENT_FOLDER}/airferry.cdx.json
%license /${DOCUMENT_FOLDER}/LICENSE
`,
  );
  const defines = {
    _topdir: work,
    _rpmdir: join(work, "made"),
    _tmppath: work,
    _buildhost: "airferry",
    _build_id_links: "none",
    _binary_payload: "w3.gzdio",
    use_source_date_epoch_as_buildtime: "1",
    clamp_mtime_to_source_date_epoch: "1",
    source_date_epoch_from_changelog: "0",
    _docdir_fmt: "%%{NAME}",
  };
  const flags = Object.entries(defines).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
  execFileSync("rpmbuild", ["-bb", "--target", `${target}-linux`, "--buildroot", join(work, "root"), ...flags, spec], {
    stdio: "pipe",
    env: { ...process.env, SOURCE_DATE_EPOCH: String(time), HOME: work, LC_ALL: "C" },
  });
  const [name = ""] = readdirSync(join(work, "made", target));
  const made = join(work, name);
  renameSync(join(work, "made", target, name), made);
  return made;
}
