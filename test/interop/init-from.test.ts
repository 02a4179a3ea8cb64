/**
 * From files that people have to packages that dnf installs inside: a .repo file, a kickstart file, a list of images and a key
 * become a manifest, which is locked, packed, carried and served.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { parse } from "yaml";
import { startFakeRegistry } from "../fixtures/fake-registry.ts";
import { airferry } from "../fixtures/host.ts";
import { TestImages } from "../fixtures/images.ts";
import { carryAcross, dnf, rpmBench } from "../fixtures/rpm-carry.ts";
import { startUpstream } from "../fixtures/upstream.ts";

t.test("a .repo file, a kickstart file and a list of images, across the gap and into dnf", async (t) => {
  const bench = await rpmBench(t);
  if (bench === undefined) return;
  const upstream = await startUpstream({ files: new Map([...bench.tree.served("base"), ...bench.tree.served("app")]) });
  t.teardown(() => upstream.close());
  const images = new TestImages();
  const tags = { "1.0": images.index([images.image("linux/amd64", [{ a: "b" }])]) };
  const registry = await startFakeRegistry({ images, tags });
  t.teardown(() => registry.close());
  const dir = join(bench.work, "site");
  const section = (name: string) =>
    `[${name}]\nname=${name} $releasever\nbaseurl=${upstream.url}/${name}/\ngpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-aft\n`;
  const files = {
    "aft.repo": section("base") + section("app"),
    "ks.cfg": "cdrom\n%packages --nocore --exclude-weakdeps\naft-app\naft-words\n-aft-unneeded\n%end\n",
    "images.txt": `# images\n${registry.host}/lab/bb:1.0\n`,
    "RPM-GPG-KEY-aft": bench.tree.key,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(bench.work, name), text);
  const from = await airferry(bench.work, ["init", "site", "--from", ...Object.keys(files), "--stream", "m"]);
  t.equal(from.status, 0, from.stderr);
  t.match(from.stderr, /2 RPM repositories, 0 files, 1 image entry; 1 not carried over/);
  const text = readFileSync(join(dir, "m.yaml"), "utf8");
  // The registry on loopback has no TLS, which no list of images can say.
  const manifest = parse(text.replace(/^ {2}- ref: .*$/m, "$&\n    insecure: true"));
  t.match(manifest.rpms, [
    { name: "base", keys: ["../RPM-GPG-KEY-aft"], packages: ["aft-app", "aft-words"], packages_from: "any" },
    { name: "app", packages: [], exclude: ["aft-unneeded"] },
  ]);
  const checked = await airferry(dir, ["check", "m.yaml"]);
  t.equal(checked.status, 0, checked.stderr);

  const gap = await carryAcross(t, dir, manifest, "../k");
  t.equal(gap.packed.status, 0, gap.packed.stderr);
  const planned = await airferry(dir, ["plan", "m.yaml", "--json"]);
  const paths = JSON.parse(planned.stdout).entries.map((it: { path: string }) => it.path);
  t.ok(paths.some((it: string) => it.startsWith("rpms/app/Packages/aft-app-2.0")));
  t.ok(paths.some((it: string) => it.startsWith("rpms/base/Packages/aft-words")));
  t.notOk(paths.some((it: string) => it.includes("aft-unneeded")));
  t.ok(paths.some((it: string) => it.startsWith("images/")));
  const installed = await dnf(dir, "root", gap.repos, "install", "aft-app", "aft-words");
  t.equal(installed.status, 0, installed.out);
  t.equal(readFileSync(join(dir, "root/usr/share/aft/words"), "utf8"), "words\n");
});
