/** dnf on an empty root that knows one repository. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Ran, runClient } from "../../test/fixtures/container-clients.ts";

/** Installs packages below `dir`/NAME. @param repository text of a .repo file */
export function dnfInstall(dir: string, name: string, repository: string, ...packages: string[]): Promise<Ran> {
  const own = join(dir, name);
  for (const it of ["root", "repos", "log"]) mkdirSync(join(own, it), { recursive: true });
  writeFileSync(join(own, "repos/a.repo"), repository);
  writeFileSync(join(own, "dnf.conf"), "[main]\n");
  const options = {
    reposdir: join(own, "repos"),
    cachedir: join(own, "cache"),
    logdir: join(own, "log"),
    persistdir: join(own, "persist"),
    module_platform_id: "platform:el9",
  };
  return runClient("dnf", [
    "-y",
    `--config=${join(own, "dnf.conf")}`,
    `--installroot=${join(own, "root")}`,
    "--releasever=9",
    "--forcearch=x86_64",
    "--disableplugin=*",
    ...Object.entries(options).map(([key, value]) => `--setopt=${key}=${value}`),
    "install",
    ...packages,
  ]);
}
