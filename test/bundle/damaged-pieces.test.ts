import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { unpack } from "../../src/unpack.ts";
import { verify } from "../../src/verify.ts";
import { makeBundle, makeKey, noise } from "../fixtures/bundle-maker.ts";
import { flip } from "../fixtures/bundle-tamper.ts";

const MIB = 1024 * 1024;
const root = t.testdir();
const key = makeKey();
const trust = [join(root, "key.pub")];
writeFileSync(join(root, "key.pub"), key.pem);
const files = {
  "files/a": noise(3000, 1),
  "files/b": noise(4000, 2),
  "isos/big.iso": noise(6 * MIB + 5, 3),
  "files/c": noise(2000, 4),
};

/** A bundle whose one entry of several pieces is in three volumes, from byte 9,728 of the first on. */
function bundle(name: string) {
  const dir = join(root, name);
  const { inventory } = makeBundle(dir, { files, keys: [key], volumeSize: 3 * MIB });
  const offset = inventory.entries.find((it) => it.path === "isos/big.iso")?.offset ?? 0;
  /** Flips a bit of the stream. */
  const spoil = (position: number) =>
    flip(join(dir, `data.tar.000${Math.floor(position / (3 * MIB))}`), position % (3 * MIB));
  return { dir, offset, spoil };
}

t.test("damage is told by the piece, by verify and by unpack", async (t) => {
  const { dir, offset, spoil } = bundle("two");
  spoil(offset + 4 * MIB + 9);
  spoil(offset + 5 * MIB);
  const { problems } = await verify([dir], { trust });
  const told = /damaged in bytes \d+ to \d+ \(pieces 4 to 5 of "isos\/big\.iso"\); touches "isos\/big\.iso"$/;
  t.match(problems, [{ code: "ERR_DIGEST_MISMATCH", path: "data.tar.0001", message: told }]);
  t.equal(problems.length, 1);
  await t.rejects(unpack([dir], { trust, store: join(root, "s1") }), {
    message: /\(pieces 4 to 5 of "isos\/big\.iso"\)/,
  });
});

t.test("a piece in two volumes blames the one that is wrong", async (t) => {
  const { dir, offset, spoil } = bundle("across");
  spoil(offset + 2 * MIB + 5);
  const { problems } = await verify([dir], { trust });
  const told = /bytes 2\d+ to 3145728 \(piece 2 of "isos\/big\.iso"\)/;
  t.match(problems, [{ path: "data.tar.0000", message: told }]);
  t.equal(problems.length, 1);
});

t.test("with volumes missing, what is whole in the others is told, small entries too", async (t) => {
  const { dir, offset, spoil } = bundle("part");
  rmSync(join(dir, "data.tar.0001"));
  spoil(offset + 9);
  const first = await verify([dir], { trust, partial: true });
  t.match(first.problems, [{ path: "data.tar.0000", message: /\(piece 0 of "isos\/big\.iso"\); touches "isos/ }]);
  await t.rejects(unpack([dir], { trust, store: join(root, "s2") }), { message: /piece 0 of "isos\/big\.iso"/ });
  const small = bundle("small");
  rmSync(join(small.dir, "data.tar.0001"));
  small.spoil(600);
  const second = await verify([small.dir], { trust, partial: true });
  t.match(second.problems, [{ message: /damaged in bytes 512 to 3512; touches "files\/a"$/ }]);
});

t.test("what is not narrowed down stays as it was told before", async (t) => {
  const { dir, spoil } = bundle("frame");
  spoil(3);
  const { problems } = await verify([dir], { trust });
  t.match(problems, [{ message: /damaged in byte 3; touches "files\/a"$/ }]);
});
