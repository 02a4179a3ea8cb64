/** `isos[].keys`: the vendor's keys are carried and named by airferry.repo; what of the builder does not fit is said early. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { airferry } from "../fixtures/host.ts";
import { writeKeyPair } from "../fixtures/keys.ts";
import { ROOT, scratch, writeManifest } from "../fixtures/program.ts";
import { startUpstream } from "../fixtures/upstream.ts";

const sample = join(ROOT, "scripts", "sample", "upstream");
const ISO = "/isos/Sample-9.0-x86_64-dvd.iso";
const sha256 = createHash("sha256")
  .update(readFileSync(join(sample, ISO)))
  .digest("hex");

function sampleFiles(): Map<string, { file: string }> {
  const names = readdirSync(sample, { recursive: true, encoding: "utf8" });
  return new Map(names.map((name) => [`/${name}`, { file: join(sample, name) }]));
}

t.test("carried keys of a DVD go before those in its root", async (t) => {
  const upstream = await startUpstream({ files: sampleFiles() });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const iso = { name: "dvd", url: upstream.url + ISO, sha256, keys: [`${upstream.url}/RPM-GPG-KEY-sample`] };
  const builder = { flavor: "spectro-capi", imageconfig: { k8s_version: "1.29.4" } };
  const file = writeManifest(dir, { isos: [iso], builder });
  const planned = await airferry(dir, ["plan", file, "--json"]);
  t.equal(planned.status, 0, planned.stderr);
  t.match(planned.stderr, /builder: (error|warning): /, "plan says what does not fit");
  t.ok(JSON.parse(planned.stdout).findings.length > 0);

  writeKeyPair(dir, "site");
  rmSync(join(dir, "m.lock.d"), { recursive: true, force: true });
  const packed = await airferry(dir, ["pack", file, "--key", "site.key", "--out", "out", "--allow-findings"]);
  t.equal(packed.status, 0, packed.stderr);
  t.match(packed.stderr, /builder: (error|warning): /, "pack says it too");
  const bundle = packed.stdout.trim();
  const unpacked = await airferry(dir, ["unpack", bundle, "--trust", "site.pub", "--store", "store"]);
  t.equal(unpacked.status, 0, unpacked.stderr);
  const repo = await airferry(dir, ["render", "repo", "--store", "store", "--url", "http://192.0.2.10:9000"]);
  const keys = repo.stdout.split("\n").filter((it) => it.startsWith("gpgkey="));
  t.ok(keys.length > 0, repo.stdout);
  for (const it of keys) t.equal(it, "gpgkey=http://192.0.2.10:9000/keys/dvd.iso");
});

t.test("keys that are not the pinned ones, or not there, are refused", async (t) => {
  const upstream = await startUpstream({ files: sampleFiles() });
  t.teardown(() => upstream.close());
  const dir = scratch(t);
  const iso = { name: "dvd", url: upstream.url + ISO, sha256 };
  const keys = [`${upstream.url}/RPM-GPG-KEY-sample`];
  const wrong = writeManifest(dir, { isos: [{ ...iso, keys, fingerprints: ["A".repeat(40)] }] }, "wrong.yaml");
  const refused = await airferry(dir, ["plan", wrong]);
  t.equal(refused.status, 4, refused.stderr);
  t.match(refused.stderr, /keys of dvd/);
  const absent = writeManifest(dir, { isos: [{ ...iso, keys: ["no-such.key"] }] }, "absent.yaml");
  const missing = await airferry(dir, ["plan", absent]);
  t.equal(missing.status, 2, missing.stderr);
  t.match(missing.stderr, /no-such\.key/);
  const bare = writeManifest(dir, { isos: [{ ...iso, fingerprints: ["A".repeat(40)] }] }, "bare.yaml");
  const alone = await airferry(dir, ["plan", bare]);
  t.equal(alone.status, 2, alone.stderr);
  t.match(alone.stderr, /pins keys, but the entry has none/);
});
