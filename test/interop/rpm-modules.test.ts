/**
 * Module streams as real dnf sees them: the contexts of Enterprise Linux 8's streams, and vendor repositories beside a default
 * stream, whole and cut.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { documentOf, packageBlock } from "../../scripts/fuzz-parts/solver/packages.ts";
import { parseModules } from "../../src/rpm/modulemd.ts";
import { ModuleIndex, parseModuleSpec } from "../../src/rpm/modules.ts";
import { needs } from "../fixtures/clients.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { carryAcross, dnf, run } from "../fixtures/rpm-carry.ts";
import { RPM_FIXTURES, withLargeFixtures } from "../fixtures/rpm-files.ts";
import { buildRpmTree, RPM_BUILDERS } from "../fixtures/rpm-tree.ts";

const EUROLINUX = join(RPM_FIXTURES, "eurolinux-8-modules/x86_64-appstream");
const work = mkdtempSync(join(tmpdir(), "airferry-modules-"));
t.teardown(() => rmSync(work, { recursive: true, force: true }));

/** Streams that are built against several streams of perl, streams of perl itself, and one with two needs. */
const STREAMS = [
  "",
  ...["App-cpanminus:1.7044", "DBD-MySQL:4.046", "DBD-Pg:3.7", "DBD-SQLite:1.58", "DBI:1.641", "FCGI:0.78"].map(
    (it) => `perl-${it}`,
  ),
  ...["perl-IO-Socket-SSL:2.066", "perl-YAML:1.24", "perl-libwww-perl:6.34", "perl:5.24", "perl:5.32", "php:8.0"],
];

t.test("contexts of EL 8's streams are those that dnf makes active", withLargeFixtures, async (t) => {
  if (!needs(t, "dnf", "modifyrepo_c")) return;
  const all = ["modules.yaml", "defaults.yaml"].map((it) => readFileSync(join(EUROLINUX, it), "utf8")).join("\n");
  // What has to do with perl and php, and the modules that these need: dnf takes its time over all 54.
  const text = all
    .split(/^(?=---)/m)
    .filter((it) => /^ {2}(name|module): (perl[\w-]*|php|httpd|nginx|freeradius)$/im.test(it))
    .join("");
  const index = new ModuleIndex(parseModules(Buffer.from(text), "modules.yaml"));
  const dir = join(work, "eurolinux");
  mkdirSync(join(dir, "repodata"), { recursive: true });
  const packages = [...index.allArtifacts()].filter((it) => !it.endsWith(".src"));
  const blocks = packages.map((nevra, number) => {
    const [, name, evr, arch] = /^(.+)-(\d+:[^-]+-[^-]+)\.([^.]+)$/.exec(nevra) as unknown as [
      string,
      string,
      string,
      string,
    ];
    const pkgid = number.toString(16).padStart(64, "0");
    return packageBlock({ name, evr, arch, sections: {} }).replace("0".repeat(64), pkgid);
  });
  writeFileSync(join(dir, "primary.xml"), documentOf(blocks));
  writeFileSync(join(dir, "modules.yaml"), text);
  writeFileSync(
    join(dir, "repodata/repomd.xml"),
    '<?xml version="1.0" encoding="UTF-8"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision></repomd>',
  );
  for (const type of ["primary.xml", "modules.yaml"]) {
    const made = await run("modifyrepo_c", [join(dir, type), join(dir, "repodata")], dir);
    t.equal(made.status, 0, made.out);
  }
  const script = join(import.meta.dirname, "../fixtures/dnf-modules.py");
  const answer = execFileSync("/usr/bin/python3", [script, dir, join(work, "dnf")], {
    input: JSON.stringify(STREAMS),
    maxBuffer: 1 << 28,
  });
  const visible = JSON.parse(answer.toString("utf8")) as Record<string, string[]>;
  for (const spec of STREAMS) {
    const active = index.activate(spec === "" ? [] : [parseModuleSpec(spec)]);
    const ours = [...index.activeArtifacts(active)].filter((it) => /\.(x86_64|i[3-6]86|noarch)$/.test(it)).sort();
    t.ok(ours.length > 100, `${spec}: there is something to compare`);
    t.strictSame(ours, [...(visible[spec] ?? [])].sort(), spec || "defaults alone");
  }
});

t.test("a vendor's package beside a default stream of its name, whole and cut", async (t) => {
  if (!needs(t, "dnf", ...RPM_BUILDERS)) return;
  const tree = await buildRpmTree(join(work, "tree"));
  writeFileSync(join(work, "key.asc"), tree.key);
  await writeKeyPairs(work);
  // aft-web 0.9 is what upstream's default stream aftweb:1 replaces.
  const vendor = join(work, "vendor");
  mkdirSync(vendor);
  const find = (dir: string): string[] =>
    readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((it) => /aft-web-0\.9.*\.rpm$/.test(it));
  const file = find(join(tree.dir, "app"))[0] as string;
  cpSync(join(tree.dir, "app", file), join(vendor, "aft-web-0.9.rpm"));
  t.equal((await run("createrepo_c", ["-q", vendor], work)).status, 0);
  const keys = ["../key.asc"];
  const base = { name: "base", path: "../tree/base", keys };
  const manifests: Record<string, [object[], boolean]> = {
    whole: [
      [
        base,
        { name: "app", path: "../tree/app", keys },
        { name: "vendor", path: "../vendor", keys, module_hotfixes: true },
      ],
      true,
    ],
    cut: [
      [
        { ...base, packages: [] },
        { name: "app", path: "../tree/app", keys, packages: ["@aftweb:1"] },
        { name: "vendor", path: "../vendor", keys, packages: ["aft-web"] },
      ],
      true,
    ],
    without: [[base, { name: "app", path: "../tree/app", keys }, { name: "vendor", path: "../vendor", keys }], false],
  };
  for (const [name, [rpms, works]] of Object.entries(manifests)) {
    const dir = join(work, name);
    mkdirSync(dir);
    const carried = await carryAcross(t, dir, { stream: name, rpms }, "../k");
    t.equal(carried.packed.status, 0, carried.packed.stderr);
    t.equal(/\[airferry-vendor\][^[]*module_hotfixes=1/.test(carried.repos), works, `${name}: airferry.repo`);
    t.notMatch(carried.repos, /\[airferry-app\][^[]*module_hotfixes/);
    const installed = await dnf(dir, "root", carried.repos, "install", "aft-web-0.9");
    t.equal(installed.status === 0, works, `${name}: ${installed.out}`);
    const modular = await dnf(dir, "modular", carried.repos, "repoquery", "--disablerepo=airferry-vendor", "aft-web");
    t.match(modular.out, /aft-web-0:1\.0-1\.module_1/, `${name}: the stream itself is untouched`);
  }
});
