/** Subsets with real dnf: what a selection leaves out is not missed, as repoclosure and a strict reader of metadata judge. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import t from "tap";
import { dnf, requireClosed, rpmBench, run } from "../fixtures/rpm-carry.ts";

const bench = await rpmBench(t);
const KEYS = ["@UPSTREAM@/key"];

if (bench !== undefined) {
  const { carry } = bench;

  t.test("a subset is closed: dnf repoclosure finds nothing missing, and a strict reader nothing wrong", async (t) => {
    const { dir, packed, repos, url } = await carry(t, "subset", [
      { name: "base", url: "@UPSTREAM@/base/", keys: KEYS, packages: ["@^aft-environment"], exclude: ["aft-unneeded"] },
      { name: "app", url: "@UPSTREAM@/app/", keys: KEYS, packages: ["aft-app"] },
    ]);
    t.equal(packed.status, 0, packed.stderr);
    await requireClosed(t, dir, repos);
    const installed = await dnf(dir, "root", repos, "install", "aft-app");
    t.equal(installed.status, 0, installed.out);
    const comps = await dnf(dir, "root", repos, "group", "list", "--hidden");
    t.notMatch(comps.out, /Aft other/, "a group that lost its members is gone");
    const reposync = join(dir, "mirror/repodata");
    mkdirSync(reposync, { recursive: true });
    const fetch = (path: string, to: string) =>
      run("curl", ["-sSf", "--cacert", join(dir, "tls/ca.crt"), "-o", to, `${url}/rpms/base/${path}`], dir);
    await fetch("repodata/repomd.xml", join(reposync, "repomd.xml"));
    const repomd = readFileSync(join(reposync, "repomd.xml"), "utf8");
    for (const [, href] of repomd.matchAll(/href="([^"]*)"/g))
      t.equal((await fetch(href as string, join(dir, "mirror", href as string))).status, 0, `${href}`);
    const merged = await run("mergerepo_c", ["-r", join(dir, "mirror"), "-o", join(dir, "merged"), "-d"], dir);
    t.equal(merged.status, 0, `createrepo_c reads it: ${merged.out}`);
    const primary = /href="(repodata\/[^"]*primary[^"]*)"/.exec(repomd)?.[1] as string;
    const text = gunzipSync(readFileSync(join(dir, "mirror", primary))).toString();
    t.match(text, /packages="5"|packages="4"/);
  });

  t.test("conditional dependencies: left out installs as well, carried always is what repoclosure wants", async (t) => {
    const app = { name: "app", url: "@UPSTREAM@/app/", keys: KEYS, packages: ["aft-cond"] };
    const base = { name: "base", url: "@UPSTREAM@/base/", keys: KEYS, packages: [] };
    const usual = await carry(t, "cond-selected", [app, base]);
    const flagged = await dnf(usual.dir, "closure", usual.repos, "repoclosure");
    t.not(flagged.status, 0);
    t.match(flagged.out, /package: aft-cond-1-1\.noarch from airferry-app\n {2}unresolved deps \(2\):/);
    const installed = await dnf(usual.dir, "root", usual.repos, "install", "aft-cond");
    t.equal(installed.status, 0, installed.out);
    const always = await carry(t, "cond-always", [{ ...app, conditional_deps: "always" }, base]);
    await requireClosed(t, always.dir, always.repos);
    const more = await dnf(always.dir, "root", always.repos, "install", "aft-cond", "aft-unneeded", "aft-lang");
    t.equal(more.status, 0, more.out);
  });
}
