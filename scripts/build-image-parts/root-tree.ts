/** The trees of an image's two layers: what the program needs of the system, and the program. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { DOCUMENT_FOLDER, DOCUMENTS, sameTime } from "../build-packages-parts/payload.ts";

/** The user that distroless images call nonroot. */
export const USER_ID = 65_532;
/** Where a store and a cache are mounted; they belong to {@link USER_ID}, so that a volume made from them does too. */
export const OWN_FOLDERS = ["store", "cache"];

// biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own
const VERSION_FORMAT = "${Version}\n";

/** What the libraries come from. */
interface Library {
  package: string;
  version: string;
}

/** Puts shared libraries with their licences, and the files that the C library reads, into a root. */
export function fillBase(root: string, program: string, time: number): Library[] {
  const packages = new Map<string, string>();
  for (const [, file = ""] of execFileSync("ldd", [program], { encoding: "utf8" }).matchAll(/(\/\S+) \(0x/g)) {
    put(root, file, 0o755, (to) => copyFileSync(realpathSync(file), to));
    const [name = "", version = ""] = packageOf(file);
    packages.set(name, version);
  }
  for (const name of packages.keys()) {
    const text = `/usr/share/doc/${name}/copyright`;
    if (!existsSync(text)) throw new Error(`the package ${name} has no ${text}, which has to go with its libraries`);
    put(root, text, 0o644, (to) => copyFileSync(realpathSync(text), to));
    // The long texts stand in one place, which these name.
    for (const [named] of readFileSync(text, "utf8").matchAll(
      /\/usr\/share\/common-licenses\/[A-Za-z0-9.-]*[A-Za-z0-9]/g,
    )) {
      put(root, named, 0o644, (to) => copyFileSync(realpathSync(named), to));
    }
  }
  const user = `airferry:x:${USER_ID}:${USER_ID}:airferry:/:/sbin/nologin\n`;
  put(root, "etc/passwd", 0o644, (to) => writeFileSync(to, `root:x:0:0:root:/root:/sbin/nologin\n${user}`));
  put(root, "etc/group", 0o644, (to) => writeFileSync(to, `root:x:0:\nairferry:x:${USER_ID}:\n`));
  put(root, "etc/nsswitch.conf", 0o644, (to) => writeFileSync(to, "hosts: files dns\n"));
  mkdirSync(join(root, "tmp"));
  sameTime(root, time);
  chmodSync(join(root, "tmp"), 0o1777);
  return [...packages].map(([name, version]) => ({ package: name, version })).sort(byName);
}

/** Puts the program and its documents into a root. */
export function fillProgram(root: string, program: string, dist: string, time: number): void {
  put(root, "usr/bin/airferry", 0o755, (to) => copyFileSync(program, to));
  for (const name of DOCUMENTS) {
    put(root, join(DOCUMENT_FOLDER, name), 0o644, (to) => cpSync(join(dist, name), to));
  }
  sameTime(root, time);
}

/** Name and version of the Debian package that installed a file, which dpkg may know by its path before /usr was merged. */
function packageOf(file: string): [string, string] {
  const known = [file, realpathSync(file)].flatMap((it) => [it, it.replace(/^\/usr/, "")]);
  for (const path of known) {
    try {
      const found = execFileSync("dpkg-query", ["-S", path], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
      const name = found.slice(0, found.indexOf(":"));
      const version = execFileSync("dpkg-query", ["-W", "-f", VERSION_FORMAT, name], { encoding: "utf8" });
      return [name, version.split("\n")[0] ?? ""];
    } catch {
      // Not by this path.
    }
  }
  throw new Error(`no Debian package installed ${file}: build the image on Debian or Ubuntu`);
}

function put(root: string, path: string, mode: number, write: (to: string) => void): void {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  write(file);
  chmodSync(file, mode);
}

function byName(a: Library, b: Library): number {
  return a.package < b.package ? -1 : 1;
}
