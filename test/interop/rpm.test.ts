/**
 * The whole way with real RPMs and real dnf: repositories built and signed, locked, packed, unpacked, served over TLS, and
 * installed from into empty roots with gpgcheck=1 and repo_gpgcheck=1.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { dnf, requireClosed, rpmBench, run } from "../fixtures/rpm-carry.ts";

const bench = await rpmBench(t);
const KEYS = ["@UPSTREAM@/key"];

if (bench !== undefined) {
  const { tree, carry } = bench;

  t.test("whole, subset, modules and loose RPMs, installed by dnf over TLS with both checks on", async (t) => {
    const { dir, packed, repos, plain, upstream } = await carry(t, "good", [
      { name: "base", url: "@UPSTREAM@/base/", keys: KEYS, fingerprints: [tree.fingerprint] },
      { name: "app", url: "@UPSTREAM@/app/", keys: KEYS, packages: ["aft-app", "@aftweb:2"] },
      { name: "loose", path: "../tree/loose", keys: ["../key.asc"] },
    ]);
    t.equal(packed.status, 0, packed.stderr);
    t.match(repos, /gpgcheck=1\nrepo_gpgcheck=1/);
    await requireClosed(t, dir, repos);
    const upstreamRepomd = readFileSync(join(tree.dir, "base/repodata/repomd.xml"));
    const served = await run(
      "curl",
      [
        "-sS",
        `--cacert`,
        join(dir, "tls/ca.crt"),
        `${/baseurl=(.*\/rpms\/base\/)/.exec(repos)?.[1]}repodata/repomd.xml`,
      ],
      dir,
    );
    t.equal(served.out, upstreamRepomd.toString(), "exact: upstream's repomd.xml, byte for byte");
    const rpmRequests = upstream.requests.filter((it) => it.path.endsWith(".rpm"));
    t.equal(rpmRequests.length, new Set(rpmRequests.map((it) => it.path)).size, "each package is fetched once");

    const installed = await dnf(dir, "root", repos, "install", "aft-app", "aft-loose");
    t.equal(installed.status, 0, installed.out);
    const list = await run("rpm", ["--root", join(dir, "root"), "-qa"], dir);
    for (const it of [
      "aft-app-2.0-1",
      "aft-lib-1.1-1",
      "aft-words-3-1",
      "aft-lang-1-1",
      "aft++-1.0^git1~rc-1",
      "aft-loose-1-1",
    ]) {
      t.ok(list.out.includes(`${it}.noarch`), it);
    }
    t.equal((await dnf(dir, "modular", repos, "module", "enable", "aftweb:2")).status, 0);
    const web = await dnf(dir, "modular", repos, "install", "aft-web");
    t.match(web.out, /aft-web-2\.0-1\.module_2/);
    t.equal(web.status, 0, web.out);
    const groups = await dnf(dir, "groups", repos, "group", "install", "aft-group");
    t.equal(groups.status, 0, groups.out);
    t.match((await dnf(dir, "root", repos, "updateinfo", "list", "--all")).out, /AFT-2026:1/);

    const alone = `[rpmrepo]\nname=x\nbaseurl=${plain}/rpmrepo/\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=${plain}/keys/loose ${plain}/keys/airferry\n`;
    const base = /\[airferry-base\][^[]*/.exec(repos)?.[0] ?? "";
    const merged = await dnf(dir, "merged", `${alone}${base}`, "install", "aft-loose");
    t.equal(merged.status, 0, `the yum container's place, over plain HTTP: ${merged.out}`);
  });
}
