/** What the hall is installed from: a small EL-like distribution with signed packages, its DVD, and an installer's image. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");
const PROGRAM = [process.execPath, "--disable-warning=ExperimentalWarning", join(ROOT, "src/bin.ts")] as const;
/** The stream and the ISO. */
const NAME = "hall";
const VMLINUZ_MIB = 12;
const INITRD_MIB = 80;

/** Runs `airferry ARGS` in the folder and returns what it printed. */
function airferry(dir: string, ...args: string[]): string {
  const [node, ...before] = PROGRAM;
  return execFileSync(node, [...before, ...args], { cwd: dir, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
}

/** A command that runs `airferry ARGS`. */
export function airferryCommand(...args: string[]): string[] {
  return [...PROGRAM, ...args];
}

/**
 * Makes a bundle in the folder, unpacks it into `store`, and returns its name. `imageMib`: of images/install.img, which
 * installers fetch first.
 */
export function makeStore(dir: string, imageMib: number): string {
  const parts = join(ROOT, "scripts/os-build-parts");
  const own = join(dir, "distribution");
  mkdirSync(own);
  execFileSync("bash", [join(parts, "el-mirror.sh"), parts, join(ROOT, ".cache/clients/minel-debs")], { cwd: own });
  const mirror = join(own, "mirror/9");
  // What an installer boots from: of the usual sizes, and of random bytes, since nothing here boots it.
  for (const [path, mib] of [
    ["images/install.img", imageMib],
    ["images/pxeboot/vmlinuz", VMLINUZ_MIB],
    ["images/pxeboot/initrd.img", INITRD_MIB],
  ] as const) {
    mkdirSync(join(mirror, path, ".."), { recursive: true });
    execFileSync("sh", ["-c", `head -c ${mib * 1024 * 1024} /dev/urandom > "$1"`, "sh", join(mirror, path)]);
  }
  const grafts = ["BaseOS", "AppStream", "images", ".treeinfo"].map((it) => `/${it}=${join(mirror, it)}`);
  const options = ["-as", "mkisofs", "-quiet", "-r", "-J", "-joliet-long", "-V", "HALL-9"];
  execFileSync("xorriso", [...options, "-o", join(dir, "hall.iso"), "-graft-points", ...grafts], { stdio: "pipe" });
  execFileSync("rm", ["-rf", join(mirror, "isos")]);
  const rpms = ["BaseOS", "AppStream"].map((it) => ({
    name: it.toLowerCase(),
    path: `distribution/mirror/9/${it}`,
    keys: ["distribution/mirror/RPM-GPG-KEY-minel"],
  }));
  const manifest = { apiVersion: "airferry/v1", stream: NAME, isos: [{ name: NAME, path: "hall.iso" }], rpms };
  writeFileSync(join(dir, "hall.yaml"), JSON.stringify(manifest));
  airferry(dir, "keygen", "--out", "site", "--quiet");
  airferry(dir, "pack", "hall.yaml", "--key", "site.key", "--quiet");
  const [name = ""] = readdirSync(join(dir, "bundles"));
  const bundle = join("bundles", name);
  airferry(dir, "unpack", bundle, "--trust", "site.pub", "--store", "store", "--quiet");
  return bundle;
}

/** Where a kickstart's `url --url=` points, on a server. */
export function treeUrl(base: string): string {
  return `${base}/isos/${NAME}/`;
}

/** The file of the distribution that is served under a path; keys are written again by pack, and have none. */
export function upstreamFile(dir: string, path: string): string | undefined {
  const tree = treeUrl("");
  if (path.startsWith("/keys/")) return undefined;
  if (!path.startsWith(tree)) throw new Error(`nothing of upstream is at ${path}`);
  return join(dir, "distribution/mirror/9", decodeURIComponent(path.slice(tree.length)));
}
