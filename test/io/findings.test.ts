/** Findings: what cannot work inside is refused by pack, all at once, unless it is allowed. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

const BUILDER = {
  flavor: "spectro-capi",
  imageconfig: { os_version: "rockylinux-9", k8s_version: "1.30.4", image_type: "standard" },
};

t.test("pack refuses over a builder that was not given its parts, unless that is allowed", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "a"), "x");
  const file = writeManifest(dir, { files: [{ path: "a" }], builder: BUILDER });
  const refused = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(refused.status, 2);
  t.notOk(existsSync(join(dir, "out")), "nothing was begun");
  for (const what of ["k8s 1.30.4", "cni", "containerd", "crictl"]) {
    const lines = refused.stderr.split("\n").filter((it) => it.includes(`builder: error: ${what} was not packed`));
    t.equal(lines.length, 1, `${what} is told once`);
  }
  t.match(refused.stderr, /airferry: error: cannot pack ".*": 4 findings say that it cannot work inside the gap/);
  t.match(refused.stderr, /airferry: hint: .*--allow-findings\n$/);

  const planned = await airferry(dir, ["plan", file, "--json"]);
  t.equal(planned.status, 0);
  t.match(planned.stderr, /pack refuses this/);
  const { findings } = JSON.parse(planned.stdout) as { findings: object[] };
  t.equal(findings.length, 4);
  t.match(findings[0], { level: "error", area: "builder", message: String, remedy: String, subject: String });

  const allowed = await airferry(dir, ["pack", file, "--unsigned", "--out", "out", "--allow-findings"]);
  t.equal(allowed.status, 0, allowed.stderr);
  t.match(allowed.stderr, /builder: error: containerd was not packed/);
  const again = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(again.status, 2, "the bundle that is there was allowed then, not now");
  t.equal((await airferry(dir, ["pack", file, "--unsigned", "--out", "out", "--frozen"])).status, 2, "frozen as well");
});

t.test("with --json each finding is a problem of the error", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "a"), "x");
  const file = writeManifest(dir, { files: [{ path: "a" }], builder: BUILDER });
  const { status, stderr } = await airferry(dir, ["pack", file, "--unsigned", "--json", "--quiet"]);
  t.equal(status, 2);
  const error = JSON.parse(stderr.trim().split("\n").at(-1) as string);
  t.match(error, { event: "error", code: "ERR_FINDINGS" });
  t.same(
    error.problems.map((it: { path: string }) => it.path),
    ["k8s", "cni", "containerd", "crictl"],
  );
});

t.test("what has nothing in it, or is a page in place of what was asked for, is not packed", async (t) => {
  const dir = scratch(t);
  writeFileSync(join(dir, "page"), "<!DOCTYPE html><html><title>Log in</title></html>");
  writeFileSync(join(dir, "a.rpm.txt"), "x");
  for (const [manifest, message] of [
    [{}, /manifest: error: the bundle would be empty/],
    [{ isos: [{ name: "rhel", path: "page" }] }, /isos\/rhel\.iso is not an ISO 9660 or UDF image: .*"<!DOCTYPE html>/],
    [{ files: [{ path: "page", as: "a.tar.gz" }] }, /files\/a\.tar\.gz is not a gzip file/],
    [{ files: [{ path: "page", as: "kubeadm", mode: "0755" }] }, /files\/kubeadm is not a program/],
  ] as const) {
    const file = writeManifest(dir, manifest);
    const { status, stderr } = await airferry(dir, ["pack", file, "--unsigned", "--out", "none"]);
    t.equal(status, 2, stderr);
    t.match(stderr, message);
    t.notOk(existsSync(join(dir, "none", "test-000001")));
    const allowed = await airferry(dir, ["pack", file, "--unsigned", "--out", "all", "--allow-findings", "--json"]);
    t.equal(allowed.status, 0, allowed.stderr);
  }
  const refused = await airferry(dir, [
    "plan",
    writeManifest(dir, { rpms: [{ name: "r", path: ".", gpgcheck: false, arch: ["amd64"] }] }),
  ]);
  t.equal(refused.status, 2);
  t.match(refused.stderr, /is not an RPM architecture: got "amd64": write x86_64/);
});
