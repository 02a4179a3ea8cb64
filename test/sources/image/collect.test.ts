/** What is about an image, and about that again: many of it, lies about it, tags that lead in circles. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { startFakeRegistry } from "../../fixtures/fake-registry.ts";
import { layersOf, lockImages, packImages } from "../../fixtures/image-lock.ts";
import { INDEX, MANIFEST, type TestDescriptor, TestImages } from "../../fixtures/images.ts";
import { scratch } from "../../fixtures/program.ts";

const tagOf = ({ digest }: { digest: string }, suffix = "") => digest.replace(":", "-") + suffix;

t.test("many referrers are fetched side by side, and are listed in the same order every time", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const about = Array.from({ length: 60 }, (_, n) => images.referrer(image, `application/x-${n}`, Buffer.from(`${n}`)));
  const deep = about.slice(0, 30).map((it, n) => images.referrer(it, "application/x-deep", Buffer.from(`deep ${n}`)));
  const locks = [];
  for (const factor of [1, 7]) {
    const dir = scratch(t);
    const delayMs = (n: number) => (n * factor) % 11;
    const fake = await startFakeRegistry({ images, tags: { "1.0": image }, referrersApi: true, delayMs });
    const { error, has, images: locked } = await lockImages(dir, [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }]);
    await fake.close();
    t.equal(error, undefined);
    t.ok(fake.atOnce >= 5, `${fake.atOnce} requests at once`);
    for (const it of [...about, ...deep]) t.ok(has(it) && layersOf(images, it).every(has));
    const order = [...about, ...deep].map((it) => it.digest);
    t.same(
      locked[0]?.referrers.map((it) => it.digest),
      order,
      "level by level, in the registry's order",
    );
    locks.push(
      readFileSync(join(dir, "m.lock.json"), "utf8")
        .replaceAll(fake.host, "HOST")
        .replace(/"time": .*/, ""),
    );
  }
  t.equal(locks[0]?.replace(/"request": .*/, ""), locks[1]?.replace(/"request": .*/, ""), "the whole lock");
});

t.test("four levels of what is about what, through the API and the tags of older tools alike", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const levels: TestDescriptor[] = [];
  for (let n = 0, subject = image; n < 5; n++) {
    subject = images.referrer(subject, "application/x-level", Buffer.from(`level ${n}`));
    levels.push(subject);
  }
  const legacy = images.image("linux/amd64", [{ sig: "of the first level" }]);
  const tags = { "1.0": image, [tagOf(levels[0] as TestDescriptor, ".sig")]: legacy };
  const fake = await startFakeRegistry({ images, tags, referrersApi: true });
  t.teardown(() => fake.close());
  const {
    error,
    has,
    images: locked,
  } = await packImages(scratch(t), [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }]);
  t.equal(error, undefined);
  t.same(levels.map(has), [true, true, true, true, false], "so deep and no deeper");
  t.ok(has(legacy) && layersOf(images, legacy).every(has));
  t.same(locked[0]?.tags, { [tagOf(levels[0] as TestDescriptor, ".sig")]: legacy.digest });
});

t.test("an index about an image comes along with all that it lists", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const parts = ["linux/amd64", "linux/s390x"].map((it) => images.image(it, [{ tool: it }]));
  const loose = images.blob(Buffer.from("a note"), "text/x-note");
  const { mediaType, digest, size } = image;
  const about = images.manifest(
    {
      manifests: [images.index(parts), loose],
      artifactType: "application/x-tools",
      subject: { mediaType, digest, size },
    },
    INDEX,
  );
  const fake = await startFakeRegistry({ images, tags: { "1.0": image }, referrersApi: true });
  t.teardown(() => fake.close());
  const entry = { ref: `${fake.host}/lab/bb:1.0`, insecure: true, platforms: ["linux/amd64"] };
  const { error, has, images: locked } = await packImages(scratch(t), [entry]);
  t.equal(error, undefined);
  t.ok(
    [about, ...parts, loose, ...parts.flatMap((it) => layersOf(images, it))].every(has),
    "platforms do not matter there",
  );
  t.same(locked[0]?.platforms, ["linux/amd64"]);
});

t.test("tags that lead in circles, and to the image itself", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const one = images.image("linux/amd64", [{ s: "1" }]);
  const two = images.image("linux/amd64", [{ s: "2" }]);
  const tags = {
    "1.0": image,
    [tagOf(image, ".sig")]: one,
    [tagOf(one, ".sig")]: two,
    [tagOf(two, ".sig")]: one,
    [tagOf(image, ".att")]: image,
    [tagOf(image, ".sbom")]: one,
  };
  const fake = await startFakeRegistry({ images, tags, referrersApi: true });
  t.teardown(() => fake.close());
  const { error, images: locked } = await lockImages(scratch(t), [{ ref: `${fake.host}/lab/bb:1.0`, insecure: true }]);
  t.equal(error, undefined);
  const { "1.0": _, ...expected } = Object.fromEntries(Object.entries(tags).map(([tag, it]) => [tag, it.digest]));
  t.same(locked[0]?.tags, expected);
  t.same(
    locked[0]?.referrers.map((it) => it.digest),
    [one.digest, two.digest],
    "each once",
  );
  t.ok(fake.log.length < 40, `${fake.log.length} requests`);
});

t.test("lists of referrers that lie", async (t) => {
  const images = new TestImages();
  const image = images.image("linux/amd64", [{ a: "1" }]);
  const other = images.image("linux/arm64", [{ a: "2" }]);
  const real = images.referrer(image, "application/x-real", Buffer.from("real"));
  const list = (manifests: unknown) => Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests }));
  const nowhere = (letter: string) => `sha256:${letter.repeat(64)}`;
  const path = new RegExp(`referrers/${image.digest}`);
  const headers = { "content-type": INDEX };
  const answers = new Map<string, [unknown, RegExp | undefined]>([
    ["one that is missing", [[{ mediaType: MANIFEST, digest: nowhere("2"), size: 10 }, real], undefined]],
    ["something that is no manifest", [[{ mediaType: "text/x", digest: nowhere("3"), size: 10 }, real], undefined]],
    ["the image itself", [[image, real], undefined]],
    ["an image that is about nothing", [[other, real], undefined]],
    ["the same one twice", [[real, real], undefined]],
    ["null", [null, undefined]],
    ["a wrong size", [[{ ...real, size: 1 }], /size|larger/]],
    ["a size beyond all measure", [[{ ...real, size: 5_000_000 }], /too large: expected at most 4194304 bytes/]],
    ["a digest of an unknown kind", [[{ mediaType: MANIFEST, digest: "sha999:zz", size: 1 }, real], undefined]],
    ["a digest that is none", [[{ mediaType: MANIFEST, digest: "sha256:zz", size: 1 }], /digest "sha256:zz"/]],
  ]);
  for (const [name, [manifests, message]] of answers) {
    const spoil = { path, status: 200, headers, body: list(manifests) };
    const fake = await startFakeRegistry({ images, tags: { "1.0": image }, referrersApi: true, spoil });
    const ref = `${fake.host}/lab/bb:1.0`;
    const { error, has, images: locked } = await lockImages(scratch(t), [{ ref, insecure: true }]);
    await fake.close();
    if (message === undefined) {
      t.equal(error, undefined, name);
      t.notOk(has(other), name);
      t.equal(locked[0]?.referrers.length, manifests === null ? 0 : 1, name);
    } else {
      t.match(error?.message, message, name);
      t.match(error?.message, ref, name);
    }
  }
});
