/**
 * The whole way with real RPMs and real dnf: repositories built and signed, locked, packed, unpacked, served over TLS, and
 * installed from into empty roots with gpgcheck=1 and repo_gpgcheck=1. And what dnf must refuse.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import t, { type Test as Tap } from "tap";
import { Gap, SERVER_ADDRESS } from "../../scripts/rehearsal-parts/network.ts";
import { absent, needs } from "../fixtures/clients.ts";
import { airferry, ROOT } from "../fixtures/program.ts";
import { addressesOf, carryAcross, dnf, dnfInside, run } from "../fixtures/rpm-carry.ts";
import { buildRpmTree, RPM_BUILDERS, type RpmTree } from "../fixtures/rpm-tree.ts";
import { startUpstream, type UpstreamFile } from "../fixtures/upstream.ts";

/** One tree and key pair for all tests of this file. */
const work = mkdtempSync(join(tmpdir(), "airferry-rpm-"));
t.teardown(() => rmSync(work, { recursive: true, force: true }));
let tree: RpmTree;

t.before(async () => {
  if (!needs(t, "dnf", ...RPM_BUILDERS)) return;
  tree = await buildRpmTree(join(work, "tree"));
  writeFileSync(join(work, "key.asc"), tree.key);
  const made = await airferry(work, ["keygen", "--out", "k"]);
  if (made.status !== 0) throw new Error(made.stderr);
});

/** Packs a manifest over the tree served on loopback, unpacks it and serves the store. */
async function carry(t: Tap, name: string, rpms: object[], change?: (files: Map<string, UpstreamFile>) => void) {
  const dir = join(work, name);
  mkdirSync(dir, { recursive: true });
  const files = new Map<string, UpstreamFile>([...tree.served("base"), ...tree.served("app"), ["/key", tree.key]]);
  change?.(files);
  const upstream = await startUpstream({ files });
  t.teardown(() => upstream.close());
  const manifest = JSON.parse(JSON.stringify({ stream: name, rpms }).replaceAll("@UPSTREAM@", upstream.url));
  return { ...(await carryAcross(t, dir, manifest, "../k")), upstream };
}

const KEYS = ["@UPSTREAM@/key"];

/** dnf repoclosure finds nothing missing in what is served. */
async function requireClosed(t: Tap, dir: string, repos: string, ...more: string[]): Promise<void> {
  const { status, out } = await dnf(dir, "closure", repos, "repoclosure", ...more);
  t.equal(status, 0, `repoclosure: ${out}`);
}

t.test("whole, subset, modules and loose RPMs, installed by dnf over TLS with both checks on", async (t) => {
  if (tree === undefined) return;
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
    ["-sS", `--cacert`, join(dir, "tls/ca.crt"), `${/baseurl=(.*\/rpms\/base\/)/.exec(repos)?.[1]}repodata/repomd.xml`],
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

t.test("a subset is closed: dnf repoclosure finds nothing missing, and a strict reader nothing wrong", async (t) => {
  if (tree === undefined) return;
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
  if (tree === undefined) return;
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

t.test("two architectures and 32-bit twins out of one repository", async (t) => {
  if (tree === undefined) return;
  const multi = { name: "multi", path: "../tree/multi", keys: ["../key.asc"], packages: ["aft-tool"] };
  const both = { ...multi, arch: ["x86_64", "aarch64"], multilib: true };
  const { dir, packed, repos } = await carry(t, "arches", [both]);
  t.equal(packed.status, 0, packed.stderr);
  // On one architecture dnf takes what another one has for missing.
  await requireClosed(t, dir, repos, ...["x86_64", "i686", "noarch"].flatMap((it) => ["--arch", it]));
  await requireClosed(t, dir, repos, "--forcearch=aarch64", "--arch=aarch64", "--arch=noarch");
  const x86 = await dnf(dir, "x86", repos, "install", "aft-tool");
  t.equal(x86.status, 0, x86.out);
  t.match((await run("rpm", ["--root", join(dir, "x86"), "-qa"], dir)).out, /aft-libtool-1-1\.x86_64/);
  const twin = await dnf(dir, "x86", repos, "install", "aft-tool.i686");
  t.equal(twin.status, 0, twin.out);
  t.match((await run("rpm", ["--root", join(dir, "x86"), "-qa"], dir)).out, /aft-libtool-1-1\.i686/);
  const arm = await dnf(dir, "arm", repos, "install", "aft-tool", "--forcearch=aarch64");
  t.equal(arm.status, 0, arm.out);
  const list = (await run("rpm", ["--root", join(dir, "arm"), "-qa"], dir)).out;
  t.match(list, /aft-libtool-1-1\.aarch64/);
  t.notMatch(list, /x86_64|i686/);
});

t.test("what dnf must refuse", async (t) => {
  if (tree === undefined) return;
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
  if (tree === undefined) return;
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
  if (tree === undefined) return;
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

t.test("two repositories and packages, installed where nothing but the server can be reached", async (t) => {
  if (tree === undefined || !needs(t, "ip")) return;
  if (process.getuid?.() !== 0 || spawnSync("unshare", ["-n", "true"]).status !== 0) {
    return absent(t, "the right to make network namespaces");
  }
  const { dir, packed, upstream } = await carry(t, "gap", [
    { name: "base", url: "@UPSTREAM@/base/", keys: KEYS, packages: [] },
    { name: "app", url: "@UPSTREAM@/app/", keys: KEYS, packages: ["aft-app"] },
  ]);
  t.equal(packed.status, 0, packed.stderr);
  const gap = new Gap();
  t.teardown(() => gap.close());
  const enter = ["ip", "netns", "exec", gap.name("builder")];
  const inside = (...command: string[]) => run("ip", [...enter.slice(1), ...command], dir);
  const store = ["--store", "store", "--tls", "auto", "--tls-dir", "tls-gap"];
  const listen = ["--listen", `${SERVER_ADDRESS}:0`, "--listen-http", `${SERVER_ADDRESS}:0`];
  const program = [process.execPath, join(ROOT, "src/bin.ts"), "serve", ...store, ...listen];
  const server = gap.spawn("server", program, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => server.on("close", resolve));
  t.teardown(async () => {
    server.kill("SIGTERM");
    await ended;
  });
  const { https } = await addressesOf(server, SERVER_ADDRESS);
  const ca = join(dir, "tls-gap/ca.crt");
  const outside = await inside("curl", "-sS", "--max-time", "3", `${upstream.url}/key`);
  t.not(outside.status, 0, "upstream is out of reach");
  const rendered = await inside("curl", "-sS", "--cacert", ca, `${https}/config/airferry.repo`);
  t.match(rendered.out, /gpgcheck=1\nrepo_gpgcheck=1[\s\S]*gpgcheck=1\nrepo_gpgcheck=1/);
  const repos = rendered.out.replace(/^sslcacert=.*/gm, `sslcacert=${ca}`);
  const installed = await dnfInside(enter, dir, "root", repos, "install", "aft-app");
  t.equal(installed.status, 0, installed.out);
  const list = await run("rpm", ["--root", join(dir, "root"), "-qa"], dir);
  t.match(list.out, /aft-app-2\.0-1/);
  t.match(list.out, /aft\+\+-1\.0\^git1~rc-1/);
  const closure = await dnfInside(enter, dir, "closure", repos, "repoclosure");
  t.equal(closure.status, 0, closure.out);
});

t.test("an older package under a newer one's name is refused, however well it is signed", async (t) => {
  if (tree === undefined) return;
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
