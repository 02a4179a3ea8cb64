/** Images that meet in one layout: one name is one image, a blob that they share comes from whichever place still has it. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { type FakeRegistryOptions, PASSWORD, startFakeRegistry, USER } from "../../fixtures/fake-registry.ts";
import { layersOf, lockImages, packImages } from "../../fixtures/image-lock.ts";
import { MANIFEST, type TestDescriptor, TestImages, tarFolder } from "../../fixtures/images.ts";
import { scratch } from "../../fixtures/program.ts";

async function upstream(t: Test, images: TestImages, tags: Record<string, TestDescriptor>, more: object = {}) {
  const options: FakeRegistryOptions = { images, tags, ...more };
  const fake = await startFakeRegistry(options);
  t.teardown(() => fake.close());
  return {
    options,
    fake,
    entry: (tag: string, more: object = {}) => ({ ref: `${fake.host}/lab/bb:${tag}`, insecure: true, ...more }),
  };
}

function layout(dir: string, name: string, images: TestImages, named: Record<string, TestDescriptor>): string {
  mkdirSync(join(dir, name));
  images.writeLayout(join(dir, name), named);
  return name;
}

t.test("two images under one name are refused, and both entries are named", async (t) => {
  const images = new TestImages();
  const one = images.image("linux/amd64", [{ a: "1" }]);
  const two = images.image("linux/amd64", [{ a: "2" }]);
  const both = images.index([one, images.image("linux/arm64", [{ a: "3" }])]);
  const { entry } = await upstream(t, images, { "1.0": one, "2.0": two, both });
  const busybox = { as: "busybox:1.0" };
  const cases: [string, (dir: string) => object[], RegExp][] = [
    [
      "an archive that holds the name of a ref",
      (dir) => [
        entry("1.0", busybox),
        { archive: layout(dir, "lay", images, { "docker.io/library/busybox:1.0": two }) },
      ],
      /"docker\.io\/library\/busybox:1\.0": two images have this name: sha256:\w+ by "busybox:1\.0", and sha256:\w+ by "lay"/,
    ],
    [
      "an archive with one name on two images",
      (dir) => {
        const named = layout(dir, "lay", images, { "x.example/y:1": one });
        // A layout in which the same name is given twice.
        const again = { ...two, annotations: { "org.opencontainers.image.ref.name": "x.example/y:1" } };
        const first = { ...one, annotations: again.annotations };
        images.writeIndex(join(dir, named), [first, again]);
        return [{ archive: named }];
      },
      /"x\.example\/y:1": two images have this name: .* by "lay", and .* by "lay"/,
    ],
    [
      "a tag, and the same tag with a digest",
      () => [entry("1.0"), { ...entry("2.0"), as: entry(`1.0@${two.digest}`).ref }],
      /two images have this name/,
    ],
    [
      "one image with different platforms",
      (dir) => [
        entry("both", { ...busybox, platforms: ["linux/amd64"] }),
        { archive: layout(dir, "lay", images, { "docker.io/library/busybox:1.0": both }) },
      ],
      /wanted with different platforms: linux\/amd64 by "busybox:1\.0", and all platforms by "lay"/,
    ],
  ];
  for (const [name, entries, message] of cases) {
    const dir = scratch(t);
    const { error } = await lockImages(dir, entries(dir));
    t.equal(error?.code, "ERR_MANIFEST_INVALID", name);
    t.match(error?.message, message, name);
    t.match(error?.hint, "as:");
  }
  const dir = scratch(t);
  const { error, images: locked } = await lockImages(dir, [
    entry("1.0", busybox),
    { archive: layout(dir, "lay", images, { "docker.io/library/busybox:1.0": one }) },
  ]);
  t.equal(error, undefined, "the same image twice is no harm");
  t.equal(locked.length, 2);
});

t.test("images that disagree about the size of a blob are both named", async (t) => {
  const images = new TestImages();
  const layer = images.blob(Buffer.from("layer"), "application/x-thing");
  const config = images.blob(Buffer.from('{"a":1}'), "application/x-config");
  const right = images.manifest({ config, layers: [layer] }, MANIFEST);
  const wrong = images.manifest({ config, layers: [{ ...layer, size: 9 }] }, MANIFEST);
  const { entry } = await upstream(t, images, { right, wrong });
  const { error } = await lockImages(scratch(t), [entry("right"), entry("wrong")]);
  t.equal(error?.code, "ERR_UPSTREAM_INVALID");
  t.match(
    error?.message,
    /bb:wrong": its manifest and that of ".*bb:right" disagree about the size of ".*": expected 5 bytes, got 9/,
  );
});

t.test(
  "a shared layer is asked for at the other registry, with its own login, or taken from the archive",
  async (t) => {
    const images = new TestImages();
    const shared = { s: "shared" };
    const a = images.image("linux/amd64", [shared, { a: "a" }]);
    const b = images.image("linux/amd64", [shared, { b: "b" }]);
    const [layer] = layersOf(images, a) as [TestDescriptor];
    const gone = { path: new RegExp(layer.digest), status: 404 };
    const dir = scratch(t);
    const first = await upstream(t, images, { a });
    const second = await upstream(t, images, { b }, { auth: "basic" });
    process.env.TEST_REGISTRY_USER = USER;
    process.env.TEST_REGISTRY_PASSWORD = PASSWORD;
    t.teardown(() => {
      delete process.env.TEST_REGISTRY_USER;
      delete process.env.TEST_REGISTRY_PASSWORD;
    });
    const login = { username_env: "TEST_REGISTRY_USER", password_env: "TEST_REGISTRY_PASSWORD" };
    const manifest = { hosts: { [second.fake.host]: login } };
    const entries = [first.entry("a"), second.entry("b")];
    t.equal((await lockImages(dir, entries, { manifest })).error, undefined);
    first.options.spoil = gone;
    const packed = await packImages(dir, entries, { manifest, frozen: true });
    t.equal(packed.error, undefined);
    t.ok(second.fake.log.some((line) => line.startsWith("GET") && line.includes(layer.digest)));
    t.match(packed.lines.join("\n"), /404 Not Found; trying another source/);
    t.notOk(
      first.fake.log.some((line) => line.includes("Basic")),
      "the other's login goes nowhere else",
    );

    const file = scratch(t);
    layout(file, "lay", images, { "x.example/c:1": b });
    tarFolder(join(file, "lay"), join(file, "c.tar"));
    const third = await upstream(t, images, { a });
    const mixed = [third.entry("a"), { archive: "c.tar" }];
    t.equal((await lockImages(file, mixed)).error, undefined);
    third.options.spoil = gone;
    t.equal((await packImages(file, mixed, { frozen: true })).error, undefined);

    // Nobody has it: all places are told.
    const none = scratch(t);
    layout(none, "lay", images, { "x.example/c:1": b });
    const fourth = await upstream(t, images, { a });
    const lost = [fourth.entry("a"), { archive: "lay" }];
    t.equal((await lockImages(none, lost)).error, undefined);
    fourth.options.spoil = gone;
    rmSync(join(none, "lay/blobs", layer.digest.replace(":", "/")));
    const { error } = await packImages(none, lost, { frozen: true });
    t.match(error?.message, /of image ".*bb:a": cannot fetch .*404 Not Found \(and 1 other sources failed\)/);
    t.match(
      error?.problems.map((it) => it.message),
      [/404/, /was removed since it was locked/],
    );
  },
);
