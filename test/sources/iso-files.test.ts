/** The files of an ISO as ranges of it: shared, overlapping, in several extents, and in images that lie. */
import { test } from "tap";
import { isoFiles } from "../../src/sources/iso-files.ts";
import { makeIso, NM, PX, type RecordSpec, SECTOR } from "../fixtures/iso-maker.ts";
import { seededBytes } from "../fixtures/program.ts";
import { inMemory } from "../fixtures/rpm-files.ts";

const file = (id: string, block: number, size: number, flags = 0): RecordSpec => ({
  id: `${id.toUpperCase()}.;1`,
  block,
  size,
  flags,
  use: Buffer.concat([NM(id), PX(0o100644)]),
});

const filesOf = async (records: RecordSpec[], blocks = 60) => {
  const image = makeIso(records, new Map([[30, seededBytes(1, 20 * SECTOR)]]), { blocks });
  return (await isoFiles(inMemory(image), "x.iso")).map(({ size, extents }) => [
    size,
    ...extents.map((it) => [it.offset / SECTOR, it.size]),
  ]);
};

test("files are listed in the order of their bytes, each once, without the smallest", async (t) => {
  t.same(
    await filesOf([
      file("b", 34, 3000),
      file("a", 30, 5000),
      file("link", 30, 5000),
      file("small", 40, 2047),
      file("none", 0, 0),
    ]),
    [
      [5000, [30, 5000]],
      [3000, [34, 3000]],
    ],
  );
});

test("extents that follow each other are one, and others are not", async (t) => {
  const more = 0x80;
  t.same(await filesOf([file("large", 30, 4096, more), file("large", 32, 4096, more), file("large", 34, 100)]), [
    [8292, [30, 8292]],
  ]);
  t.same(await filesOf([file("apart", 30, 4096, more), file("apart", 40, 2048)]), [[6144, [30, 4096], [40, 2048]]]);
});

test("of files that overlap the first counts, so that a lying image is hashed once", async (t) => {
  const many = Array.from({ length: 20 }, (_, index) => file(`f${index}`, 30, 40_960 - index * 2048));
  t.same(await filesOf(many), [[40_960, [30, 40_960]]]);
  t.same(await filesOf([file("a", 30, 5000), file("b", 31, 5000), file("c", 33, 5000)]), [
    [5000, [30, 5000]],
    [5000, [33, 5000]],
  ]);
});

test("what is no ISO, or points outside, has no files", async (t) => {
  t.same(await isoFiles(inMemory(seededBytes(1, 100_000)), "x"), []);
  t.same(await isoFiles(inMemory(Buffer.alloc(10)), "x"), []);
  t.same(await filesOf([file("a", 30, 5000), file("out", 70, 5000)]), []);
});
