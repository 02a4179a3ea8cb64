/** `dependencies: none`: exactly the packages that an entry names, whatever they need. */
import t from "tap";
import { lockOver } from "../../fixtures/rpm-lock.ts";
import { makeRepository } from "../../fixtures/rpm-metadata.ts";

const APP = [
  { name: "app", evr: "2:1.0-1", requires: ["lib", "nobody-has-this"] },
  { name: "app", evr: "2:2.0-1" },
  { name: "lib", evr: "1-1.el9" },
  { name: "other" },
];

t.test("nothing is added, and nothing has to be there for it", async (t) => {
  const repositories = {
    app: await makeRepository(APP),
    more: await makeRepository([{ name: "tool", requires: ["lib"] }]),
  };
  const exact = { packages: ["app-2:1.0-1.noarch", "lib-1-1.el9"], dependencies: "none" };
  const alone = await lockOver(t, { app: repositories.app }, { app: exact });
  t.equal(alone.status, 0, alone.stderr);
  t.strictSame(alone.packages("app"), ["app-1.0-1.noarch", "lib-1-1.el9.noarch"]);
  const closed = await lockOver(t, repositories, { app: exact, more: { packages: ["tool"] } });
  t.equal(closed.status, 0, closed.stderr);
  t.strictSame(closed.packages("app"), ["app-1.0-1.noarch", "lib-1-1.el9.noarch"]);
  t.strictSame(closed.packages("more"), ["tool-1-1.noarch"], "closures of others use what is carried");
  const without = { packages: ["app-2:1.0-1.noarch"], dependencies: "none" };
  const open = await lockOver(t, repositories, { app: without, more: { packages: ["tool"] } });
  t.match(open.stderr, /lib/, "and nothing else of its repository");
  t.not(open.status, 0);
});

t.test("names that nothing has, and what cannot be listed, are refused", async (t) => {
  const repositories = { app: await makeRepository(APP) };
  const missing = await lockOver(t, repositories, {
    app: { packages: ["app-3-1.noarch", "lib"], dependencies: "none" },
  });
  t.equal(missing.status, 2, missing.stderr);
  t.match(missing.stderr, /1 unavailable[\s\S]*rpms app: app-3-1\.noarch: no package of that name in this repository/);
  for (const wrong of [{}, { packages: ["@group"] }, { packages: ["app"], advisories: ["security"] }]) {
    const refused = await lockOver(t, repositories, { app: { ...wrong, dependencies: "none" } });
    t.match(refused.stderr, /rpms\[0\]\.dependencies: none needs packages:/);
    t.equal(refused.status, 2);
  }
});
