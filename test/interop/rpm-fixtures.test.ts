/**
 * Every repository of the fixtures, as upstream has it and as airferry mirrors it, asked by real dnf: whole mirrors say the same,
 * rewritten ones the same of all that they carry.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import t, { type Test as Tap } from "tap";
import { decompress } from "../../src/rpm/codecs.ts";
import { Primary } from "../../src/rpm/primary.ts";
import { parseRepomd } from "../../src/rpm/repomd.ts";
import { needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { run } from "../fixtures/rpm-carry.ts";
import { RPM_FIXTURES, withLargeFixtures } from "../fixtures/rpm-files.ts";
import type { LockFile } from "../fixtures/rpm-lock.ts";

/** Repositories that cannot be mirrored, and why: parts are absent from the fixtures, or they lie. */
const REFUSED: [path: RegExp, reason: RegExp][] = [
  [/^createrepo_c\/repo_01$/, /primary\.xml\.gz": too large: expected at most 782 bytes, got 783/],
  [/^cs9-2025-osbuild\/baseos$/, /primary metadata is missing/],
  [/^dnf5\/repos-repomd\/repomd-(comps-|modules|repo1$)/, /primary\.xml": (wrong size|too large)/],
  [/^suse-rmt\/dummy_repo$/, /primary\.xml\.gz": too large/],
];
/** Repositories with faults that dnf does without: told, and carried. */
const TOLERATED: [path: RegExp, told: RegExp][] = [
  [/^createrepo_c\/repo_with_additional_metadata$/, /modules\.yaml: ignored document 3/],
];
/** A package of it is at another server: its metadata cannot stay as it is. */
const LEADS_OUT = "dnf5/repos-repomd/repomd-repo1-gpg";
/** What ours says where it must be another thing than upstream's. */
const TOLD_OTHERWISE: Record<string, RegExp> = {
  // That package, which is inside now.
  unresolvable: /\|external\/acedd071\/unresolvable-2-3\.x86_64\.rpm\|/,
  // Listed twice: libsolv gives the files of filelists to one of them, and dnf shows the other.
  super_kernel: /F \/usr\/bin\/super_kernel\n(\/usr\/share\/man\/super_kernel\.8\.gz\n)?D /,
};
/** dnf takes minutes for it, and its closures have tests of their own. */
const LARGE = "cs9-2025-osbuild/appstream";

function repositories(): string[] {
  const all = readdirSync(RPM_FIXTURES, { recursive: true, encoding: "utf8" });
  return all
    .filter((it) => it.endsWith("/repodata/repomd.xml"))
    .map((it) => dirname(dirname(it)))
    .sort();
}

const FORMAT = `@@ %{repoid} %{name}-%{epoch}:%{version}-%{release}.%{arch}
%{summary}|%{license}|%{url}|%{sourcerpm}|%{buildtime}|%{installsize}|%{downloadsize}|%{relativepath}|%{chksum}
R %{requires}
P %{provides}
C %{conflicts}
O %{obsoletes}
W %{recommends}|%{suggests}|%{supplements}|%{enhances}
F %{files}
D %{description}`;

/** What dnf says of each package, by repository and NEVRA. */
async function ask(t: Tap, dir: string, what: string, folders: Record<string, string>): Promise<Map<string, string>> {
  const said = new Map<string, string>();
  for (const arch of ["x86_64", "s390x"]) {
    const repos = Object.entries(folders).flatMap(([id, path]) => ["--repofrompath", `${id},file://${path}`]);
    const options = [
      "-q",
      `--config=${join(dir, "dnf.conf")}`,
      `--installroot=${join(dir, "empty")}`,
      "--releasever=9",
      `--forcearch=${arch}`,
      "--disableplugin=*",
      "--setopt=reposdir=/nonexistent",
      `--setopt=cachedir=${join(dir, `${what}-${arch}`)}`,
      "--setopt=module_platform_id=platform:el9",
      ...repos,
      "repoquery",
      "--all",
      "--disable-modular-filtering",
      "--qf",
      FORMAT,
    ];
    const { status, out } = await run("dnf", options, dir);
    t.equal(status, 0, out.slice(-2000));
    for (const block of out.split(/^@@ /m).slice(1)) {
      const [key, ...rest] = block.split("\n");
      said.set(key as string, rest.join("\n"));
    }
  }
  return said;
}

/** Writes the metadata that an entry of a lock has below `dir`/NAME, and returns it by path. */
function materialize(lock: LockFile, dir: string, name: string, source: string): Map<string, Buffer> {
  const to = join(dir, name);
  const entry = lock.entries.find((it) => it.name === name);
  const written = new Map<string, Buffer>();
  mkdirSync(join(to, "repodata"), { recursive: true });
  for (const it of entry?.artifacts ?? []) {
    const path = it.path.slice(`rpms/${name}/`.length);
    if (!path.startsWith("repodata/")) continue;
    const bytes = readFileSync(it.kept ? join(dir, "m.lock.d", it.kept.slice(7)) : join(source, path));
    writeFileSync(join(to, path), bytes);
    written.set(path, bytes);
  }
  return written;
}

/** The first package's name. */
async function firstOf(source: string): Promise<string> {
  const { records } = parseRepomd(readFileSync(join(source, "repodata/repomd.xml")), source);
  const { href } = records.find((it) => it.type === "primary") as (typeof records)[number];
  const open = await decompress(readFileSync(join(source, href)), { name: href, maxBytes: 1 << 30 });
  return (await Primary.read(open, href)).packages[0]?.name ?? "";
}

t.test("dnf finds the same in fixtures and mirrors", withLargeFixtures, async (t) => {
  if (!needs(t, "dnf")) return;
  const dir = scratch(t, "airferry-fixtures");
  writeFileSync(join(dir, "dnf.conf"), "[main]\n");
  mkdirSync(join(dir, "empty"));
  const upstream: Record<string, string> = {};
  const mirrored: Record<string, string> = {};
  const dropped = new Map<string, string>();
  const rpms: object[] = [];
  const accepted = new Map<string, string>();
  for (const [index, path] of repositories().entries()) {
    const id = `r${index}`;
    const common = { path: join(RPM_FIXTURES, path), gpgcheck: false, kickstart: false };
    const refused = REFUSED.find(([of]) => of.test(path))?.[1];
    const told = TOLERATED.find(([of]) => of.test(path))?.[1];
    if (refused ?? told) {
      mkdirSync(join(dir, id));
      writeManifest(join(dir, id), { rpms: [{ name: id, ...common }] });
      const ran = await airferry(join(dir, id), ["lock", "m.yaml"]);
      t.equal(ran.status, refused ? 4 : 0, path);
      t.match(ran.stderr, refused ?? told, path);
      continue;
    }
    accepted.set(id, path);
    rpms.push({ name: `${id}-whole`, ...common });
    const name = await firstOf(common.path);
    if (name === "" || path === LARGE) continue;
    dropped.set(id, name);
    rpms.push({ name: `${id}-part`, ...common, exclude: [name] });
  }
  t.ok(accepted.size > 45, `${accepted.size} repositories`);
  writeManifest(dir, { rpms });
  const ran = await airferry(dir, ["lock", "m.yaml"]);
  t.equal(ran.status, 0, ran.stderr);
  const lock = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")) as LockFile;
  const modeOf = (name: string) => lock.entries.find((it) => it.name === name)?.detail.mode;
  for (const [id, path] of accepted) {
    const source = join(RPM_FIXTURES, path);
    t.equal(modeOf(`${id}-whole`), path === LEADS_OUT ? "subset" : "exact", path);
    const whole = path === LEADS_OUT ? [] : materialize(lock, dir, `${id}-whole`, source);
    for (const [file, bytes] of whole)
      if (!bytes.equals(readFileSync(join(source, file)))) t.fail(`${path}: ${file} is not upstream's`);
    if (!dropped.has(id)) continue;
    t.equal(modeOf(`${id}-part`), "subset", path);
    materialize(lock, dir, `${id}-part`, source);
    upstream[id] = source;
    mirrored[id] = join(dir, `${id}-part`);
  }
  const theirs = await ask(t, dir, "upstream", upstream);
  const ours = await ask(t, dir, "mirrored", mirrored);
  t.ok(theirs.size > 1500, `${theirs.size} packages`);
  for (const [key, text] of theirs) {
    const [id, nevra] = key.split(" ") as [string, string];
    const name = nevra.replace(/-[^-]*-[^-]*$/, "");
    if (name === dropped.get(id)) t.notOk(ours.has(key), `${key} was left out`);
    else if (TOLD_OTHERWISE[name] !== undefined) t.match(ours.get(key), TOLD_OTHERWISE[name], key);
    else if (ours.get(key) !== text) t.equal(ours.get(key), text, key);
  }
  t.ok(ours.size < theirs.size && [...ours.keys()].every((it) => theirs.has(it)));
});
