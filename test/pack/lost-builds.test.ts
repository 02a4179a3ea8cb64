/** A need file lists what was lost: what recipes make of that is lost as well, and all else they take is there. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { findHeld } from "../../src/pack/held-there.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";

const MIB = 1024 * 1024;
const old = noise(3 * MIB, 1);
const part = noise(MIB, 2);
const built = Buffer.concat([old.subarray(0, MIB), part]);
const mended = Buffer.concat([noise(MIB, 3), part, noise(5000, 4)]);
const files = {
  "files/other": noise(5000, 5),
  "isos/built.iso": built,
  "isos/mended.iso": mended,
  "recipes/part": part,
};
const out = t.testdir();
const { digest } = makeBundle(join(out, "test-000001"), {
  files,
  keys: [makeKey()],
  built: {
    "isos/built.iso": [
      [old, 0, MIB],
      [part, 0, MIB],
    ],
    "isos/mended.iso": [
      [mended, 0, MIB],
      [part, 0, MIB],
      [mended, 2 * MIB, 5000],
    ],
  },
});
const heldWithout = (lost: Buffer) =>
  findHeld(
    {
      by: "need",
      name: "need",
      need: {
        releases: [{ stream: "test", epoch: 1, serial: 1, digest }],
        blobs: [{ digest: digestOf(lost), size: lost.length }],
      },
    },
    { out, stream: "test", serial: 2, report: () => {} },
  );

t.test("what takes nothing of it is there", async (t) => {
  const held = await heldWithout(files["files/other"]);
  t.equal(held?.has(digestOf(files["files/other"])), false);
  for (const it of [built, mended, part]) t.equal(held?.has(digestOf(it)), true);
});

t.test("what takes a part of it is not, but all its other sources are", async (t) => {
  const held = await heldWithout(part);
  t.equal(held?.has(digestOf(files["files/other"])), true);
  for (const it of [built, mended, part]) t.equal(held?.has(digestOf(it)), false);
  t.equal(held?.has(digestOf(old)), true, "in no entry of the bundle");
  t.equal(held?.isListed(digestOf(built)), false, "it may be built again");
  t.same(held?.piecesListed(digestOf(mended)), [{ first: 1, count: 1 }], "of its own pieces the others are there");
});

t.test("without the recipes nothing that is built counts as there", async (t) => {
  rmSync(join(out, "test-000001/data.recipes"));
  const held = await heldWithout(part);
  for (const it of [built, mended, part, old]) t.equal(held?.has(digestOf(it)), false);
});
