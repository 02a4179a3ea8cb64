/**
 * What real `dnf repoclosure` says of subsets of real CentOS Stream 9 metadata. libsolv's "what provides" of `(a if b)` wants
 * a, whatever becomes of b: with `conditional_deps: always` it finds nothing; by default exactly what is reported as left out.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test as Tap } from "tap";
import { hexOf } from "../../src/io/digest.ts";
import { leftOutIn } from "../../src/manifest/why.ts";
import { type Closure, closureOf } from "../../src/rpm/closure.ts";
import type { PackageEntry } from "../../src/rpm/primary.ts";
import { writeSubset } from "../../src/rpm/subset.ts";
import type { Lock } from "../../src/sources/lock-document.ts";
import { needs } from "../fixtures/clients.ts";
import { APPSTREAM, BASEOS, type Cs9, openCs9, readOracle, withCs9 } from "../fixtures/cs9.ts";
import { airferry, scratch, writeManifest } from "../fixtures/program.ts";
import { dnf } from "../fixtures/rpm-carry.ts";
import { RPM_FIXTURES } from "../fixtures/rpm-files.ts";

/** Seeds of each sample, evenly spread. */
const SEEDS = 22;

/** Dependencies that nothing satisfies, each with its package, as the two sides of a comparison. */
type Faults = string[];

/** A line for one fault; epoch 0 is told by one side only. */
function faultLine(nevra: string, needs: string): string {
  return `${nevra.replace("-0:", "-")} ${needs}`;
}

/** Runs dnf repoclosure over repositories on disk, by name. */
async function repoclosure(t: Tap, dir: string, root: string, folders: Record<string, string>): Promise<Faults> {
  const repos = Object.entries(folders).map(
    ([name, path]) => `[${name}]\nname=${name}\nbaseurl=file://${path}\ngpgcheck=0\nmetadata_expire=never\n`,
  );
  const { status, out } = await dnf(dir, root, repos.join(""), "repoclosure");
  const faults: Faults = [];
  let nevra = "";
  for (const line of out.split("\n")) {
    const named = /^package: (\S+) from /.exec(line)?.[1];
    if (named !== undefined) nevra = named;
    else if (/^ {4}\S/.test(line)) faults.push(faultLine(nevra, line.trim()));
  }
  t.equal(status === 0, faults.length === 0, `exit status ${status}: ${out.slice(-500)}`);
  t.notMatch(out, /Traceback|No such command/);
  return faults.sort();
}

/** Writes what a closure carries of each repository. */
async function writeRepositories(cs9: Cs9, folders: readonly string[], closure: Closure, to: string) {
  const written: Record<string, string> = {};
  const packages = new Set(closure.packages.map((id) => cs9.pool.entries[id]));
  for (const [index, primary] of cs9.primaries.entries()) {
    const chosen = primary.packages.filter((it) => packages.has(it as PackageEntry));
    const { files, repomd } = await writeSubset({
      primary,
      packages: chosen.map((entry) => ({ entry, pkgid: hexOf(primary.details(entry).checksum) })),
      filelists: (async function* () {
        yield await cs9.filelists(folders[index] as string);
      })(),
      extra: [],
      revision: "1",
      time: new Date(0),
    });
    const dir = join(to, `repo${index}`);
    for (const { path, bytes } of [...files, { path: "repodata/repomd.xml", bytes: repomd }]) {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      writeFileSync(join(dir, path), bytes);
    }
    written[`repo${index}`] = dir;
  }
  return written;
}

for (const [sample, folders] of [
  ["baseos", [BASEOS]],
  ["joint", [APPSTREAM, BASEOS]],
] as const) {
  t.test(
    `subsets of ${sample}: clean with conditions left out, else flagged is what is reported`,
    withCs9,
    async (t) => {
      if (!needs(t, "dnf")) return;
      const dir = scratch(t);
      const cs9 = await openCs9(folders);
      const all = Object.keys(readOracle(sample).solved);
      const seeds = all.filter((_it, index) => index % Math.floor(all.length / SEEDS) === 0);
      t.ok(seeds.length >= SEEDS);
      let flagged = 0;
      for (const [index, seed] of seeds.entries()) {
        const options = { recommends: false, findFiles: cs9.findFiles };
        const request = [{ label: seed, candidates: [cs9.newest(seed)] }];
        const closures = [
          await closureOf(cs9.pool, request, options),
          await closureOf(cs9.pool, request, { ...options, always: () => true }),
        ];
        const [selected, always] = await Promise.all(
          closures.map(async (closure, kind) => {
            const root = `r${index}-${kind}`;
            const written = await writeRepositories(cs9, folders, closure, join(dir, `${root}-mirror`));
            const got = await repoclosure(t, dir, root, written);
            t.same(got, closure.leftOut.map(({ id, text }) => faultLine(cs9.pool.nevra(id), text)).sort(), seed);
            return got;
          }),
        );
        flagged += selected?.length ?? 0;
        t.same(always, [], `${seed}: clean`);
        for (const { text } of closures[0]?.leftOut ?? []) t.match(text, / if /, "only conditional ones are left out");
      }
      t.ok(flagged > SEEDS / 2, `the sample has conditional dependencies: ${flagged}`);
    },
  );
}

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
