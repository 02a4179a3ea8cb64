/** One genuine installation, and what it asked for: taken from the server's access log. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { treeUrl } from "./content.ts";
import { within } from "./network.ts";

export interface Fetch {
  path: string;
  bytes: number;
}

interface LogLine {
  method: string;
  path: string;
  status: number;
  bytes: number;
}

/**
 * Installs from the tree inside the ISO, as a kickstart with `url` does: dracut's files by curl, .treeinfo, then the group by
 * dnf with both signature checks on. Throws when that fails.
 */
export function installOnce(dir: string, namespace: string, base: string): void {
  const tree = treeUrl(base);
  const run = (...command: string[]) => {
    const [program = "", ...args] = within(namespace, ...command);
    const ran = spawnSync(program, args, { cwd: dir, encoding: "utf8", env: { ...process.env, LC_ALL: "C.UTF-8" } });
    if (ran.status !== 0) throw new Error(`${command[0]}: exit ${ran.status}: ${ran.stdout}${ran.stderr}`);
  };
  for (const it of ["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", ".treeinfo", "images/install.img"]) {
    run("curl", "-fsS", "-o", "/dev/null", `${tree}${it}`);
  }
  const repositories = ["BaseOS", "AppStream"].flatMap((it) => [
    `[${it.toLowerCase()}]`,
    `name=${it}`,
    `baseurl=${tree}${it}/`,
    "gpgcheck=1",
    "repo_gpgcheck=1",
    `gpgkey=${base}/keys/${it.toLowerCase()}`,
  ]);
  const config = ["[main]", "plugins=0", "reposdir=/dev/null", "install_weak_deps=0", ...repositories];
  writeFileSync(join(dir, "dnf.conf"), `${config.join("\n")}\n`);
  mkdirSync(join(dir, "root"));
  const options = ["-y", "-q", `--config=${join(dir, "dnf.conf")}`, `--installroot=${join(dir, "root")}`];
  run("dnf", ...options, "--releasever=9", "install", "@minimal-environment");
}

/** What was answered with a body, in its order. */
export function fetchesIn(log: string): Fetch[] {
  const lines = readFileSync(log, "utf8").trim().split("\n");
  return lines
    .map((line) => JSON.parse(line) as LogLine)
    .filter((it) => it.method === "GET" && it.status === 200)
    .map(({ path, bytes }) => ({ path, bytes }));
}
