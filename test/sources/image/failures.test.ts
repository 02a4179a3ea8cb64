/** What fails at pack says which image, or which archive, and where from; the hint is something that can be done. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { type FakeRegistryOptions, startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { layersOf, lockImages, packImages } from "../../fixtures/image-lock.ts";
import { type TestDescriptor, TestImages, tarFolder } from "../../fixtures/images.ts";
import { scratch } from "../../fixtures/program.ts";

t.test("a registry that no longer gives what was locked", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "a layer" }]);
  const [layer] = layersOf(images, image) as [TestDescriptor];
  const path = new RegExp(`blobs/${layer.digest}`);
  const bytes = images.blobs.get(layer.digest) as Buffer;
  const other = Buffer.from(bytes);
  other.writeUInt8(other.readUInt8(20) ^ 1, 20);
  const faults = new Map<string, [NonNullable<FakeRegistryOptions["spoil"]>, string, RegExp]>([
    ["404", [{ path, status: 404 }, "ERR_UPSTREAM", /404 Not Found/]],
    ["a shorter blob", [{ path, body: bytes.subarray(1) }, "ERR_UPSTREAM_SIZE", /wrong size/]],
    ["another blob", [{ path, body: other }, "ERR_UPSTREAM_DIGEST", /digest mismatch/]],
    ["redirects in a circle", [{ path, status: 307, headers: { location: "" } }, "ERR_UPSTREAM_INVALID", /redirect/]],
  ]);
  for (const [name, [spoil, code, message]] of faults) {
    const options: FakeRegistryOptions = { images, tags: { "1.0": image } };
    const fake = await startFakeRegistry(options);
    t.teardown(() => fake.close());
    const url = `http://${fake.host}/v2/lab/bb/blobs/${layer.digest}`;
    if (spoil.headers?.location === "") spoil.headers.location = url;
    const dir = scratch(t);
    const entries = [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }];
    t.equal((await lockImages(dir, entries)).error, undefined, name);
    options.spoil = spoil;
    const { error } = await packImages(dir, entries, { frozen: true });
    t.equal(error?.code, code, name);
    t.match(error?.message, message, name);
    t.match(error?.message, `of image "${fake.host}/lab/bb:1.0"`, name);
    t.match(error?.message, url, name);
    t.match(error?.hint, `airferry lock MANIFEST --update ${fake.host}/lab/bb:1.0`, name);
    t.notMatch(error?.hint, /URL in the manifest/, name);
  }
});

t.test("an archive that is no longer what was locked", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "a layer" }]);
  const [layer] = layersOf(images, image) as [TestDescriptor];
  const bytes = images.blobs.get(layer.digest) as Buffer;
  const changes = new Map<string, [(file: string, tar: Buffer) => void, string | undefined, RegExp]>([
    [
      "a byte of a layer",
      [
        (file, tar) => {
          const at = tar.indexOf(bytes) + 20;
          writeFileSync(
            file,
            Buffer.concat([tar.subarray(0, at), Buffer.from([tar.readUInt8(at) ^ 1]), tar.subarray(at + 1)]),
          );
        },
        "ERR_UPSTREAM_DIGEST",
        /"\S+\/x\.tar" does not match its own index, or changed since it was locked: digest mismatch/,
      ],
    ],
    [
      "members that moved",
      [
        (file, tar) => writeFileSync(file, Buffer.concat([Buffer.alloc(512), tar])),
        "ERR_UPSTREAM_DIGEST",
        /x\.tar" does not match its own index/,
      ],
    ],
    [
      "half of it",
      [
        (file, tar) => writeFileSync(file, tar.subarray(0, tar.indexOf(bytes) + 5)),
        "ERR_UPSTREAM_DIGEST",
        /x\.tar" does not match its own index/,
      ],
    ],
    ["gone", [(file) => rmSync(file), "ERR_IO", /"\S+\/x\.tar" was removed since it was locked/]],
    [
      "grown at its end",
      [(file, tar) => writeFileSync(file, Buffer.concat([tar, Buffer.alloc(10240)])), undefined, /^/],
    ],
  ]);
  for (const [name, [change, code, message]] of changes) {
    const dir = scratch(t);
    images.writeLayout(join(dir, "lay"), { "x.example/y:1": image });
    const file = join(dir, "x.tar");
    tarFolder(join(dir, "lay"), file);
    const entries = [{ archive: "x.tar" }];
    t.equal((await lockImages(dir, entries)).error, undefined, name);
    change(file, readFileSync(file));
    const { error } = await packImages(dir, entries, { frozen: true });
    t.equal(error?.code, code, name);
    if (error === undefined) continue;
    t.match(error.message, message, name);
    t.match(error.message, 'of image "x.example/y:1"', name);
    t.match(error.hint, "airferry lock MANIFEST --update x.tar", name);
  }
});
