/** `rpms:` of the manifest through `airferry lock` and `plan`: conditional dependencies, several architectures, entries that stay. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../../fixtures/host.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";
import { type LockFile, lockOver, packagesIn } from "../../fixtures/rpm-lock.ts";
import { type MadePackage, type MadeRepository, makeRepository } from "../../fixtures/rpm-metadata.ts";

/** Conditions of every form; the app's condition packages are in the repository but nobody needs them. */
const CONDITIONAL: MadePackage[] = [
  {
    name: "app",
    requires: [
      "(plain if cond)",
      "(then if cond else otherwise)",
      "((both1 and both2) if (cond or cond2))",
      "((either1 or either2) if cond)",
      "(chain if cond)",
      "(ghost if cond)",
      "(broken if cond)",
    ],
  },
  ...["plain", "then", "otherwise", "both1", "both2", "either1", "either2", "deep", "far", "cond", "cond2"].map(
    (name) => ({ name }),
  ),
  { name: "chain", requires: ["(deep if cond)", "(far if deep)"] },
  { name: "broken", requires: ["missing"] },
];

t.test("conditional_deps: what is included and reported under conditions", async (t) => {
  const made = await makeRepository(CONDITIONAL);
  const some = await lockOver(t, { r: made }, { r: { packages: ["app"] } });
  t.equal(some.status, 0, some.stderr);
  t.same(some.packages("r"), ["app-1-1.noarch", "otherwise-1-1.noarch"], "nothing is cond: only the else");
  const left = some.lock?.entries[0]?.detail.leftOut ?? [];
  t.same(
    left.map((it) => it.needs),
    CONDITIONAL[0]?.requires,
    "then of an else too: what repoclosure does not ask for, but a system with cond does",
  );
  t.match(some.stderr, /7 conditional dependencies are skipped: no included package meets the condition/);
  const planned = await airferry(some.dir, ["plan", "m.yaml", "--json"]);
  t.equal(JSON.parse(planned.stdout).leftOut.length, 7);
  t.match(planned.stderr, /7 conditional dependencies are skipped/, "plan says it of an unchanged lock too");
  const why = await airferry(some.dir, ["plan", "m.yaml", "--why", "plain"]);
  t.match(why.stdout, /not for app-0:1-1\.noarch \(rpm r\), which needs \(plain if cond\): no included package meets/);

  const all = await lockOver(t, { r: made }, { r: { packages: ["app"], conditional_deps: "always" } });
  t.equal(all.status, 0, all.stderr);
  t.same(
    all.packages("r"),
    ["app", "both1", "both2", "chain", "deep", "either1", "far", "otherwise", "plain", "then"].map(
      (it) => `${it}-1-1.noarch`,
    ),
    "both branches, one of alternatives, and what comes with them; not the conditions themselves",
  );
  const detail = all.lock?.entries[0]?.detail;
  t.same(detail?.leftOut, [
    { package: "app-0:1-1.noarch", needs: "(ghost if cond)", fault: "nothing provides it" },
    {
      package: "app-0:1-1.noarch",
      needs: "(broken if cond)",
      fault: "nothing provides missing, needed by broken-0:1-1.noarch",
    },
  ]);
  t.match(all.stderr, /app-0:1-1\.noarch needs \(ghost if cond\), which is unavailable: nothing provides it/);
  t.notMatch(all.stderr, /dependencies are skipped/);
  t.same(detail?.why["deep-0:1-1.noarch"], [
    "chain-0:1-1.noarch (needs (deep if cond))",
    "app-0:1-1.noarch (needs (chain if cond))",
  ]);
});

t.test("a condition holds when it is selected, mirrored whole by another entry, or in the baseline", async (t) => {
  const app = await makeRepository([{ name: "app", requires: ["(extra if cond)"] }, { name: "extra" }]);
  const conds = await makeRepository([{ name: "cond" }]);
  const repositories = { app, conds };
  const extra = ["app-1-1.noarch", "extra-1-1.noarch"];
  const offered = await lockOver(t, repositories, { app: { packages: ["app"] }, conds: { packages: [] } });
  t.same(offered.packages("app"), ["app-1-1.noarch"], "offered, but nobody carries it");
  const selected = await lockOver(t, repositories, { app: { packages: ["app"] }, conds: { packages: ["cond"] } });
  t.same(selected.packages("app"), extra);
  const whole = await lockOver(t, repositories, { app: { packages: ["app"] }, conds: {} });
  t.same(whole.packages("app"), extra, "the bundle has it, so a target may");
  t.notMatch(whole.stderr, /skipped/);
  const impossible = await lockOver(
    t,
    { app: await makeRepository([{ name: "app", requires: ["(missing if cond)"] }]), conds },
    { app: { packages: ["app"] }, conds: {} },
  );
  t.equal(impossible.status, 0);
  t.match(
    impossible.stderr,
    /needs \(missing if cond\), which is unavailable: nothing provides it/,
    "app alone installs",
  );
  const qa = join(whole.dir, "qa.txt");
  writeFileSync(qa, "cond-1-1.noarch\n");
  const there = await lockOver(t, { app }, { app: { packages: ["app"], baseline: qa } });
  t.same(there.packages("app"), extra);
  writeFileSync(qa, "extra-1-1.noarch\n");
  const has = await lockOver(t, { app }, { app: { packages: ["app"], baseline: qa, conditional_deps: "always" } });
  t.same(has.packages("app"), ["app-1-1.noarch"], "what the target has need not come");
  t.notMatch(has.stderr, /skipped/, "and satisfies");
});

t.test("conditional_deps is about the packages of its own entry, whoever provides", async (t) => {
  const lib = await makeRepository([{ name: "lib", requires: ["(hook if cond)"] }, { name: "hook" }, { name: "gui" }]);
  const app = await makeRepository([{ name: "app", requires: ["lib", "(gui if cond)"] }]);
  const run = await lockOver(
    t,
    { app, lib },
    { app: { packages: ["app"], conditional_deps: "always" }, lib: { packages: [] } },
  );
  t.same(run.packages("lib"), ["gui-1-1.noarch", "lib-1-1.noarch"]);
});

/** A tool for two architectures and a 32-bit companion, in two versions, with libraries of each and data for all. */
const MANY: MadePackage[] = ["1-1", "2-1"].flatMap((evr) => [
  ...["x86_64", "i686", "aarch64"].flatMap((arch) => [
    { name: "tool", evr, arch, requires: [`libtool(${arch}) = ${evr}`, "data"] },
    { name: "libtool", evr, arch, provides: [`libtool(${arch}) = ${evr}`] },
  ]),
  { name: "data", evr },
]);
const ONE_SIDED: MadePackage[] = [
  { name: "efi-x64", arch: "x86_64" },
  { name: "efi-aa64", arch: "aarch64", requires: ["missing-here"] },
  { name: "missing-here", arch: "x86_64" },
];

const ARCHES = new Map<string, [object, string[]]>([
  ["none given: this one", [{ packages: ["tool"] }, ["data-2-1.noarch", "libtool-2-1.x86_64", "tool-2-1.x86_64"]]],
  [
    "two",
    [
      { packages: ["tool"], arch: ["x86_64", "aarch64"] },
      ["data-2-1.noarch", "libtool-2-1.aarch64", "libtool-2-1.x86_64", "tool-2-1.aarch64", "tool-2-1.x86_64"],
    ],
  ],
  [
    "one of a spec's own, in either",
    [
      { packages: ["tool-1-1.aarch64", "libtool.x86_64"], arch: ["x86_64", "aarch64"] },
      ["data-2-1.noarch", "libtool-1-1.aarch64", "libtool-2-1.x86_64", "tool-1-1.aarch64"],
    ],
  ],
  [
    "i686 named beside x86_64: only what is asked for by name",
    [
      { packages: ["tool", "libtool.i686"], arch: ["x86_64", "i686"] },
      ["data-2-1.noarch", "libtool-2-1.i686", "libtool-2-1.x86_64", "tool-2-1.x86_64"],
    ],
  ],
  [
    "multilib brings the 32-bit twins, and nothing else for aarch64",
    [
      { packages: ["tool"], arch: ["x86_64", "aarch64"], multilib: true },
      [
        ...["data-2-1.noarch", "libtool-2-1.aarch64", "libtool-2-1.i686", "libtool-2-1.x86_64"],
        ...["tool-2-1.aarch64", "tool-2-1.i686", "tool-2-1.x86_64"],
      ],
    ],
  ],
  [
    "multilib: false leaves them out whoever names them",
    [{ packages: ["tool*"], multilib: false }, ["data-2-1.noarch", "libtool-2-1.x86_64", "tool-2-1.x86_64"]],
  ],
  [
    "a filter without packages",
    [{ arch: ["aarch64"], newest: 1 }, ["data-2-1.noarch", "libtool-2-1.aarch64", "tool-2-1.aarch64"]],
  ],
  [
    "a filter with multilib",
    [
      { arch: ["x86_64"], multilib: true, newest: 1 },
      ["data-2-1.noarch", "libtool-2-1.i686", "libtool-2-1.x86_64", "tool-2-1.i686", "tool-2-1.x86_64"],
    ],
  ],
]);

t.test("several architectures in one entry: each is closed over by itself", async (t) => {
  const made = await makeRepository(MANY);
  for (const [what, [entry, expected]] of ARCHES) {
    const run = await lockOver(t, { r: made }, { r: entry });
    t.equal(run.status, 0, `${what}: ${run.stderr}`);
    t.same(run.packages("r"), expected, what);
    const planned = await airferry(run.dir, ["plan", "m.yaml", "--json"]);
    const paths = (JSON.parse(planned.stdout).entries as { path: string }[]).map((it) => it.path);
    t.equal(paths.filter((it) => it.endsWith(".rpm")).length, expected.length, `${what}: planned`);
  }
});

t.test("what only one architecture has is told; what none has, or cannot be had on one, fails", async (t) => {
  const made = await makeRepository(ONE_SIDED);
  const arch = ["x86_64", "aarch64"];
  const told = await lockOver(t, { r: made }, { r: { packages: ["efi-x64"], arch } });
  t.equal(told.status, 0, told.stderr);
  t.same(told.packages("r"), ["efi-x64-1-1.x86_64"]);
  t.match(told.stderr, /r: efi-x64: nothing for aarch64/);
  const nowhere = await lockOver(t, { r: made }, { r: { packages: ["efi-arm"], arch } });
  t.equal(nowhere.status, 2);
  t.equal(nowhere.stderr.match(/rpms r: efi-arm/g)?.length, 1, "said once");
  const unmet = await lockOver(t, { r: made }, { r: { packages: ["efi-aa64"], arch } });
  t.equal(unmet.status, 2);
  t.match(unmet.stderr, /nothing provides missing-here, needed by efi-aa64-0:1-1\.aarch64/, "x86_64's does not count");
});

t.test("a baseline counts for its own architecture", async (t) => {
  const made = await makeRepository(MANY);
  const qa = join(scratch(t), "qa.txt");
  writeFileSync(qa, "libtool-2-1.x86_64\ndata-2-1.noarch\n");
  const run = await lockOver(t, { r: made }, { r: { packages: ["tool"], arch: ["x86_64", "aarch64"], baseline: qa } });
  t.same(run.packages("r"), ["data-2-1.noarch", "libtool-2-1.aarch64", "tool-2-1.aarch64", "tool-2-1.x86_64"]);
});

/** Replaces what a path of a repository answers, as an upstream that moves on does. */
function move(run: Awaited<ReturnType<typeof lockOver>>, name: string, made: MadeRepository): void {
  for (const path of run.files.keys()) if (path.startsWith(`/${name}/`)) run.files.delete(path);
  for (const [path, bytes] of made.below(`/${name}/`)) run.files.set(path, bytes);
}

/** Changes entries of the manifest and locks again. */
async function relock(
  run: Awaited<ReturnType<typeof lockOver>>,
  changes: Record<string, object | null>,
  ...more: string[]
) {
  const manifest = JSON.parse(readFileSync(join(run.dir, "m.yaml"), "utf8")) as { rpms: { name: string }[] };
  for (const [name, change] of Object.entries(changes)) {
    const old = manifest.rpms.find((it) => it.name === name);
    manifest.rpms = manifest.rpms.filter((it) => it !== old);
    if (change !== null) {
      manifest.rpms.push({ name, ...{ url: `${run.upstream.url}/${name}/`, gpgcheck: false }, ...old, ...change });
    }
  }
  writeManifest(run.dir, manifest);
  const ran = await airferry(run.dir, ["lock", "m.yaml", ...more]);
  const lock = JSON.parse(readFileSync(join(run.dir, "m.lock.json"), "utf8")) as LockFile;
  return { ...ran, lock, packages: (name: string) => packagesIn(lock, name) };
}

const version = (evr: string, more: MadePackage[] = []): Promise<MadeRepository> =>
  makeRepository([{ name: "lib", evr }, { name: "tool", evr }, { name: "spare", evr }, ...more], { revision: evr });

t.test("an unchanged entry does not move to newer metadata because another one changed", async (t) => {
  const app = await makeRepository([
    { name: "app", requires: ["lib"] },
    { name: "app2", requires: ["lib", "tool"] },
  ]);
  const repositories = { app, libs: await version("1-1"), more: await makeRepository([{ name: "extra" }]) };
  const entries = { libs: { packages: ["lib"] }, app: { packages: ["app"] } };
  const run = await lockOver(t, repositories, entries);
  t.equal(run.status, 0, run.stderr);
  const locked = run.lock?.entries.find((it) => it.name === "libs");

  const joint = await relock(run, { app: { packages: ["app", "app2"] } });
  t.equal(joint.status, 0, joint.stderr);
  t.same(joint.packages("libs"), ["lib-1-1.noarch", "tool-1-1.noarch"], "upstream is the same: closed over together");
  t.notMatch(joint.stderr, /still locked as before/);
  const back = await relock(run, { app: { packages: ["app"] } });
  t.same(back.packages("libs"), ["lib-1-1.noarch"]);

  move(run, "libs", await version("2-1"));
  const other = await relock(run, { more: { packages: ["extra"] } });
  t.equal(other.status, 0, other.stderr);
  t.match(
    other.stderr,
    /libs: still locked as before: upstream has changed since; to lock what upstream has now: airferry lock \S+ --update libs/,
  );
  t.same(
    other.lock.entries.find((it) => it.name === "libs"),
    locked,
    "not a byte of it moved",
  );
  t.same(other.packages("more"), ["extra-1-1.noarch"]);
  const same = await relock(run, {});
  t.notMatch(same.stderr, /still locked as before/, "nothing changed: nobody is asked");

  const unmet = await relock(run, { app: { packages: ["app", "app2"] } });
  t.equal(unmet.status, 2, "what is locked does not have tool");
  t.match(unmet.stderr, /nothing provides tool, needed by app2/);
  t.match(unmet.stderr, /hint: libs has only what is locked; .*airferry lock \S+ --update libs/);
  const updated = await relock(run, {}, "--update", "libs");
  t.equal(updated.status, 0, updated.stderr);
  t.same(updated.packages("libs"), ["lib-2-1.noarch", "tool-2-1.noarch"]);
  t.match(updated.stderr, /removed rpm rpms\/libs\/Packages\/lib-1-1\.noarch\.rpm/, "and what drifted is said");
});

t.test("an entry that stays keeps what it needs in the others, and is served by a gone upstream too", async (t) => {
  const app = await makeRepository([{ name: "app", requires: ["lib"] }], { revision: "1" });
  const run = await lockOver(
    t,
    { app, libs: await version("1-1"), more: await makeRepository([{ name: "extra" }]) },
    { app: { packages: ["app"] }, libs: { packages: [] } },
  );
  t.same(run.packages("libs"), ["lib-1-1.noarch"]);
  for (const path of run.files.keys()) if (path.startsWith("/app/")) run.files.delete(path);
  const kept = await relock(run, { libs: { packages: ["spare"] } });
  t.equal(kept.status, 0, kept.stderr);
  t.match(kept.stderr, /app: still locked as before: upstream is unreachable \(/);
  t.same(kept.packages("libs"), ["lib-1-1.noarch", "spare-1-1.noarch"], "app still needs lib");
  const broken = await relock(run, { libs: null, more: {} });
  t.equal(broken.status, 2, "an entry that others need cannot go");
  t.match(broken.stderr, /rpms: app, as it is locked: nothing provides lib, needed by app/);
});

t.test("companions stay with their parent; conditions are looked at again", async (t) => {
  const cond = await makeRepository([{ name: "cond" }]);
  const parent = (evr: string) =>
    makeRepository([
      { name: "app", evr, arch: "x86_64", requires: ["(extra if cond)"] },
      { name: "extra", arch: "x86_64" },
    ]);
  const sources = (evr: string) =>
    makeRepository([{ name: "app", evr, arch: "src", sourceRpm: "" }], { revision: evr });
  const run = await lockOver(
    t,
    { app: await parent("1-1"), src: await sources("1-1"), cond },
    { app: { packages: ["app"], source_url: "@UPSTREAM@/src/" } },
  );
  t.equal(run.status, 0, run.stderr);
  t.same(run.packages("app-source"), ["app-1-1.src"]);
  move(run, "app", await parent("2-1"));
  move(run, "src", await sources("2-1"));
  const more = await relock(run, { cond: {} });
  t.equal(more.status, 0, more.stderr);
  t.same(more.packages("app"), ["app-1-1.x86_64"]);
  t.same(more.packages("app-source"), ["app-1-1.src"]);
  t.match(more.stderr, /needs \(extra if cond\), which is unavailable/, "the locked part of app has no extra");
  const updated = await relock(run, {}, "--update", "app");
  t.same(updated.packages("app"), ["app-2-1.x86_64", "extra-1-1.x86_64"]);
  t.same(updated.packages("app-source"), ["app-2-1.src"]);
});
