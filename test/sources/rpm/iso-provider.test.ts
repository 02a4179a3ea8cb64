/** Closures count on the packages of a DVD of the same manifest when its entry says so. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../../fixtures/host.ts";
import { ROOT, scratch, writeManifest } from "../../fixtures/program.ts";
import { startUpstream } from "../../fixtures/upstream.ts";

const sample = join(ROOT, "scripts", "sample", "upstream");

function sampleFiles(): Map<string, { file: string }> {
  const names = readdirSync(sample, { recursive: true, encoding: "utf8" });
  return new Map(names.map((name) => [`/${name}`, { file: join(sample, name) }]));
}

t.test("what the DVD has is not carried again; plan waits, pack fetches the DVD once", async (t) => {
  const upstream = await startUpstream({ files: sampleFiles() });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const isoPath = "/isos/Sample-9.0-x86_64-dvd.iso";
  const sha256 = createHash("sha256")
    .update(readFileSync(join(sample, isoPath)))
    .digest("hex");
  const manifest = (packages: boolean) => ({
    isos: [{ name: "dvd", url: upstream.url + isoPath, sha256, ...(packages && { packages }) }],
    rpms: [
      {
        name: "kubernetes",
        url: `${upstream.url}/kubernetes/`,
        keys: [`${upstream.url}/RPM-GPG-KEY-sample`],
        packages: ["kubelet"],
      },
    ],
  });
  const packagesOf = (json: string) =>
    (JSON.parse(json).entries as { path: string }[])
      .map(({ path }) => path)
      .filter((path) => path.endsWith(".rpm"))
      .map((path) => (path.split("/").at(-1) as string).replace(/-[0-9].*/, ""));

  const all = await airferry(dir, ["plan", writeManifest(dir, manifest(false), "all.yaml"), "--json"]);
  t.equal(all.status, 0, all.stderr);
  t.same(packagesOf(all.stdout), ["kubelet", "kubernetes-cni", "sample-libs"]);

  const file = writeManifest(dir, manifest(true), "less.yaml");
  const waiting = await airferry(dir, ["plan", file, "--json"]);
  t.equal(waiting.status, 0, waiting.stderr);
  t.match(waiting.stderr, /closures do not use the packages of ISO "dvd" yet/);
  t.equal(upstream.of(isoPath, "GET").length, 0, "plan downloads metadata only");

  const packed = await airferry(dir, ["pack", file, "--unsigned", "--out", "out"]);
  t.equal(packed.status, 0, packed.stderr);
  t.equal(upstream.of(isoPath, "GET").length, 1, "one GET, for closure and bundle alike");
  const inspected = await airferry(dir, ["inspect", "out/test-000001", "--json"]);
  t.same(packagesOf(inspected.stdout), ["kubelet", "kubernetes-cni"], "sample-libs is on the DVD");
  const frozen = await airferry(dir, ["pack", file, "--unsigned", "--out", "other", "--frozen", "--serial", "5"]);
  t.equal(frozen.status, 0, frozen.stderr);
});

t.test("a DVD without repositories cannot be counted on", async (t) => {
  const upstream = await startUpstream({ files: sampleFiles() });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const plain = join(ROOT, "README.md");
  const file = writeManifest(dir, {
    isos: [{ name: "dvd", path: plain, packages: true }],
    rpms: [{ name: "k", url: `${upstream.url}/kubernetes/`, gpgcheck: false, packages: ["kubelet"] }],
  });
  const ran = await airferry(dir, ["lock", file]);
  t.not(ran.status, 0);
  t.match(ran.stderr, /airferry: error: cannot/);
});
