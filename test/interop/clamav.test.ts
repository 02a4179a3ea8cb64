/** ClamAV as the scanner of pack and unpack, with a database of one signature: that of the EICAR test file. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { clientEnv, needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { scratch, start, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

/** In two parts, so that no scanner takes this file for it. */
const EICAR = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-", "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"].join("");
const SCAN = "clamscan -d eicar.ndb -r --infected --no-summary --alert-exceeds-max=yes";
const CLEAN = SCAN.replace("eicar.ndb", "other.ndb");
const PATH = { PATH: clientEnv().PATH };

/** A folder with both databases: one that knows EICAR, and one that does not. */
function workFolder(t: Parameters<typeof scratch>[0]): string {
  const dir = scratch(t, "airferry-clamav");
  for (const [name, text] of Object.entries({ eicar: EICAR, other: "nothing has this in it" }))
    writeFileSync(join(dir, `${name}.ndb`), `Own-${name}:0:*:${Buffer.from(text).toString("hex")}\n`);
  return dir;
}

t.test("pack: a virus in a file, an RPM or an ISO stops it before it signs; a rerun fetches nothing", async (t) => {
  if (!needs(t, "clamscan", "xorriso", "rpmbuild")) return;
  const dir = workFolder(t);
  mkdirSync(join(dir, "tree/deep"), { recursive: true });
  writeFileSync(join(dir, "tree/deep/in-iso"), EICAR);
  writeFileSync(join(dir, "tree/good"), noise(5000, 1));
  execFileSync("xorriso", ["-as", "mkisofs", "-R", "-o", "x.iso", "tree"], { cwd: dir, stdio: "ignore" });
  makeRpm(dir);
  const upstream = await startUpstream({ files: new Map([["/virus", EICAR]]) });
  t.teardown(() => upstream.close());
  const file = writeManifest(dir, {
    isos: [{ name: "x", path: "./x.iso" }],
    rpms: [{ name: "r", path: "./repo", gpgcheck: false }],
    files: [{ url: `${upstream.url}/virus` }],
  });
  await airferry(dir, ["keygen", "--out", "site"]);
  const pack = ["pack", file, "--key", "site.key", "--out", "out"];
  const found = await airferry(dir, [...pack, "--scan", SCAN], PATH);
  t.equal(found.status, 3, found.stderr);
  for (const path of ["files/virus", "rpms/r/infected-1-1.noarch.rpm.cpio", "isos/x.iso/deep/in-iso"])
    t.match(found.stderr, `found: ${path}: Own-eicar.UNOFFICIAL FOUND`);
  t.notMatch(found.stderr, /good|other/);
  const [work, ...more] = readdirSync(join(dir, "out"));
  t.match(work, /^\.work-/);
  t.strictSame(more, [], "no bundle");
  const left = readdirSync(join(dir, "out", work as string));
  t.ok(left.includes("scan.json") && !left.includes("scan") && !left.includes("SHA256SUMS"), left.join(" "));
  t.match(JSON.parse(readFileSync(join(dir, "out", work as string, "scan.json"), "utf8")), { result: "found" });

  const before = upstream.requests.length;
  const unscanned = await airferry(dir, pack, PATH);
  t.equal(unscanned.status, 3, "a rerun without a scanner signs nothing");
  t.match(unscanned.stderr, /an earlier scan was refused, and this run has no --scan: ClamAV [^\n]* found something/);
  t.strictSame(readdirSync(join(dir, "out")), [work]);
  const clean = await airferry(dir, [...pack, "--scan", CLEAN], PATH);
  t.equal(clean.status, 0, clean.stderr);
  t.equal(upstream.requests.length, before, "nothing was asked of upstream");
  const bundle = join(dir, "out/test-000001");
  execFileSync("sha256sum", ["-c", "--quiet", "SHA256SUMS"], { cwd: bundle });
  t.match(readFileSync(join(bundle, "SHA256SUMS"), "utf8"), / {2}scan\.json\n/);
  const { scan } = JSON.parse((await airferry(dir, ["inspect", bundle, "--json"])).stdout);
  t.match(scan, { result: "clean", version: /^ClamAV /, images: ["isos/x.iso"], findings: [] });
  t.match((await airferry(dir, ["inspect", bundle])).stdout, /scanned .* by ClamAV [^\n]*: nothing found in \d+ files/);
  t.equal((await airferry(dir, ["verify", bundle, "--trust", "site.pub"])).status, 0);

  const again = await airferry(dir, [...pack, "--scan", SCAN], PATH);
  t.equal(again.status, 3, "a finished bundle is scanned as well");
  t.strictSame(readdirSync(join(dir, "out")), ["test-000001"], "and stays as it is");
  const told = await airferry(dir, [...pack, "--scan", SCAN, "--scan-report-only"], PATH);
  t.equal(told.status, 0, told.stderr);
  t.match(told.stderr, /found: files\/virus/);
});

t.test("unpack: what is found is not served, and a rerun with a scanner that knows better finishes", async (t) => {
  if (!needs(t, "clamscan")) return;
  const dir = workFolder(t);
  const key = makeKey();
  writeFileSync(join(dir, "site.pub"), key.pem);
  const files = {
    "files/virus": Buffer.from(EICAR),
    "files/good": noise(3_000_000, 2),
    "files/empty": Buffer.alloc(0),
  };
  makeBundle(join(dir, "b"), { files, keys: [key], volumeSize: 1_000_000, perMedium: 2 });
  const unpack = ["unpack", "b", "--trust", "site.pub", "--store", "st"];
  const found = await airferry(dir, [...unpack, "--scan", SCAN], PATH);
  t.equal(found.status, 3, found.stderr);
  t.match(found.stderr, /cannot unpack "b": ClamAV [^\n]* found something: files\/virus: Own-eicar\.UNOFFICIAL FOUND/);
  t.notOk(existsSync(join(dir, "st/releases/test")));
  const [incoming] = readdirSync(join(dir, "st/incoming"));
  t.ok(existsSync(join(dir, "st/incoming", incoming as string, "scan.json")));

  const unscanned = await airferry(dir, unpack, PATH);
  t.equal(unscanned.status, 3, "a rerun without a scanner imports nothing");
  t.match(unscanned.stderr, /an earlier scan was refused, and this run has no --scan: ClamAV [^\n]* found something/);
  t.notOk(existsSync(join(dir, "st/releases/test")));
  const other = ["unpack", "b", "--trust", "site.pub", "--store", "st2"];
  t.equal((await airferry(dir, [...other, "--scan", SCAN], PATH)).status, 3);
  const accepted = await airferry(dir, [...other, "--scan-report-only"], PATH);
  t.equal(accepted.status, 0, accepted.stderr);
  const { streams } = JSON.parse((await airferry(dir, ["status", "--store", "st2", "--json"])).stdout);
  t.match(streams[0].releases[0].scan, { result: "found" }, "the earlier report is recorded");

  const clean = await airferry(dir, [...unpack, "--scan", CLEAN], PATH);
  t.equal(clean.status, 0, clean.stderr);
  t.strictSame(readdirSync(join(dir, "st/incoming")), []);
  const scanOf = async () => {
    const { streams } = JSON.parse((await airferry(dir, ["status", "--store", "st", "--json"])).stdout);
    return streams[0].releases[0].scan;
  };
  t.match(await scanOf(), { result: "clean", version: /^ClamAV /, files: 3 });
  const again = await airferry(dir, [...unpack, "--scan", SCAN, "--scan-report-only"], PATH);
  t.equal(again.status, 0, again.stderr);
  t.match(await scanOf(), { result: "found", findings: ["files/virus: Own-eicar.UNOFFICIAL FOUND"] });
  t.equal((await airferry(dir, ["status", "--store", "st", "--check"])).status, 0, "nothing in the store was changed");
});

t.test("Ctrl-C ends the scanner and what it started, and removes its folder", async (t) => {
  const dir = workFolder(t);
  const key = makeKey();
  writeFileSync(join(dir, "site.pub"), key.pem);
  makeBundle(join(dir, "b"), { files: { "files/a": noise(100, 1) }, keys: [key] });
  writeFileSync(join(dir, "scan.sh"), '[ "$1" = --version ] && exit\nsleep 1000 &\necho $! >pid\nwait\n');
  const child = start(dir, ["unpack", "b", "--trust", "site.pub", "--store", "st", "--scan", "sh -c '. ./scan.sh' sh"]);
  while (!existsSync(join(dir, "pid")) || readFileSync(join(dir, "pid"), "utf8") === "") await sleep(20);
  child.kill("SIGINT");
  t.match(await child.done, { status: 130 });
  const pid = Number(readFileSync(join(dir, "pid"), "utf8"));
  while (isRunning(pid)) await sleep(20);
  const [incoming] = readdirSync(join(dir, "st/incoming"));
  t.notOk(existsSync(join(dir, "st/incoming", incoming as string, "scan")));
  t.notOk(existsSync(join(dir, "st/releases/test")));
});

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** A package in `repo` that has EICAR in its compressed payload. */
function makeRpm(dir: string): void {
  writeFileSync(
    join(dir, "infected.spec"),
    `Name: infected\nVersion: 1\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n%description\nx\n%install
mkdir -p %{buildroot}/usr/share; cp ${join(dir, "tree/deep/in-iso")} %{buildroot}/usr/share/infected\n%files\n/usr/share/infected\n`,
  );
  const defines = { _topdir: join(dir, "build"), _rpmdir: join(dir, "repo"), _rpmfilename: "%%{NAME}-1-1.noarch.rpm" };
  const options = Object.entries({ ...defines, _binary_payload: "w7.xzdio" }).flatMap(([name, value]) => [
    "--define",
    `${name} ${value}`,
  ]);
  execFileSync("rpmbuild", ["-bb", ...options, "infected.spec"], { cwd: dir, stdio: "ignore" });
}
