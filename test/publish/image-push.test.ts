/** src/publish/image-push.ts: what is pushed, and in which order. Real registries take it in test/interop. */
import t, { type Test } from "tap";
import { packedBlobs, planPush } from "../../src/publish/image-push.ts";
import { readPackedImage } from "../../src/store/packed-images.ts";
import { digestOf, type TestDescriptor, TestImages } from "../fixtures/images.ts";
import { scratch } from "../fixtures/program.ts";
import { createTestStore } from "../fixtures/store-reader.ts";

const layerOf = (images: TestImages, { digest }: TestDescriptor) =>
  (JSON.parse(String(images.manifests.get(digest)?.bytes)) as { layers: { digest: string }[] }).layers[0]!.digest;

async function plan(t: Test, images: TestImages, root: TestDescriptor, leaveOut: string[] = [], more: object = {}) {
  const store = createTestStore(scratch(t));
  const catalog = images.catalogImage("example.com/lab/bb:1", root, more);
  const release = await store.put({ stream: "a", content: images.content(leaveOut), catalog: { images: [catalog] } });
  return planPush(await readPackedImage(store, release, catalog), "lab/bb");
}

t.test("planPush(): children before their index, and what is about a thing after it, however deep", async (t) => {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "amd64" }]);
  const arm64 = images.image("linux/arm64", [{ a: "arm64" }]);
  const index = images.index([amd64, arm64]);
  const sbom = images.referrer(amd64, "application/spdx+json", Buffer.from("sbom"));
  const review = images.referrer(sbom, "application/vnd.example.review", Buffer.from("good"));
  const push = await plan(t, images, index);
  t.match(push, { repository: "lab/bb", isStripped: false, root: { digest: index.digest } });
  t.same(
    push.own.map((it) => it.digest),
    [amd64.digest, arm64.digest, index.digest],
  );
  t.same(
    push.about.map((it) => it.digest),
    [sbom.digest, review.digest],
  );
  t.equal(packedBlobs(push.image, push.own[0]!).length, 2, "config and layer");
});

t.test("planPush() makes a shorter index of what was packed whole, and pushes nothing about the rest", async (t) => {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "amd64" }]);
  const arm64 = images.image("linux/arm64", [{ a: "arm64" }]);
  const index = images.index([amd64, arm64]);
  const good = images.referrer(amd64, "application/spdx+json", Buffer.from("1"));
  images.referrer(arm64, "application/spdx+json", Buffer.from("2"));
  images.referrer(index, "application/spdx+json", Buffer.from("3"));
  const push = await plan(t, images, index, [layerOf(images, arm64)]);
  t.ok(push.isStripped);
  t.same(
    push.own.map((it) => it.digest),
    [amd64.digest, push.root.digest],
  );
  t.not(push.root.digest, index.digest);
  t.equal(push.root.digest, digestOf(push.root.bytes));
  t.same(
    push.root.manifest.manifests.map((it) => it.digest),
    [amd64.digest],
  );
  t.same(
    push.about.map((it) => it.digest),
    [good.digest],
    "what is about the whole index has nothing to be about",
  );
});

t.test("planPush() refuses an image of which no platform is whole", async (t) => {
  const images = new TestImages();
  const amd64 = images.image("linux/amd64", [{ a: "amd64" }]);
  const index = images.index([amd64]);
  await t.rejects(plan(t, images, index, [layerOf(images, amd64)]), {
    code: "ERR_PUBLISH",
    message: /none of its platforms was packed completely/,
  });
});

t.test("planPush() has tags of older cosigns for what is pushed, after the image", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "amd64" }]);
  const { mediaType: _, ...rest } = images.image("linux/s390x", [{ sig: "signature" }]);
  const signature = { ...rest, mediaType: image.mediaType };
  const tag = `${image.digest.replace(":", "-")}.sig`;
  const push = await plan(t, images, image, [], {
    tags: { [tag]: signature.digest, gone: `sha256:${"0".repeat(64)}` },
  });
  t.same(
    push.own.map((it) => it.digest),
    [image.digest],
  );
  t.same(
    push.tags.map(([name, it]) => [name, it.digest]),
    [[tag, signature.digest]],
  );
});
