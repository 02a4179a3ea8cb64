/** Module streams and groups in `lock`: what hides packages, `module_hotfixes`, conditional members of groups. */
import t from "tap";
import { lockOver } from "../../fixtures/rpm-lock.ts";
import { makeRepository } from "../../fixtures/rpm-metadata.ts";

const MODULES = `---
document: modulemd
version: 2
data:
  name: nginx
  stream: "1.14"
  version: 1
  context: c
  arch: x86_64
  artifacts: { rpms: ["nginx-1:1.14-1.noarch", "nginx-mod-0:1-1.noarch", "odd-0:1-1.src"] }
...
---
document: modulemd-defaults
version: 1
data: { module: nginx, stream: "1.14" }
...
`;

const app = () =>
  makeRepository([{ name: "nginx", evr: "1:1.14-1" }, { name: "nginx-mod" }, { name: "bash" }], {
    extra: [{ type: "modules", name: "modules.yaml", bytes: Buffer.from(MODULES), compress: true }],
  });
const vendor = () =>
  makeRepository([
    { name: "nginx", evr: "1:1.26-1", requires: ["bash"] },
    { name: "nginx-plus", provides: ["nginx-mod = 2"] },
    { name: "odd" },
  ]);

t.test("a vendor's packages that a default stream replaces are carried with module_hotfixes", async (t) => {
  const repositories = { app: await app(), vendor: await vendor() };
  const asked = await lockOver(t, repositories, { app: { packages: [] }, vendor: { packages: ["nginx"] } });
  t.equal(asked.status, 0, asked.stderr);
  t.same(asked.packages("vendor"), ["nginx-1.26-1.noarch"]);
  t.same(asked.packages("app"), ["bash-1-1.noarch"]);
  t.equal(asked.lock?.entries.find((it) => it.name === "vendor")?.detail.moduleHotfixes, true);
  t.match(
    asked.stderr,
    /vendor: module streams of other repositories replace nginx-1:1\.26-1\.noarch.*module_hotfixes=1/,
  );

  const never = await lockOver(t, repositories, {
    app: { packages: [] },
    vendor: { packages: ["nginx"], module_hotfixes: false },
  });
  t.equal(never.status, 2);
  t.match(never.stderr, /nginx-1:1\.26-1\.noarch; clients cannot see it.*module_hotfixes: true/s);

  const whole = await lockOver(t, repositories, { app: {}, vendor: { module_hotfixes: true } });
  const details = whole.lock?.entries.map((it) => [it.detail.mode, it.detail.moduleHotfixes]);
  t.same(details, [
    ["exact", undefined],
    ["exact", true],
  ]);
});

t.test("active streams hide what has their names or provides them; names of sources hide nothing", async (t) => {
  const repositories = { app: await app(), vendor: await vendor() };
  const plus = await lockOver(t, repositories, {
    app: { packages: [] },
    vendor: { packages: ["nginx-plus"], module_hotfixes: false },
  });
  t.equal(plus.status, 2, "it provides nginx-mod");
  const odd = await lockOver(t, repositories, { app: { packages: [] }, vendor: { packages: ["odd"] } });
  t.same(odd.packages("vendor"), ["odd-1-1.noarch"]);
  t.equal(odd.lock?.entries.find((it) => it.name === "vendor")?.detail.moduleHotfixes, undefined);
});

t.test("a conditional member of a group comes once its condition is carried, by whichever entry", async (t) => {
  const member = (name: string, requires: string) =>
    `<packagereq type="conditional" requires="${requires}">${name}</packagereq>`;
  const comps = `<?xml version="1.0"?>
<comps><group><id>g</id><name>G</name><packagelist><packagereq type="mandatory">core</packagereq>
${member("core-lang", "core")}${member("other-lang", "absent")}${member("lib-lang", "lib")}${member("far-lang", "far")}
${member("broken", "core")}${member("virtual-lang", "virtual")}</packagelist></group></comps>`;
  const names = ["core-lang", "other-lang", "lib-lang", "far-lang", "virtual-lang"];
  const r = await makeRepository(
    [
      { name: "core", requires: ["lib"] },
      { name: "lib", provides: ["virtual"] },
      { name: "broken", requires: ["missing"] },
      ...names.map((name) => ({ name })),
    ],
    { extra: [{ type: "group", name: "comps.xml", bytes: Buffer.from(comps), compress: false }] },
  );
  const far = await makeRepository([{ name: "far" }]);
  const ran = await lockOver(t, { r, far }, { r: { packages: ["@g"] }, far: {} });
  t.equal(ran.status, 0, ran.stderr);
  t.same(
    ran.packages("r"),
    ["core", "core-lang", "far-lang", "lib", "lib-lang", "virtual-lang"].map((it) => `${it}-1-1.noarch`),
  );
  const without = await lockOver(t, { r, far }, { r: { packages: ["@g"] }, far: { packages: [] } });
  t.notOk(without.packages("r").includes("far-lang-1-1.noarch"), "nobody carries far");
});
