/** What descriptors and headers promise is what must come: sizes, media types, digests behind tags; and the limits of all. */
import t, { type Test } from "tap";
import { exitStatusOf } from "../../../src/errors.ts";
import { type FakeRegistryOptions, startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { airferry } from "../../fixtures/host.ts";
import { lockImages, packImages } from "../../fixtures/image-lock.ts";
import { MANIFEST, type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { writeKeyPair } from "../../fixtures/keys.ts";
import { scratch, writeManifest } from "../../fixtures/program.ts";

const MAX_BYTES = 4 * 1024 * 1024;
const DOCKER = "application/vnd.docker.distribution.manifest.v2+json";

async function lockOne(t: Test, images: TestImages, root: TestDescriptor, more: Partial<FakeRegistryOptions> = {}) {
  const fake = await startFakeRegistry({ images, tags: { "1.0": root }, ...more });
  t.teardown(() => fake.close());
  const ref = `${fake.host}/lab/bb:1.0`;
  return { ref, ...(await lockImages(scratch(t), [{ ref, insecure: true }])) };
}

t.test("a size that is not the size of the bytes", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const empty = images.blob(Buffer.from("{}"), "application/vnd.oci.empty.v1+json");
  const config = images.blob(Buffer.from('{"x":1}'), "application/x-config");
  const lies = new Map<string, TestDescriptor>([
    ["a child of no bytes", images.index([{ ...image, size: 0 }])],
    ["a child of fewer bytes", images.index([{ ...image, size: image.size - 1 }])],
    ["one child with two sizes", images.index([image, { ...image, size: 0 }])],
    ["an empty config of 100 bytes", images.manifest({ config: { ...empty, size: 100 }, layers: [] }, MANIFEST)],
    ["an empty config of no bytes", images.manifest({ config: { ...empty, size: 0 }, layers: [] }, MANIFEST)],
    ["a config of no bytes", images.manifest({ config: { ...config, size: 0 }, layers: [] }, MANIFEST)],
    [
      "a layer that is also the config, with another size",
      images.manifest({ config, layers: [{ ...config, size: 9 }] }, MANIFEST),
    ],
    [
      "a layer that another layer has with another size",
      images.manifest({ config, layers: [empty, { ...empty, size: 9 }] }, MANIFEST),
    ],
  ]);
  for (const [name, root] of lies) {
    const { error, ref } = await lockOne(t, images, root);
    t.equal(exitStatusOf(error), 4, `${name}: ${error?.message}`);
    t.match(error?.message, ref, name);
    t.match(error?.message, /size|larger|shorter/, name);
  }
  const own = await startFakeRegistry({ images, tags: {} });
  t.teardown(() => own.close());
  const byDigest = await lockImages(scratch(t), [{ ref: `${own.host}/lab/bb@${image.digest}`, insecure: true }]);
  t.equal(byDigest.error, undefined, "nobody knows the size of what a user names by digest");
});

t.test("a child whose header names another kind than the index does", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const root = images.index([image]);
  const path = new RegExp(`manifests/${image.digest}`);
  const says = (type: string) => lockOne(t, images, root, { spoil: { path, headers: { "content-type": type } } });
  const { error, ref } = await says(DOCKER);
  t.equal(error?.code, "ERR_UPSTREAM_INVALID");
  t.match(error?.message, `media types of ${image.digest} disagree: expected ${MANIFEST}, got ${DOCKER}`);
  t.match(error?.hint, `skopeo inspect --raw docker://${ref}`);
  for (const vague of ["application/octet-stream", "text/plain; charset=utf-8", "application/json", MANIFEST])
    t.equal((await says(vague)).error, undefined, vague);
  const body = images.index([{ ...image, mediaType: DOCKER }]);
  t.match((await lockOne(t, images, body)).error?.message, /disagree/, "and a body that names another");
});

t.test("a manifest of 4 MiB is taken, a byte more is not, whether it is named or listed", async (t) => {
  for (const size of [MAX_BYTES, MAX_BYTES + 1]) {
    const images = new TestImages();
    const config = images.blob(Buffer.from("{}"), "application/x-config");
    const of = (length: number) =>
      images.manifest({ config, layers: [], annotations: { x: "x".repeat(length) } }, MANIFEST);
    const made = of(size - of(0).size);
    t.equal(made.size, size);
    for (const [name, root] of [
      ["root", made],
      ["child", images.index([made])],
    ] as const) {
      const { error, ref } = await lockOne(t, images, root);
      if (size === MAX_BYTES) {
        t.equal(error, undefined, name);
        continue;
      }
      t.equal(error?.code, "ERR_UPSTREAM_SIZE", name);
      t.match(error?.message, ref, name);
      t.match(error?.message, "at most 4194304 bytes, got 4194305", name);
      t.match(error?.hint, /fewer children or annotations/, name);
    }
  }
});

t.test("name:tag@digest takes the digest, whatever the tag leads to", async (t) => {
  const images = new TestImages();
  const wanted = images.image("linux/amd64", [{ a: "wanted" }]);
  const moved = images.image("linux/amd64", [{ a: "moved" }]);
  const fake = await startFakeRegistry({ images, tags: { "1.0": moved } });
  t.teardown(() => fake.close());
  const ref = `${fake.host}/lab/bb:1.0@${wanted.digest}`;
  const { error, images: locked, has } = await packImages(scratch(t), [{ ref, insecure: true }]);
  t.equal(error, undefined);
  t.match(locked, [{ reference: ref, digest: wanted.digest }]);
  t.notOk(has(moved));
});

t.test("a registry at an IPv6 address", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const fake = await startFakeRegistry({ images, tags: { "1.0": image }, bind: "::1" }).catch(() => undefined);
  if (fake === undefined) return t.pass("this machine has no IPv6");
  t.teardown(() => fake.close());
  const dir = scratch(t);
  writeKeyPair(dir);
  const manifest = writeManifest(dir, { images: [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }] });
  for (const args of [
    ["lock", manifest],
    ["pack", manifest, "--key", "k.key", "--frozen"],
    ["unpack", "bundles/test-000001", "--trust", "k.pub", "--store", "store"],
  ]) {
    const ran = await airferry(dir, args, { HOME: dir });
    t.equal(ran.status, 0, ran.stderr);
  }
});

t.test("artifacts whose config has an image's type and any content are carried as they are", async (t) => {
  for (const content of ["", "not json", "null", "[]", '"x"', "7"]) {
    const images = new TestImages();
    const config = images.blob(Buffer.from(content), "application/vnd.oci.image.config.v1+json");
    const artifact = images.manifest(
      { config, layers: [images.blob(Buffer.from("wasm"), "application/wasm")] },
      MANIFEST,
    );
    const fake = await startFakeRegistry({ images, tags: { "1.0": artifact } });
    const dir = scratch(t);
    const manifest = writeManifest(dir, { images: [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }] });
    const packed = await airferry(dir, ["pack", manifest, "--unsigned"]);
    await fake.close();
    t.equal(packed.status, 0, `${content}: ${packed.stderr}`);
  }
});
