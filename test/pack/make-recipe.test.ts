/** Recipes put together in memory give what they were made of, whatever was found. */
import { test } from "tap";
import { type Digest, digestOf } from "../../src/io/digest.ts";
import type { DigestedFile } from "../../src/pack/iso-digests.ts";
import { makeRecipe } from "../../src/pack/make-recipe.ts";
import { seededBytes } from "../fixtures/program.ts";
import { inMemory } from "../fixtures/rpm-files.ts";
import { seeded } from "../fixtures/seeded.ts";

const PART = { digest: digestOf("part"), size: 0 };

/** A file of a made image. */
function fileAt(image: Buffer, ...extents: [offset: number, size: number][]): DigestedFile & { bytes: Buffer } {
  const bytes = Buffer.concat(extents.map(([offset, size]) => image.subarray(offset, offset + size)));
  const ranges = extents.map(([offset, size]) => ({ offset, size }));
  return { digest: digestOf(bytes), size: bytes.length, extents: ranges, bytes };
}

/** Makes a recipe and follows it. `held`: content of the far side, each behind so many other bytes. */
async function build(image: Buffer, files: readonly (DigestedFile & { bytes: Buffer })[], held: ReadonlySet<Digest>) {
  const blobs = new Map<Digest, Buffer>();
  const recipe = await makeRecipe(inMemory(image), files, (digest, size) => {
    const file = files.find((it) => it.digest === digest);
    if (file === undefined || !held.has(digest)) return undefined;
    const blob = Buffer.concat([Buffer.from("12345"), file.bytes, Buffer.from("more")]);
    const source = { digest: digestOf(blob), size: blob.length };
    blobs.set(source.digest, blob);
    return size === file.size ? { source, offset: 5 } : undefined;
  });
  const part = Buffer.concat(recipe.carried.map((it) => image.subarray(it.offset, it.offset + it.size)));
  const ranges = recipe.ranges({ ...PART, size: part.length });
  const made = ranges.map(({ source, offset, length }) => {
    if (source === undefined) return Buffer.alloc(length);
    const from = source.digest === PART.digest ? part : (blobs.get(source.digest) as Buffer);
    return from.subarray(offset, offset + length);
  });
  return { recipe, ranges, made: Buffer.concat(made), carriedBytes: part.length };
}

test("a recipe takes files from where they are, zeros from nowhere, and carries the rest once", async (t) => {
  const image = Buffer.alloc(64 * 2048);
  seededBytes(1, 2048).copy(image, 0);
  seededBytes(2, 5000).copy(image, 8 * 2048);
  seededBytes(3, 9000).copy(image, 20 * 2048);
  const files = [fileAt(image, [8 * 2048, 5000]), fileAt(image, [20 * 2048, 9000])];
  const { recipe, ranges, made, carriedBytes } = await build(image, files, new Set([files[0]!.digest]));
  t.ok(made.equals(image));
  t.same(recipe.carried, [
    { offset: 0, size: 2048 },
    { offset: 20 * 2048, size: 5 * 2048 },
  ]);
  t.equal(recipe.carriedBytes, carriedBytes);
  t.equal(ranges.length, 6, "carried, zeros, file, zeros, carried, zeros");
  const none = await build(image, files, new Set());
  t.ok(none.made.equals(image));
  const all = await build(image, [fileAt(image, [0, 64 * 2048])], new Set([digestOf(image)]));
  t.ok(all.made.equals(image));
  t.same(all.recipe.carried, []);
  t.equal(all.ranges.length, 1);
});

test("files of several extents take one operation each, and neighbours in one source become one", async (t) => {
  const image = seededBytes(5, 40 * 2048);
  const apart = fileAt(image, [0, 4096], [8192, 2048]);
  const first = await build(image, [apart], new Set([apart.digest]));
  t.ok(first.made.equals(image));
  t.equal(first.ranges.length, 4);
  const source = { digest: digestOf("old"), size: 100_000 };
  const pair = [fileAt(image, [2048, 4096]), fileAt(image, [6144, 2048])];
  const joined = await makeRecipe(inMemory(image), pair, (digest) => ({
    source,
    offset: digest === pair[0]!.digest ? 500 : 4596,
  }));
  t.same(joined.ranges(PART)[1], { source, offset: 500, length: 6144 });
});

test("any image of any files is made again", async (t) => {
  const random = seeded(42);
  for (let round = 0; round < 60; round++) {
    const image = Buffer.alloc(2048 * (1 + random(40)) + random(2048));
    const files: (DigestedFile & { bytes: Buffer })[] = [];
    let held = new Set<Digest>();
    for (let at = random(5000); at < image.length; at += random(9000)) {
      const size = Math.min(image.length - at, 1 + random(8000));
      if (random(3) > 0) seededBytes(round * 100 + at, size).copy(image, at);
      files.push(fileAt(image, [at, size]));
      at += size;
    }
    held = new Set(files.filter(() => random(2) === 0).map((it) => it.digest));
    const { made, ranges } = await build(image, files, held);
    if (!made.equals(image)) t.fail(`round ${round}: ${JSON.stringify(ranges)}`);
  }
});
