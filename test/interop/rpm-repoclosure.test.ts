/**
 * What real `dnf repoclosure` says of subsets of real CentOS Stream 9 metadata. libsolv's "what provides" of `(a if b)` wants
 * a, whatever becomes of b: with `conditional_deps: always` it finds nothing; by default exactly what is reported as left out.
 */
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t from "tap";
import { leftOutIn } from "../../src/manifest/why.ts";
import type { Lock } from "../../src/sources/lock-document.ts";
import { needs } from "../fixtures/clients.ts";
import { APPSTREAM, BASEOS, withCs9 } from "../fixtures/cs9.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { type Faults, faultLine, judgeSample, repoclosure } from "../fixtures/repoclosure.ts";
import { RPM_FIXTURES } from "../fixtures/rpm-files.ts";

t.test("subsets of baseos: clean with conditions left out, else flagged is what is reported", withCs9, (t) =>
  judgeSample(t, "baseos", [BASEOS]),
);

/** Repositories as a lock keeps their metadata. */
function writeLocked(dir: string, to: string): { folders: Record<string, string>; told: Faults } {
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as Lock;
  const folders: Record<string, string> = {};
  for (const { name, artifacts } of lock.entries) {
    folders[name] = join(to, `rpms/${name}`);
    for (const { path, kept } of artifacts) {
      if (kept === undefined || !path.includes("/repodata/")) continue;
      mkdirSync(dirname(join(to, path)), { recursive: true });
      copyFileSync(join(dir, "m.lock.d", kept.slice(7)), join(to, path));
    }
  }
  const told = leftOutIn(lock).map((it) => faultLine(it.package, it.needs));
  return { folders, told: told.sort() };
}

t.test("the same through a manifest: groups, two repositories, modules, and what cannot be had", withCs9, async (t) => {
  if (!needs(t, "dnf")) return;
  for (const conditional_deps of ["selected", "always"]) {
    const dir = scratch(t);
    const entry = { gpgcheck: false, conditional_deps };
    const baseos = {
      name: "baseos",
      path: join(RPM_FIXTURES, BASEOS, ".."),
      packages: ["sssd", "dnf", "openssh-server", "@hardware-monitoring"],
      ...entry,
    };
    const wanted = ["vim-enhanced", "podman", "mesa-libGL", "@nodejs:20/minimal"];
    const appstream = { name: "appstream", path: join(RPM_FIXTURES, APPSTREAM, ".."), packages: wanted, ...entry };
    writeManifest(dir, { rpms: [baseos, appstream] });
    const locked = await airferry(dir, ["lock", "m.yaml"]);
    t.equal(locked.status, 0, locked.stderr);
    const { folders, told } = writeLocked(dir, join(dir, "mirror"));
    const flagged = await repoclosure(t, dir, "closure", folders);
    t.same(flagged, told, "what repoclosure flags is what was told");
    if (conditional_deps === "selected") t.ok(flagged.length > 3, flagged.join("\n"));
    else {
      t.ok(flagged.length < 3, flagged.join("\n"));
      for (const it of flagged)
        t.match(it, /^podman|^containers-common/, "BaseOS of 2022 has no selinux-policy for it");
    }
  }
});
