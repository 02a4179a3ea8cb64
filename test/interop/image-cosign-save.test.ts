/**
 * What `cosign save` hands over: a layout whose entries have no names and are told apart by `kind`. The image is taken with its
 * signature, and held to the key; hauler writes the same kinds with one name on all of them.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { needs } from "../fixtures/clients.ts";
import { airferry } from "../fixtures/host.ts";
import { imageGap } from "../fixtures/image-carry.ts";
import { startDockerRegistry, TestImages } from "../fixtures/images.ts";
import { writeManifest } from "../fixtures/program.ts";

t.test("a layout of cosign save, its folder written in several ways, and the same as hauler names it", async (t) => {
  if (!needs(t, "docker-registry", "cosign2")) return;
  const gap = await imageGap(t, "airferry-cosign-save");
  const { dir, run } = gap;
  const upstream = await startDockerRegistry(join(dir, "upstream"));
  t.teardown(() => upstream.stop());
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "signed" }]);
  await images.push(upstream.host, "lab/app", { "1": image });
  await run("cosign2", "generate-key-pair", "--output-key-prefix", join(dir, "images"));
  const reference = `${upstream.host}/lab/app@${image.digest}`;
  const key = join(dir, "images.key");
  const signed = await run("cosign2", "sign", "--yes", "--key", key, "--tlog-upload=false", reference);
  t.equal(signed.status, 0, signed.out);
  mkdirSync(join(dir, "sub"));
  const layout = join(dir, "layout");
  const saved = await run("cosign2", "save", "--dir", layout, reference);
  t.equal(saved.status, 0, saved.out);

  const as = "registry.example.com/lab/app:1";
  const lockOf = async (archive: string) => {
    const manifest = writeManifest(dir, { images: [{ archive, as, signatures: { keys: ["images.pub"] } }] });
    const locked = await airferry(dir, ["lock", manifest, "--update"], gap.home);
    t.equal(locked.status, 0, `${archive}: ${locked.stderr}`);
    return JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")).entries[0];
  };
  for (const archive of ["layout", "./layout", ".//layout/", "sub/../layout", layout]) {
    const [locked] = (await lockOf(archive)).detail.images;
    t.equal(locked.digest, image.digest);
    t.strictSame(Object.keys(locked.tags), [`${image.digest.replace(":", "-")}.sig`]);
  }

  const index = JSON.parse(readFileSync(join(layout, "index.json"), "utf8"));
  for (const it of index.manifests) it.annotations["io.containerd.image.name"] = as;
  writeFileSync(join(layout, "index.json"), JSON.stringify(index));
  const manifest = writeManifest(dir, { images: [{ archive: "layout" }] });
  const locked = await airferry(dir, ["lock", manifest, "--update"], gap.home);
  t.equal(locked.status, 0, locked.stderr);
  const [hauler] = JSON.parse(readFileSync(join(dir, "m.lock.json"), "utf8")).entries[0].detail.images;
  t.match(hauler, { reference: as, digest: image.digest });

  // Carried, served, and verified inside by cosign itself.
  await gap.carry({ images: [{ archive: "./layout", as }] });
  const { host, ca } = await gap.serve();
  const verified = await run(
    "cosign2",
    "verify",
    "--key",
    join(dir, "images.pub"),
    "--insecure-ignore-tlog",
    "--private-infrastructure",
    "--registry-cacert",
    ca,
    `${host}/${as.replace(":1", "")}@${image.digest}`,
  );
  t.equal(verified.status, 0, verified.out);
});
