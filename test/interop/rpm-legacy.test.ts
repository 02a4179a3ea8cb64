/** Packages and metadata signed with SHA-1, or by a short key: refused with the way out, and carried into dnf once it is taken. */
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test as Tap } from "tap";
import { needs } from "../fixtures/clients.ts";
import { Gnupg } from "../fixtures/gnupg.ts";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPairs } from "../fixtures/keys.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";
import { carryAcross, dnf, run } from "../fixtures/rpm-carry.ts";
import { RPM_FIXTURES } from "../fixtures/rpm-files.ts";
import { RPM_BUILDERS } from "../fixtures/rpm-tree.ts";

const start = promisify(execFile);

const SPEC = `Name: aft-old
Version: 1
Release: 1
Summary: An old package
License: MIT
BuildArch: noarch
AutoReqProv: no
%description
An old package.
%install
install -D -m 644 /dev/null %{buildroot}/usr/share/aft/old
%files
/usr/share/aft/old
`;

/** A repository on disk whose one package, and metadata if wanted, are signed with this key and digest. */
async function oldRepository(
  dir: string,
  gnupg: Gnupg,
  signer: string,
  digest: string,
  metadata: boolean,
): Promise<void> {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "x.spec"), SPEC);
  const build = { _topdir: join(dir, "build"), _rpmdir: dir, _build_name_fmt: "%%{NAME}.rpm", debug_package: "%{nil}" };
  const defines = (macros: object) => Object.entries(macros).flatMap(([k, v]) => ["--define", `${k} ${v}`]);
  await start("rpmbuild", ["-bb", "--quiet", ...defines(build), join(dir, "x.spec")]);
  const sign = {
    _gpg_name: gnupg.fingerprint(signer),
    _gpg_path: gnupg.dir,
    __gpg: "/usr/bin/gpg",
    _gpg_digest_algo: digest,
  };
  await start("rpmsign", [...defines(sign), "--addsign", join(dir, "aft-old.rpm")]);
  await start("createrepo_c", ["-q", "--no-database", "--general-compress-type=gz", dir]);
  const who = ["--local-user", gnupg.fingerprint(signer), "--digest-algo", digest];
  if (metadata) gnupg.run([...who, "--armor", "--detach-sign", join(dir, "repodata/repomd.xml")]);
}

/** What rpm says of the signature. */
async function algorithmsOf(file: string, dir: string): Promise<string> {
  return (await run("rpm", ["-qp", "--qf", "%{RSAHEADER:pgpsig}", file], dir)).out;
}

async function prepared(t: Tap) {
  const work = scratch(t, "airferry-legacy");
  const gnupg = new Gnupg();
  t.teardown(() => gnupg.close());
  gnupg.generate("old", "rsa2048");
  gnupg.generate("short", "rsa1024");
  for (const it of ["old", "short"]) writeFileSync(join(work, `${it}.asc`), gnupg.publicKey(it));
  await oldRepository(join(work, "sha1"), gnupg, "old", "SHA1", false);
  await oldRepository(join(work, "sha1-all"), gnupg, "old", "SHA1", true);
  await oldRepository(join(work, "short"), gnupg, "short", "SHA256", false);
  await writeKeyPairs(work);
  return work;
}

const HINT = /legacy_signatures: true/;

t.test("SHA-1 and short keys", async (t) => {
  if (!needs(t, "dnf", ...RPM_BUILDERS)) return;
  const work = await prepared(t);
  t.match(await algorithmsOf(join(work, "sha1/aft-old.rpm"), work), /RSA\/SHA1/, "signed as the old ones are");
  const entry = (name: string, more: object = {}) => ({
    name,
    path: `../${name}`,
    keys: [`../${name === "short" ? "short" : "old"}.asc`],
    ...more,
  });
  const pack = async (name: string, rpms: object[]) => {
    const dir = join(work, `m-${name}`);
    mkdirSync(dir);
    writeManifest(dir, { rpms });
    return airferry(dir, ["pack", "m.yaml", "--key", "../k.key"]);
  };
  const refusals = new Map([
    ["sha1", /cannot verify "rpms\/sha1\/aft-old\.rpm".*SHA-1 is too weak to count/s],
    ["sha1-all", /cannot verify "sha1-all: repodata\/repomd\.xml".*SHA-1 is too weak to count/s],
    ["short", /cannot verify "rpms\/short\/aft-old\.rpm".*a 1024-bit rsa key is too weak to count/s],
  ]);
  for (const [name, message] of refusals) {
    const refused = await pack(name, [entry(name)]);
    t.equal(refused.status, 4, `${name}: ${refused.stderr}`);
    t.match(refused.stderr, message);
    t.match(refused.stderr, HINT, "and how to allow it");
  }

  const allowed = { legacy_signatures: true };
  const dir = join(work, "allowed");
  mkdirSync(dir);
  const rpms = [...refusals.keys()].map((name) => entry(name, allowed));
  const { packed, repos, bundle } = await carryAcross(t, dir, { rpms }, "../k");
  t.equal(packed.status, 0, packed.stderr);
  const { catalog } = JSON.parse(readFileSync(join(bundle, "airferry.json"), "utf8")) as {
    catalog: { rpms: { legacySignatures?: boolean }[] };
  };
  t.same(
    catalog.rpms.map((it) => it.legacySignatures),
    [true, true, true],
  );
  t.equal(repos.match(/# signed with SHA-1 or short keys/g)?.length, 3, "said where it matters");
  t.equal(repos.match(/^gpgcheck=1\nrepo_gpgcheck=1$/gm)?.length, 3, "and still checked");
  for (const name of refusals.keys()) {
    const section = new RegExp(`\\[airferry-${name}\\][^[]*`).exec(repos)?.[0] ?? "";
    const installed = await dnf(dir, name, section, "install", "aft-old");
    t.equal(installed.status, 0, `${name}: ${installed.out}`);
  }

  const stranger = await pack("stranger", [{ ...entry("sha1", allowed), keys: ["../short.asc"] }]);
  t.equal(stranger.status, 4, "a key that is not pinned stays one");
  t.match(stranger.stderr, /is not among the keys/);
  const weakStranger = await pack("weak-stranger", [{ ...entry("sha1"), keys: ["../short.asc"] }]);
  t.equal(weakStranger.status, 4);
  t.notMatch(weakStranger.stderr, HINT, "no way out is promised that would lead nowhere");
  const file = join(work, "sha1/aft-old.rpm");
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  writeFileSync(file, bytes);
  await start("createrepo_c", ["-q", "--no-database", join(work, "sha1")]);
  const tampered = await pack("tampered", [entry("sha1", allowed)]);
  t.equal(tampered.status, 4, "and bytes that were not signed are refused as ever");
  t.match(tampered.stderr, /aft-old\.rpm.*payload sha256/s);
});

t.test("real packages of CentOS 5 to 7 with their real keys", async (t) => {
  const work = scratch(t, "airferry-centos");
  await writeKeyPairs(work);
  const pack = async (release: string, name: string, more: object) => {
    const dir = join(work, name);
    mkdirSync(join(dir, "loose"), { recursive: true });
    const rpm = `centos-release-${release}.rpm`;
    copyFileSync(join(RPM_FIXTURES, "cavaliergopher-rpm", rpm), join(dir, "loose", rpm));
    const key = join(RPM_FIXTURES, "gpg-keys/centos", `RPM-GPG-KEY-CentOS-${release[0]}`);
    writeManifest(dir, { rpms: [{ name: "c", path: "loose", keys: [key], ...more }] });
    return airferry(dir, ["pack", "m.yaml", "--key", "../k.key"]);
  };
  const seven = await pack("7-2.1511.el7.centos.2.10.x86_64", "seven", {});
  t.equal(seven.status, 0, `RSA and SHA-256 in version 3 packets: ${seven.stderr}`);
  const five = await pack("5-0.0.el5.centos.2.i386", "five", {});
  t.equal(five.status, 4);
  t.match(five.stderr, HINT, "DSA and SHA-1");
  const allowed = await pack("5-0.0.el5.centos.2.i386", "five-allowed", { legacy_signatures: true });
  t.equal(allowed.status, 0, allowed.stderr);
});
