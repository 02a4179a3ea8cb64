/** What dnf must refuse, and what pack refuses or drops, of real RPMs in repositories that somebody changed. */
import { createHash } from "node:crypto";
import { cpSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import t from "tap";
import { dnf, requireClosed, rpmBench } from "../fixtures/rpm-carry.ts";
import type { UpstreamFile } from "../fixtures/upstream.ts";

const bench = await rpmBench(t);
const KEYS = ["@UPSTREAM@/key"];

if (bench !== undefined) {
  const { work, tree, carry } = bench;

  t.test("what dnf must refuse", async (t) => {
    const { dir, packed, repos, url } = await carry(t, "negative", [
      { name: "base", url: "@UPSTREAM@/base/", keys: KEYS, packages: ["aft-lib"] },
    ]);
    t.equal(packed.status, 0, packed.stderr);
    await requireClosed(t, dir, repos);
    const noCa = await dnf(dir, "noca", repos.replace(/^sslcacert=.*$/gm, ""), "install", "aft-lib");
    t.not(noCa.status, 0, "without the CA nothing is fetched");
    const otherKey = repos.replace(/^gpgkey=.*\n(\s+\S.*\n)*/gm, `gpgkey=${url}/keys/base\n`);
    const wrongKey = await dnf(dir, "wrongkey", otherKey, "install", "aft-lib");
    t.not(wrongKey.status, 0, "rewritten metadata is not signed by upstream's key");
    const missing = await dnf(dir, "missing", repos, "install", "aft-words");
    t.not(missing.status, 0, "what was not packed is missing");
  });

  t.test("pack refuses, or drops, what upstream signed wrongly or not at all", async (t) => {
    const entry = { name: "base", url: "@UPSTREAM@/base/", keys: KEYS, packages: ["aft-lib", "aft-words"] };
    const words = [...tree.served("base").keys()].find((it) => it.includes("aft-words")) as string;
    const flip = (files: Map<string, UpstreamFile>) => {
      const bytes = Buffer.from(files.get(words) as Buffer);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
      files.set(words, bytes);
    };
    const flipped = await carry(t, "flipped", [entry], flip);
    t.equal(flipped.packed.status, 4);
    t.match(flipped.packed.stderr, /aft-words.*digest/s);
    const dropped = await carry(t, "dropped", [{ ...entry, on_bad_package: "quarantine" }], flip);
    t.equal(dropped.packed.status, 0, dropped.packed.stderr);
    t.match(dropped.packed.stderr, /dropped rpms\/base\/Packages\/aft-words/);
    t.not((await dnf(dropped.dir, "root", dropped.repos, "install", "aft-words")).status, 0);
    const rest = await dnf(dropped.dir, "root", dropped.repos, "install", "aft-lib");
    t.equal(rest.status, 0, `the rest still installs: ${rest.out}`);
    await requireClosed(t, dropped.dir, dropped.repos);

    const editRepomd = (files: Map<string, UpstreamFile>) => {
      const path = "/base/repodata/repomd.xml";
      files.set(path, Buffer.from(`${files.get(path)}<!-- edited -->`));
    };
    const edited = await carry(t, "edited", [entry], editRepomd);
    t.equal(edited.packed.status, 4);
    t.match(edited.packed.stderr, /repomd\.xml.*no good OpenPGP signature/s);
    const pinned = await carry(t, "pinned", [{ ...entry, fingerprints: ["0".repeat(40)] }]);
    t.equal(pinned.packed.status, 4);
    t.match(pinned.packed.stderr, /pinned fingerprint/);
    const unsigned = await carry(t, "unsigned", [{ name: "loose", path: "../tree/unsigned", keys: ["../key.asc"] }]);
    t.equal(unsigned.packed.status, 4, unsigned.packed.stderr);
    t.match(unsigned.packed.stderr, /aft-unsigned/);
    const said = await carry(t, "said", [{ name: "loose", path: "../tree/unsigned" }]);
    t.equal(said.packed.status, 0, "a folder without keys is carried, and it is said:");
    t.match(said.repos, /gpgcheck=0/);
    const demanded = await carry(t, "demanded", [
      { name: "app", url: "@UPSTREAM@/app/", keys: KEYS, packages: ["aft-app"], repo_gpgcheck: true },
    ]);
    t.equal(demanded.packed.status, 4);
    t.match(demanded.packed.stderr, /repomd\.xml\.asc is missing/);
  });

  t.test("a modular package that the module metadata does not list fails the pack", async (t) => {
    const copy = join(work, "stray");
    cpSync(join(tree.dir, "app"), copy, { recursive: true });
    const repomd = readFileSync(join(copy, "repodata/repomd.xml"), "utf8");
    writeFileSync(join(copy, "repodata/repomd.xml"), repomd.replace(/\s*<data type="modules">[\s\S]*?<\/data>/, ""));
    t.teardown(() => unlinkSync(join(copy, "repodata/repomd.xml")));
    const stray = await carry(t, "stray-pack", [
      { name: "app", path: "../stray", keys: ["../key.asc"], packages: ["aft-web"] },
    ]);
    t.equal(stray.packed.status, 4, stray.packed.stderr);
    t.match(stray.packed.stderr, /belongs to module aftweb:2/);
  });

  t.test("an older package under a newer one's name is refused, however well it is signed", async (t) => {
    const copy = join(work, "renamed");
    cpSync(join(tree.dir, "app"), copy, { recursive: true });
    const repomd = readFileSync(join(copy, "repodata/repomd.xml"), "utf8");
    const href = /href="(repodata\/[^"]*primary\.xml\.gz)"/.exec(repomd)?.[1] as string;
    const text = gunzipSync(readFileSync(join(copy, href))).toString();
    const blocks = text.match(/<package type="rpm">[\s\S]*?<\/package>/g) ?? [];
    const block = (version: string) =>
      blocks.find((it) => it.includes("<name>aft-app<") && it.includes(`ver="${version}"`)) as string;
    const parts = [/<checksum [\s\S]*?<\/checksum>/, /<size [^>]*>/, /<location [^>]*>/];
    const lie = parts.reduce((it, part) => it.replace(part, part.exec(block("1.0"))?.[0] as string), block("2.0"));
    const bytes = gzipSync(
      text
        .replace(block("1.0"), "")
        .replace(block("2.0"), lie)
        .replace(/packages="\d+"/, `packages="${blocks.length - 1}"`),
    );
    writeFileSync(join(copy, "repodata/lie.xml.gz"), bytes);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const record = `<data type="primary"><checksum type="sha256">${sha256}</checksum><location href="repodata/lie.xml.gz"/></data>`;
    const xmlns = 'xmlns="http://linux.duke.edu/metadata/repo"';
    writeFileSync(join(copy, "repodata/repomd.xml"), `<repomd ${xmlns}><revision>1</revision>${record}</repomd>`);
    const base = { name: "base", path: "../tree/base", keys: ["../key.asc"], packages: [] };
    const app = { name: "app", path: "../renamed", keys: ["../key.asc"], packages: ["aft-app"] };
    const { packed } = await carry(t, "renamed-pack", [base, app]);
    t.equal(packed.status, 4, packed.stderr);
    t.match(packed.stderr, /expected aft-app-0:2\.0-1\.noarch, got aft-app-0:1\.0-1\.noarch/);
  });
}
