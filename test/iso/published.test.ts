/** Published digests of images behind a login: known by name, so that none is typed, and no other bytes pass under the name. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import data from "../../manifests/published-isos.json" with { type: "json" };
import { airferry } from "../fixtures/host.ts";
import { scratch, writeManifest } from "../fixtures/program.ts";

t.test("the data is well-formed, each with its source", async (t) => {
  t.ok(data.isos.length > 0);
  for (const { name, sha256, vendor, source } of data.isos) {
    t.match(name, /^rhel-\d+\.\d+-x86_64-dvd\.iso$/);
    t.match(sha256, /^[0-9a-f]{64}$/, name);
    t.ok(vendor && source, name);
  }
  t.equal(new Set(data.isos.map((it) => it.name)).size, data.isos.length);
  t.equal(new Set(data.isos.map((it) => it.sha256)).size, data.isos.length);
});

t.test("other bytes under a published name are refused; a digest of one's own goes before", async (t) => {
  const dir = scratch(t);
  const name = "rhel-9.4-x86_64-dvd.iso";
  writeFileSync(join(dir, name), "not the image");
  const file = writeManifest(dir, { isos: [{ name: "rhel-9", path: name }] });
  const refused = await airferry(dir, ["lock", file]);
  t.equal(refused.status, 4);
  t.match(refused.stderr, /digest mismatch of "rhel-9\.4-x86_64-dvd\.iso"/);
  t.match(refused.stderr, /hint: this is not the rhel-9\.4-x86_64-dvd\.iso that Red Hat publishes/);
  const own = "d8d3f3a8d0b83c1d0c0f52f8f2b0f0ab7d4b8dd6b0a0a0ae7e1d3f9d7a4c7f10";
  writeManifest(dir, { isos: [{ name: "rhel-9", path: name, sha256: own }] });
  t.match((await airferry(dir, ["lock", file])).stderr, /or the digest in the manifest is wrong/);
  writeManifest(dir, { files: [{ path: name }] });
  t.equal((await airferry(dir, ["lock", file])).status, 0, "only isos: are looked up");
});
