/** src/store/packed-images.ts: the names that people use, and what belongs to an image. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import t, { type Test } from "tap";
import type { Digest } from "../../src/io/digest.ts";
import { blobsOf, findImages, isComplete, ownManifests, readPackedImage } from "../../src/store/packed-images.ts";
import { TestImages } from "../fixtures/images.ts";
import { scratch } from "../fixtures/program.ts";
import { createTestStore } from "../fixtures/store-reader.ts";

/** Two platforms, of which arm64 was packed without its layer, and an SBOM about the index. */
async function packed(t: Test) {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "amd64" }]);
  const arm64 = images.image("linux/arm64", [{ a: "arm64" }]);
  const index = images.index([amd64, arm64]);
  const sbom = images.referrer(index, "application/spdx+json", Buffer.from("{}"));
  const { layers } = JSON.parse(String(images.manifests.get(arm64.digest)?.bytes)) as { layers: { digest: string }[] };
  const store = createTestStore(scratch(t));
  const catalog = [
    images.catalogImage("registry.k8s.io/pause:3.10", index),
    images.catalogImage("docker.io/library/busybox:1", amd64),
    images.catalogImage("example.com/lab/pause:3.10", amd64),
  ];
  const content = images.content([(layers[0] as { digest: string }).digest]);
  const release = await store.put({ stream: "a", content, catalog: { images: catalog } });
  return { images, amd64, arm64, index, sbom, store, release, catalog };
}

t.test("findImages() takes a name as people and the server write it, and any end that only one has", async (t) => {
  const { release, index } = await packed(t);
  const found = (name: string) => findImages([release], [name]).map((it) => it.catalog.reference);
  for (const name of [
    "registry.k8s.io/pause:3.10",
    "registry.k8s.io/pause",
    `registry.k8s.io/pause@${index.digest}`,
    `registry.k8s.io/pause:3.10@${index.digest}`,
  ])
    t.same(found(name), ["registry.k8s.io/pause:3.10"], name);
  for (const name of ["busybox", "busybox:1", "library/busybox:1", "docker.io/library/busybox:1"])
    t.same(found(name), ["docker.io/library/busybox:1"], name);
  t.same(found("lab/pause"), ["example.com/lab/pause:3.10"]);
  t.equal(findImages([release], []).length, 3, "no name: all");
});

t.test("findImages() says what there is instead", async (t) => {
  const { release, catalog, images, arm64 } = await packed(t);
  t.throws(() => findImages([release], ["pause"]), {
    code: "ERR_NOT_FOUND",
    message: /several have this name/,
    hint: /registry\.k8s\.io\/pause:3\.10, example\.com\/lab\/pause:3\.10/,
  });
  t.throws(() => findImages([release], ["nginx"]), { code: "ERR_NOT_FOUND", message: /it was not packed/ });
  t.throws(() => findImages([], ["nginx"]), { code: "ERR_NOT_FOUND", hint: /name it under images:/ });
  const other = {
    ...release,
    stream: "b",
    inventory: { ...release.inventory, catalog: { ...release.inventory.catalog } },
  };
  t.equal(findImages([release, other], ["busybox"]).length, 1, "the same image in two streams is one");
  other.inventory.catalog.images = [images.catalogImage((catalog[1] as { reference: string }).reference, arm64)];
  t.throws(() => findImages([release, other], ["busybox"]), { message: /streams differ on it/, hint: /--stream b/ });
});

t.test("readPackedImage() knows what is its own, what is about it, and what is not whole", async (t) => {
  const { store, release, catalog, amd64, arm64, index, sbom } = await packed(t);
  const image = await readPackedImage(store, release, catalog[0]!);
  t.equal(image.root.digest, index.digest);
  t.same(
    ownManifests(image).map((it) => it.digest),
    [amd64.digest, arm64.digest, index.digest],
    "children first",
  );
  t.ok(image.manifests.has(sbom.digest as `sha256:${string}`));
  const of = (digest: string) => image.manifests.get(digest as `sha256:${string}`)!;
  t.ok(isComplete(image, of(amd64.digest)));
  t.notOk(isComplete(image, of(arm64.digest)));
  t.notOk(isComplete(image, image.root));
  const [config, layer] = blobsOf(of(amd64.digest));
  t.ok(readFileSync(image.blob(config!.digest)!.file).includes("amd64"));
  t.equal(image.blob(layer!.digest)?.size, layer?.size);
  t.equal(image.blob(blobsOf(of(arm64.digest))[1]!.digest), undefined);
});

t.test("readPackedImage() refuses a manifest that is damaged or gone", async (t) => {
  const { store, release, catalog, index } = await packed(t);
  const file = store.blobPath(index.digest as Digest);
  writeFileSync(file, `${readFileSync(file, "utf8")} `);
  await t.rejects(readPackedImage(store, release, catalog[0]!), { code: "ERR_STORE_INVALID", path: file });
  rmSync(file);
  await t.rejects(readPackedImage(store, release, catalog[0]!), { code: "ERR_STORE_INVALID", message: /no such file/ });
  const elsewhere = { ...catalog[0]!, digest: `sha256:${"0".repeat(64)}` as const, manifests: [] };
  await t.rejects(readPackedImage(store, release, elsewhere), { message: /its manifest is missing from the store/ });
});
