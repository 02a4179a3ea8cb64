/** The .deb, by dpkg-deb; with gzip, which every release of Debian reads. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { sameTime } from "./payload.ts";
import type { PackageParts } from "./rpm.ts";

const ARCHES: Record<string, string> = { x64: "amd64", arm64: "arm64" };

/** Makes the package and returns its path in `work`. */
export function makeDeb({ work, tree, version, arch, time }: PackageParts): string {
  const architecture = ARCHES[arch] ?? arch;
  const files = readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter((it) => it.isFile())
    .map((it) => relative(tree, join(it.parentPath, it.name)))
    .sort();
  const size = files.reduce((sum, it) => sum + Math.ceil(statSync(join(tree, it)).size / 1024), 0);
  const control = join(tree, "DEBIAN");
  mkdirSync(control);
  const put = (name: string, text: string) => {
    writeFileSync(join(control, name), text);
    chmodSync(join(control, name), 0o644);
  };
  put(
    "control",
    `Package: airferry
Version: ${version}-1
Architecture: ${architecture}
Maintainer: airferry <airferry@localhost>
Installed-Size: ${size}
Depends: libc6 (>= 2.28), libstdc++6, libgcc-s1 | libgcc1
Section: admin
Priority: optional
Description: Carries what an operating-system image build needs across an air gap
 Mirrors ISOs, RPM repositories, files and container images into a signed bundle,
 checks and imports it on the other side of an air gap, and serves it there. One
 program without further parts.
`,
  );
  const md5 = (file: string) => createHash("md5").update(readFileSync(file)).digest("hex");
  put("md5sums", files.map((it) => `${md5(join(tree, it))}  ${it}\n`).join(""));
  sameTime(tree, time);
  const made = join(work, `airferry_${version}-1_${architecture}.deb`);
  execFileSync("dpkg-deb", ["--root-owner-group", "-Zgzip", "-z3", "--build", tree, made], {
    stdio: "pipe",
    env: { ...process.env, SOURCE_DATE_EPOCH: String(time), LC_ALL: "C" },
  });
  rmSync(control, { recursive: true });
  return made;
}
