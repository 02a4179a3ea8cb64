/**
 * Makes an RPM of each of some Debian packages, and one of a folder of the distribution's own files. All are unpacked
 * into one tree, from which a single run of rpmbuild takes what belongs to each. Folders at the top of the tree are
 * merged below usr, as in EL. Maintainer scripts and bounds of versions are dropped; a dependency becomes its first
 * alternative that is in the set. Arguments: an empty folder to work in, the folder of own files, the .deb files.
 * Leaves the packages in `rpms/` of the first.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

/** Folders that usr has under the same name. */
const MERGED = /^\/(?:bin|sbin|lib|lib32|lib64|libx32)(?=\/|$)/;
const LINKS = ["bin", "sbin", "lib", "lib64"];
/** What no program reads. */
const UNREAD = ["doc", "man", "locale", "lintian", "bug", "info"].map((it) => `--exclude=./usr/share/${it}/*`);
const MAX_OUTPUT = 1024 ** 3;

interface Package {
  fields: ReadonlyMap<string, string>;
  /** Paths in the tree, with what `%files` says of each. */
  files: Map<string, "%dir" | "%config(noreplace)" | "">;
}

const [work = "", own = "", ...debs] = process.argv.slice(2);
const tree = join(work, "tree");
for (const it of LINKS) {
  mkdirSync(join(tree, "usr", it), { recursive: true });
  symlinkSync(`usr/${it}`, join(tree, it));
}
const packages = new Map(debs.map((deb) => unpack(deb)));
for (const it of LINKS) packages.get("base-files")?.files.set(`/${it}`, "");
symlinkSync("bash", join(tree, "usr/bin/sh"));
packages.get("bash")?.files.set("/usr/bin/sh", "");
const providers = new Map([...packages].flatMap(([name, { fields }]) => provided(fields).map((it) => [it, name])));

const ownFiles = run("find", own, "-type", "f", "-printf", "%m /%P\n").trimEnd().split("\n").map(ownFile);
for (const { path } of ownFiles) for (const it of packages.values()) it.files.delete(path);
run("cp", "-r", `${own}/.`, tree);

const spec = join(work, "spec");
writeFileSync(spec, [ownSpec(), ...[...packages].map(([name, it]) => specOf(name, it))].flat().join("\n"));
const macros = {
  _topdir: work,
  _rpmdir: join(work, "rpms"),
  _rpmfilename: "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
  _binary_payload: "w1.zstdio",
  _build_id_links: "none",
  debug_package: "%{nil}",
  __os_install_post: "%{nil}",
};
const defines = Object.entries(macros).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
run("rpmbuild", "-bb", "--quiet", "--target", "x86_64", ...defines, "--buildroot", join(work, "root"), spec);

function run(program: string, ...args: string[]): string {
  const env = { ...process.env, LC_ALL: "C" };
  return execFileSync(program, args, { encoding: "utf8", maxBuffer: MAX_OUTPUT, env, stdio: "pipe" });
}

/** Unpacks a package into the tree. Returns it by its name. */
function unpack(deb: string): [string, Package] {
  const control = join(work, "control", basename(deb));
  run("mkdir", "-p", control);
  run("dpkg-deb", "--control", deb, control);
  const text = readFileSync(join(control, "control"), "utf8");
  const fields = new Map(
    [...text.matchAll(/^([A-Za-z-]+): (.*)$/gm)].map(([, name = "", value = ""]) => [name, value]),
  );
  const marked = join(control, "conffiles");
  const configuration = new Set(existsSync(marked) ? readFileSync(marked, "utf8").split("\n") : []);
  const flags = ["-xvp", "-C", tree, "--keep-directory-symlink", "--quoting-style=literal", ...UNREAD];
  const input = execFileSync("dpkg-deb", ["--fsys-tarfile", deb], { maxBuffer: MAX_OUTPUT });
  const names = execFileSync("tar", flags, { input, encoding: "utf8", maxBuffer: MAX_OUTPUT }).trimEnd().split("\n");
  const files: Package["files"] = new Map();
  for (const name of names.map((it) => it.slice(1)).filter((it) => it !== "/")) {
    const path = name.replace(/\/$/, "").replace(MERGED, (it) => `/usr${it}`);
    files.set(path, name.endsWith("/") ? "%dir" : configuration.has(name) ? "%config(noreplace)" : "");
  }
  return [fields.get("Package") ?? "", { fields, files }];
}

function ownFile(line: string): { path: string; mode: string } {
  const at = line.indexOf(" ");
  const path = line.slice(at + 1);
  return { path, mode: path === "/etc/shadow" ? "0600" : (Number.parseInt(line, 8) & 0o100) === 0 ? "0644" : "0755" };
}

/** The names in a field such as Depends: one list for each of its parts, which has the alternatives. */
function namesIn(field: string | undefined): string[][] {
  const parts = (field ?? "").split(",").filter((it) => it.trim() !== "");
  return parts.map((part) => part.split("|").map((it) => it.replace(/[([:].*/s, "").trim()));
}

function provided(fields: ReadonlyMap<string, string>): string[] {
  return namesIn(fields.get("Provides")).flat();
}

/** The package that the spec is of: the release, its settings, and what makes a new system start by itself. */
function ownSpec(): string[] {
  return [
    "Name: minel-release",
    "Version: 9.0",
    "Release: 1.el9",
    "Summary: Release, accounts and boot files of Mini EL",
    "License: Apache-2.0",
    "AutoReqProv: no",
    "Requires: bash, coreutils, grep, kmod, busybox-static, grub-pc-bin, linux-image-cloud-amd64",
    "Provides: system-release = 9.0",
    "%description",
    "What a Mini EL has beside the programs of others.",
    "%install",
    `rmdir %{buildroot} && mv ${tree} %{buildroot}`,
    "%posttrans -p /usr/bin/bash",
    "/usr/sbin/minel-boot",
    "%files",
    ...ownFiles.map(({ path, mode }) => `%attr(${mode},root,root) ${quoted(path)}`),
  ];
}

function specOf(name: string, { fields, files }: Package): string[] {
  const [, epoch, version = "", revision = "0"] =
    /^(?:(\d+):)?(.*?)(?:-([^-]*))?$/.exec(fields.get("Version") ?? "") ?? [];
  const plain = (text: string) => text.replace(/[^\w.+~^]/g, "_");
  const needed = [...namesIn(fields.get("Pre-Depends")), ...namesIn(fields.get("Depends"))]
    .map((alternatives) => alternatives.find((it) => packages.has(it) || providers.has(it)))
    .filter((it) => it !== undefined && it !== name);
  if (name !== "base-files") needed.push("base-files");
  return [
    `%package -n ${name}`,
    `Version: ${plain(version)}`,
    `Release: ${plain(revision)}.el9`,
    ...(epoch === undefined ? [] : [`Epoch: ${epoch}`]),
    ...(fields.get("Architecture") === "all" ? ["BuildArch: noarch"] : []),
    `Summary: ${(fields.get("Description") ?? name).replaceAll("%", "%%")}`,
    "AutoReqProv: no",
    ...new Set(needed.map((it) => `Requires: ${it}`)),
    ...provided(fields).map((it) => `Provides: ${it}`),
    `%description -n ${name}`,
    "Built from the binaries of Debian.",
    `%files -n ${name}`,
    ...[...files].map(([path, kind]) => `${kind} ${quoted(path)}`),
  ];
}

/** A path for `%files`, in which rpmbuild takes a backslash and a lone bracket for themselves. */
function quoted(path: string): string {
  return `"${path.replaceAll("%", "%%")}"`;
}
