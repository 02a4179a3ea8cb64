/** src/init.ts: ready manifests, copied and answered. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { matrixOf } from "../src/builder/compatibility.ts";
import { kubeadmImages } from "../src/builder/kubeadm-images.ts";
import { init } from "../src/init.ts";
import { readManifest } from "../src/manifest/load.ts";

t.test("copies each ready manifest, comments and all", async (t) => {
  for (const name of ["rocky-9-capi", "rocky-8-capi", "rhel-9-capi", "rhel-8-capi", "image-builder", "starter"]) {
    const { manifest } = await init({ dir: t.testdir(), for: name });
    t.equal(
      await readFile(manifest, "utf8"),
      await readFile(join(import.meta.dirname, `../manifests/${name}.yaml`), "utf8"),
    );
  }
});

t.test("changes the Kubernetes version and what goes with it", async (t) => {
  const { manifest, notes } = await init({
    dir: t.testdir(),
    for: "rocky-9-capi",
    answers: { k8sVersion: "1.28.9", stream: "mine", imageconfig: ["vcenter_server=vc.lab", "image_name=gold"] },
  });
  t.match(manifest, /mine\.yaml$/);
  const text = await readFile(manifest, "utf8");
  t.notMatch(text, /1\.29|v1\.28\.0|v1\.3\.0/);
  t.match(text, "crictl-v1.26.0-linux-amd64.tar.gz.sha256");
  t.match(text, "releases/download/v1.2.0/cni-plugins-linux-amd64-v1.2.0.tgz");
  const parsed = await readManifest(manifest);
  t.equal(parsed.stream, "mine");
  t.match(parsed.builder?.imageconfig, { k8s_version: "1.28.9", vcenter_server: "vc.lab", image_name: "gold" });
  t.notMatch(notes.join(), /kubeadm/, "kubeadm's images are known");
});

t.test("gives the images that kubeadm of the version pulls, for every version of either matrix", async (t) => {
  for (const flavor of ["spectro-capi", "image-builder"] as const) {
    for (const { k8s } of matrixOf(flavor).versions) {
      const answers = { k8sVersion: k8s };
      const { manifest, notes } = await init({ dir: t.testdir(), for: "rocky-9-capi", answers });
      const refs = (await readManifest(manifest)).images?.map((it) => it.ref);
      for (const { repository, tag } of kubeadmImages(k8s)?.images ?? []) {
        t.ok(refs?.includes(`registry.k8s.io/${repository}:${tag}`), `${k8s}: ${repository}:${tag}`);
      }
      t.notMatch(notes.join(), /kubeadm/);
    }
  }
  const answers = { k8sVersion: "1.99.0" };
  const { notes } = await init({ dir: t.testdir(), for: "rocky-9-capi", answers });
  t.match(notes.join(), /kubeadm config images list --kubernetes-version v1\.99\.0/);
});

t.test("takes a local ISO and its digest", async (t) => {
  const dir = t.testdir();
  const sha256 = "ab".repeat(32);
  const { manifest } = await init({ dir, for: "rocky-8-capi", answers: { iso: "./my.iso", isoSha256: sha256 } });
  const [iso] = (await readManifest(manifest)).isos!;
  t.strictSame(iso, { name: "rocky-8", path: "./my.iso", sha256, packages: false });
  const rhel = await init({ dir, for: "rhel-9-capi", answers: { isoSha256: sha256 } });
  t.match((await readManifest(rhel.manifest)).isos![0], { path: "rhel-9.6-x86_64-dvd.iso", sha256 });
  t.match(rhel.notes.join(), /put rhel-9\.6-x86_64-dvd\.iso next to/);
});

t.test("finds a local ISO from where the user is, and writes its path as the manifest needs it", async (t) => {
  const dir = t.testdir({ "dvd.iso": "x", site: { "near.iso": "x" } });
  const back = process.cwd();
  t.teardown(() => process.chdir(back));
  process.chdir(dir);
  const pathOf = async (iso: string) => {
    const { manifest, notes } = await init({ dir: "site", for: "rhel-9-capi", force: true, answers: { iso } });
    return { path: (await readManifest(manifest)).isos![0]!.path, notes: notes.join() };
  };
  t.match(await pathOf("./dvd.iso"), { path: "../dvd.iso", notes: /^(?!.*dvd)/ });
  t.match(await pathOf("near.iso"), { path: "near.iso", notes: /^(?!.*near)/ });
  t.match(await pathOf("later.iso"), { path: "later.iso", notes: /put later\.iso next to site\/rhel-9-capi\.yaml/ });
  t.match(await pathOf(join(dir, "dvd.iso")), { path: join(dir, "dvd.iso") });
});

t.test("keeps a stream's name a name, whatever YAML would take it for", async (t) => {
  for (const stream of ["2026", "true", "1.5", "null"]) {
    const { manifest } = await init({ dir: t.testdir(), answers: { stream } });
    t.equal((await readManifest(manifest)).stream, stream);
  }
});

t.test("refuses what does not fit, and never replaces a manifest unasked", async (t) => {
  const dir = t.testdir();
  await init({ dir });
  await t.rejects(init({ dir }), { code: "ERR_USAGE", message: /it exists already/ });
  await init({ dir, force: true });
  await t.rejects(init({ dir, for: "rocky-7" }), { code: "ERR_USAGE", expected: /rocky-9-capi/ });
  await t.rejects(init({ dir, for: "rocky-9-capi", answers: { k8sVersion: "new" } }), { code: "ERR_USAGE" });
  await t.rejects(init({ dir, for: "starter", answers: { k8sVersion: "1.30.4" } }), { code: "ERR_USAGE" });
  await t.rejects(init({ dir, for: "rocky-9-capi", answers: { isoSha256: "x" } }), { code: "ERR_MANIFEST_INVALID" });
  await t.rejects(init({ dir, for: "rocky-9-capi", answers: { stream: "../x" } }), { code: "ERR_MANIFEST_INVALID" });
});
