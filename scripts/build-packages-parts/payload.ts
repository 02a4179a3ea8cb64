/** What a package installs: a tree of files with one time and fixed modes. */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { parseListen } from "../../src/server/http/address.ts";
import { unitFor } from "../../src/server/process/unit.ts";
import { manPages } from "./man-pages.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const COMPLETIONS = {
  bash: "usr/share/bash-completion/completions/airferry",
  zsh: "usr/share/zsh/site-functions/_airferry",
  fish: "usr/share/fish/vendor_completions.d/airferry.fish",
};
/** What has to go with the program, from the folder that it was built into. */
export const DOCUMENTS = ["LICENSE", "NOTICE", "THIRD-PARTY.txt", "airferry.cdx.json"];
export const DOCUMENT_FOLDER = "usr/share/doc/airferry";

/** Everything but the program, by path: the same for all architectures. */
export async function sharedFiles(): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const [name, text] of await manPages()) {
    files.set(`usr/share/man/man1/${name}.gz`, gzipSync(text, { level: 9 }));
  }
  for (const [shell, path] of Object.entries(COMPLETIONS)) {
    const args = ["--disable-warning=ExperimentalWarning", join(ROOT, "src", "bin.ts"), "completion", shell];
    files.set(path, execFileSync(process.execPath, args));
  }
  const unit = { program: ["/usr/bin/airferry"], store: "/srv/airferry", listen: "0.0.0.0:9000", tls: "off" };
  files.set("usr/lib/systemd/system/airferry.service", Buffer.from(unitFor(unit, [parseListen(unit.listen)])));
  return files;
}

interface Payload {
  /** The folder to fill. */
  tree: string;
  /** The program, and the folder with its documents. */
  program: string;
  dist: string;
  shared: ReadonlyMap<string, Uint8Array>;
  /** Seconds. */
  time: number;
}

/** Fills a folder with all files of a package. */
export function fillTree({ tree, program, dist, shared, time }: Payload): void {
  const put = (path: string, mode: number, write: (file: string) => void) => {
    const file = join(tree, path);
    mkdirSync(dirname(file), { recursive: true });
    write(file);
    chmodSync(file, mode);
  };
  put("usr/bin/airferry", 0o755, (file) => copyFileSync(program, file));
  for (const [path, bytes] of shared) put(path, 0o644, (file) => writeFileSync(file, bytes));
  for (const name of DOCUMENTS) {
    put(`${DOCUMENT_FOLDER}/${name}`, 0o644, (file) => copyFileSync(join(dist, name), file));
  }
  sameTime(tree, time);
}

/** Gives everything one time, and folders one mode. */
export function sameTime(folder: string, time: number): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) sameTime(path, time);
    else utimesSync(path, time, time);
  }
  chmodSync(folder, 0o755);
  utimesSync(folder, time, time);
}
