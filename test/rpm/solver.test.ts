/** What single rules mean, over hand-made packages; libsolv (python3-solv) gives the same answers where it is installed. */
import t, { type Test as Tap } from "tap";
import { hasLibsolv, Libsolv } from "../../scripts/fuzz-parts/solver/libsolv.ts";
import { documentOf, packageBlock } from "../../scripts/fuzz-parts/solver/packages.ts";
import { closureOf } from "../../src/rpm/closure.ts";
import { Pool } from "../../src/rpm/pool.ts";
import { Primary } from "../../src/rpm/primary.ts";

type Package = Parameters<typeof packageBlock>[0];

const libsolv = hasLibsolv() ? new Libsolv() : undefined;
t.teardown(() => libsolv?.close());

const pkg = (nevra: string, sections: Package["sections"] = {}): Package => {
  const [, name, version, arch] = /^(.+)-([^-]+)\.(.+)$/.exec(nevra) as unknown as [string, string, string, string];
  return { name, evr: `0:${version}-1`, arch, sections };
};

/** Requests `name.arch` each; expects names and architectures that come, or undefined: cannot be had. */
async function expect(
  t: Tap,
  packages: readonly Package[],
  requested: readonly string[],
  expected: string[] | undefined,
  name: string,
): Promise<void> {
  const xml = documentOf(packages.map(packageBlock));
  const pool = new Pool("x86_64");
  await pool.addRepository("r", await Primary.read(Buffer.from(xml), "r"));
  const short = (nevra: string) => nevra.replace(/-0:([^-]*)-1\./, "-$1.");
  const requests = requested.map((label) => ({
    label,
    candidates: pool.entries.flatMap((it, id) => (`${it.name}.${it.arch}` === label ? [id] : [])),
  }));
  const closure = await closureOf(pool, requests, { recommends: false, findFiles: async () => false });
  const ok = closure.unresolved.length === 0;
  const got = closure.packages.map((id) => short(pool.nevra(id))).sort();
  t.same(ok ? got : undefined, expected, name);
  if (!libsolv) return;
  const install = requests.map((it) => it.candidates.map((id) => pool.nevra(id)));
  const [answer] = await libsolv.ask([xml], false, [{ install }]);
  t.same(answer?.ok ? answer.picked.map(short) : undefined, expected, `${name}: libsolv's answer`);
}

t.test("a provide without a version satisfies every version; one with a version has to match", async (t) => {
  const app = pkg("app-1.x86_64", { requires: ["virt >= 2"] });
  for (const [provided, works] of [
    ["virt", true],
    ["virt = 2", true],
    ["virt = 1", false],
    ["virt < 2", false],
    ["virt <= 2", true],
    ["virt > 1", true],
  ] as const) {
    const bar = pkg("bar-1.x86_64", { provides: [provided] });
    await expect(t, [app, bar], ["app.x86_64"], works ? ["app-1.x86_64", "bar-1.x86_64"] : undefined, provided);
  }
  const foe = pkg("foe-1.x86_64", { conflicts: ["virt >= 2"], requires: ["bar"] });
  const bar = pkg("bar-1.x86_64", { provides: ["virt"] });
  await expect(t, [foe, bar], ["foe.x86_64"], undefined, "a conflict with a version, too");
});

t.test("obsoletes match names, not provides, of the same name too", async (t) => {
  const bar = pkg("bar-1.x86_64", { provides: ["virt"] });
  const other = pkg("other-1.x86_64", { obsoletes: ["virt"], requires: ["bar"] });
  await expect(t, [bar, other], ["other.x86_64"], ["bar-1.x86_64", "other-1.x86_64"], "a provide");
  const named = pkg("other-1.x86_64", { obsoletes: ["bar <= 1"], requires: ["bar"] });
  await expect(t, [bar, named], ["other.x86_64"], undefined, "a name");
  const newer = pkg("bar-2.x86_64", { obsoletes: ["bar < 2"], requires: ["old"] });
  const old = pkg("bar-1.i686", { provides: ["old"] });
  await expect(t, [old, newer], ["bar.x86_64"], undefined, "its own name in another architecture");
});

t.test("conditions in conflicts", async (t) => {
  const a = pkg("a-1.x86_64");
  const b = pkg("b-1.x86_64");
  const app = (conflict: string, ...requires: string[]) =>
    pkg("app-1.x86_64", { conflicts: [conflict], ...(requires.length > 0 && { requires }) });
  const alone = ["app-1.x86_64"];
  const withB = ["app-1.x86_64", "b-1.x86_64"];
  // Not (a if b): b has to be there, and a must not.
  await expect(t, [a, b, app("(a if b)")], ["app.x86_64"], withB, "(a if b) asks for b");
  await expect(t, [a, b, app("(a if b)", "a")], ["app.x86_64"], undefined, "(a if b) with a");
  await expect(t, [a, app("(a if b)")], ["app.x86_64"], undefined, "(a if b) without any b");
  const choice = [pkg("b1-1.x86_64", { provides: ["b"] }), pkg("b2-1.x86_64", { provides: ["b"] })];
  await expect(t, [...choice, app("(a if b)")], ["app.x86_64"], ["app-1.x86_64", "b1-1.x86_64"], "one of several b");
  await expect(t, [a, b, app("(a unless b)")], ["app.x86_64"], alone, "(a unless b)");
  await expect(t, [a, b, app("(a unless b)", "a")], ["app.x86_64"], ["a-1.x86_64", ...withB], "… with a brings b");
  await expect(t, [a, b, app("(a and b)", "a")], ["app.x86_64"], ["a-1.x86_64", "app-1.x86_64"], "(a and b) with a");
  await expect(t, [a, b, app("(a and b)", "a", "b")], ["app.x86_64"], undefined, "(a and b) with both");
  await expect(t, [a, app("app")], ["app.x86_64"], alone, "itself");
  await expect(t, [a, app("(app and a)", "a")], ["app.x86_64"], undefined, "itself and another one");
});

t.test("a requirement (a unless b) is a, and no b", async (t) => {
  const a = pkg("a-1.x86_64");
  const b = pkg("b-1.x86_64");
  const app = pkg("app-1.x86_64", { requires: ["(a unless b)"] });
  await expect(t, [a, b, app], ["app.x86_64"], ["a-1.x86_64", "app-1.x86_64"], "without b");
  const needy = pkg("app-1.x86_64", { requires: ["(a unless b)", "b"] });
  await expect(t, [a, b, needy], ["app.x86_64"], undefined, "with b");
});

t.test("architectures of one name go in lock-step", async (t) => {
  const wine = pkg("wine-1.x86_64", { requires: ["libc.so.6"] });
  const bash = pkg("bash-1.x86_64", { requires: ["libc.so.6()(64bit)"] });
  const glibc = (version: number, arch: "x86_64" | "i686") =>
    pkg(`glibc-${version}.${arch}`, { provides: [arch === "i686" ? "libc.so.6" : "libc.so.6()(64bit)"] });
  const [old64, old32, new64, new32] = [glibc(1, "x86_64"), glibc(1, "i686"), glibc(2, "x86_64"), glibc(2, "i686")];
  const twins = ["glibc-2.i686", "glibc-2.x86_64", "wine-1.x86_64"];
  await expect(t, [wine, new64, new32], ["wine.x86_64"], twins, "the twin comes along");
  await expect(t, [wine, new32], ["wine.x86_64"], ["glibc-2.i686", "wine-1.x86_64"], "where there is one");
  const both = ["wine.x86_64", "bash.x86_64"];
  await expect(t, [wine, bash, old64, new64, new32], both, ["bash-1.x86_64", ...twins], "and is taken by others");
  await expect(t, [wine, bash, old64, new32], ["wine.x86_64"], ["glibc-2.i686", "wine-1.x86_64"], "no other in sight");
  const older = ["bash-1.x86_64", "glibc-1.i686", "glibc-1.x86_64", "wine-1.x86_64"];
  await expect(t, [wine, bash, old64, old32, new32], both, older, "an older version that has its twin");
});

t.test("a better architecture is in sight through weak dependencies, whatever their conditions", async (t) => {
  const app = pkg("app-1.x86_64", { requires: ["lib < 2"] });
  const [old32, new64] = [pkg("lib-1.i686"), pkg("lib-2.x86_64", { provides: ["lib(x86-64)"] })];
  const alone = ["app-1.x86_64", "lib-1.i686"];
  await expect(t, [app, old32, new64], ["app.x86_64"], alone, "not in sight");
  for (const [supplements, sees] of [
    ["app", true],
    ["(nothing if nobody)", true],
    ["(nothing unless app)", true],
    ["(app and nothing)", false],
    ["(nothing or app)", true],
    ["((nothing or nobody) with app)", false],
  ] as const) {
    const more = pkg("more-1.x86_64", { recommends: ["lib(x86-64)"], supplements: [supplements] });
    await expect(t, [app, old32, new64, more], ["app.x86_64"], sees ? undefined : alone, supplements);
  }
  for (const [suggests, sees] of [
    ["(lib(x86-64) and nothing)", true],
    ["(nothing if lib(x86-64))", false],
    ["(nothing if nobody else lib(x86-64))", true],
    ["(lib(x86-64) unless app)", true],
  ] as const) {
    const suggesting = { ...app, sections: { ...app.sections, suggests: [suggests] } };
    await expect(t, [suggesting, old32, new64], ["app.x86_64"], sees ? undefined : alone, suggests);
  }
});

t.test("the form of a conflict decides whether a package is excused from it", async (t) => {
  const odd = "(((a if b) if (missing unless a else absent)) unless a else a)";
  const [a, b] = [pkg("a-1.x86_64", { conflicts: [odd] }), pkg("b-1.noarch", { requires: ["missing"] })];
  await expect(t, [a, b], ["a.x86_64"], ["a-1.x86_64"], odd);
});

t.test("expressions of thousands of clauses hold as small ones do", async (t) => {
  const all = Array.from({ length: 14 }, (_it, n) => pkg(`p${n}-1.x86_64`));
  const pairs = all.slice(0, 7).map((_it, n) => `(p${2 * n} and p${2 * n + 1})`);
  const app = pkg("app-1.x86_64", { requires: [`(${pairs.join(" or ")} or (p0 if p1))`], conflicts: ["p1"] });
  const foe = pkg("app-1.x86_64", {
    conflicts: [`((${pairs.map((it) => it.replace("and", "or")).join(" and ")}) unless p0)`],
  });
  await expect(t, [...all, app], ["app.x86_64"], ["app-1.x86_64"], "a requirement");
  await expect(t, [...all, foe], ["app.x86_64"], ["app-1.x86_64"], "a conflict");
});

t.test("32-bit architectures of one name exclude each other", async (t) => {
  const a = pkg("a-1.i686", { provides: ["one"] });
  const b = pkg("a-1.i586", { provides: ["two"] });
  const app = pkg("app-1.x86_64", { requires: ["one", "two"] });
  await expect(t, [a, b, app], ["app.x86_64"], undefined, "i586 beside i686");
});
