/** What dnf must refuse of repositories that airferry signed, when somebody changes them on the way. */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { carryAcross, dnf, rpmBench } from "../fixtures/rpm-carry.ts";
import { carryDistribution, distribution, get } from "../fixtures/rpm-distribution.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

const bench = await rpmBench(t);
if (bench !== undefined) {
  const { work, tree } = bench;

  t.test("what airferry signed, changed on the way: dnf refuses each of it", async (t) => {
    const files = distribution(tree);
    files.delete("/BaseOS/x86_64/os/repodata/repomd.xml.asc");
    const unsigned = readdirSync(join(tree.dir, "unsigned"))[0] as string;
    for (const mode of ["whole", "subset"]) {
      const part = (of: string) => (mode === "whole" ? {} : { packages: of === "baseos" ? ["aft-lib"] : [] });
      const carried = await carryDistribution(t, bench, `changed-${mode}`, part, files);
      t.equal(carried.packed.status, 0, carried.packed.stderr);
      const { dir } = carried;
      const good = new Map<string, UpstreamFile>();
      const take = async (path: string) => good.set(`/${path}`, (await get(carried, `/rpms/baseos/${path}`)).body);
      await take("repodata/repomd.xml");
      await take("repodata/repomd.xml.asc");
      const repomd = String(good.get("/repodata/repomd.xml"));
      for (const [, href] of repomd.matchAll(/href="([^"]*)"/g)) await take(href as string);
      const lib = "/Packages/aft-lib-1.1-1.noarch.rpm";
      await take(lib.slice(1));
      for (const key of ["baseos", "airferry"]) good.set(`/${key}.key`, (await get(carried, `/keys/${key}`)).body);
      const install = async (root: string, change: (files: Map<string, UpstreamFile>) => void, repoGpgcheck = 1) => {
        const changed = new Map(good);
        change(changed);
        const { url, close } = await startUpstream({ files: changed });
        t.teardown(() => close());
        const keys = `gpgkey=${url}/baseos.key\n       ${url}/airferry.key\n`;
        const repo = `[x]\nname=x\nbaseurl=${url}/\ngpgcheck=1\nrepo_gpgcheck=${repoGpgcheck}\nretries=1\n${keys}`;
        return dnf(dir, root, repo, "install", "aft-lib");
      };
      const edit = (it: Map<string, UpstreamFile>) =>
        it.set("/repodata/repomd.xml", repomd.replace("</repomd>", "<!-- edited --></repomd>"));
      t.equal((await install("control", () => {})).status, 0, `${mode}: unchanged it installs`);
      const edited = await install("edited", edit);
      t.not(edited.status, 0);
      t.match(edited.out, /Bad GPG signature|GPG signature verification error/, mode);
      t.equal((await install("unchecked", edit, 0)).status, 0, "only repo_gpgcheck=1 sees it");
      const flipped = await install("flipped", (it) => {
        const bytes = Buffer.from(it.get(lib) as Buffer);
        bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
        it.set(lib, bytes);
      });
      t.not(flipped.status, 0);
      t.match(flipped.out, /Cannot download|checksum doesn't match/i, mode);
      const missing = await install("missing", (it) => it.delete(lib));
      t.not(missing.status, 0);
      t.match(missing.out, /404/);
      const noSignature = await install("no-asc", (it) => it.delete("/repodata/repomd.xml.asc"));
      t.not(noSignature.status, 0, "a signature that was taken away");
      const swapped = await install("swapped", (it) => {
        it.set(lib, readFileSync(join(tree.dir, "unsigned", unsigned)));
      });
      t.not(swapped.status, 0, "another package");
    }
    // A package that nobody signed, in metadata that we did: the manifest had to say so, and dnf still asks.
    const dir = join(work, "unsigned-package");
    mkdirSync(dir);
    const rpms = [{ name: "loose", path: "../tree/unsigned", keys: ["../key.asc"], gpgcheck: false }];
    const carried = await carryAcross(t, dir, { stream: "unsigned", rpms }, "../k");
    t.equal(carried.packed.status, 0, carried.packed.stderr);
    t.match(carried.repos, /gpgcheck=0\nrepo_gpgcheck=1/);
    const forced = carried.repos.replace(/^gpgcheck=0/m, "gpgcheck=1");
    const refused = await dnf(dir, "root", forced, "install", "aft-unsigned");
    t.not(refused.status, 0);
    t.match(refused.out, /is not signed/);
    t.equal((await dnf(dir, "root2", carried.repos, "install", "aft-unsigned")).status, 0, "as the manifest said");
  });
}
