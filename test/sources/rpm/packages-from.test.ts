/** `packages_from:`: names that the entry's own repository does not have, from the others; also when the entry stays. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../../fixtures/host.ts";
import { writeManifest } from "../../fixtures/program.ts";
import { lockOver, packagesIn } from "../../fixtures/rpm-lock.ts";
import { makeRepository } from "../../fixtures/rpm-metadata.ts";

t.test("a name of another repository is a problem by default, and found there with any", async (t) => {
  const repositories = {
    base: await makeRepository([{ name: "bash" }, { name: "both", evr: "1-1" }]),
    apps: await makeRepository([{ name: "git", requires: ["perl"] }, { name: "perl" }, { name: "both", evr: "2-1" }]),
  };
  const packages = ["bash", "git", "both"];
  const own = await lockOver(t, repositories, { base: { packages }, apps: { packages: [] } });
  t.equal(own.status, 2);
  t.match(
    own.stderr,
    /git: no package, group or module of that name in this repository; apps has it: name it there, or/,
  );

  const any = await lockOver(t, repositories, { base: { packages, packages_from: "any" }, apps: { packages: [] } });
  t.equal(any.status, 0, any.stderr);
  t.same(any.packages("base"), ["bash-1-1.noarch", "both-1-1.noarch"], "its own come first, as members of groups do");
  t.same(any.packages("apps"), ["git-1-1.noarch", "perl-1-1.noarch"]);

  const none = await lockOver(t, repositories, { base: { packages: ["nothing"], packages_from: "any" }, apps: {} });
  t.equal(none.status, 2);
  t.match(none.stderr, /nothing: no package, group or module of that name in any repository/);
});

t.test("an entry without packages of its own is no finding; one that stays keeps those of others", async (t) => {
  const repositories = {
    base: await makeRepository([{ name: "bash" }], { revision: "1" }),
    apps: await makeRepository([{ name: "git" }, { name: "spare" }], { revision: "1" }),
  };
  const base = { packages: ["git"], packages_from: "any" };
  const run = await lockOver(t, repositories, { base, apps: { packages: [] } });
  t.equal(run.status, 0, run.stderr);
  const planned = await airferry(run.dir, ["plan", "m.yaml"]);
  t.notMatch(planned.stderr, /is empty/);
  const changed = await makeRepository([{ name: "bash" }], { revision: "2" });
  for (const [path, bytes] of changed.below("/base/")) run.files.set(path, bytes);
  const at = (name: string) => ({ name, url: `${run.upstream.url}/${name}/`, gpgcheck: false });
  writeManifest(run.dir, {
    rpms: [
      { ...at("base"), ...base },
      { ...at("apps"), packages: ["spare"] },
    ],
  });
  const again = await airferry(run.dir, ["lock", "m.yaml"]);
  t.equal(again.status, 0, again.stderr);
  t.match(again.stderr, /base: still locked as before/);
  const lock = JSON.parse(readFileSync(join(run.dir, "m.lock.json"), "utf8"));
  t.same(packagesIn(lock, "apps"), ["git-1-1.noarch", "spare-1-1.noarch"]);
});
