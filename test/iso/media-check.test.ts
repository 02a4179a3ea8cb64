/** The sum that is embedded in an installation image: right, wrong, and claims that no program wrote. */
import { createHash } from "node:crypto";
import t from "tap";
import { readMediaCheck, verifyMediaCheck } from "../../src/iso/media-check.ts";

const SECTORS = 256;
const DESCRIPTOR = 16 * 2048;

/** An image of nothing but its size and what stands in the application's field. */
function imageOf(field: (md5: string) => string) {
  const bytes = Buffer.alloc(SECTORS * 2048, 7);
  bytes.writeUInt32BE(SECTORS, DESCRIPTOR + 84);
  bytes.fill(0x20, DESCRIPTOR + 883, DESCRIPTOR + 883 + 512);
  const md5 = createHash("md5").update(bytes).digest("hex");
  bytes.write(field(md5), DESCRIPTOR + 883, "latin1");
  return {
    md5,
    image: { size: bytes.length, read: async (at: number, length: number) => bytes.subarray(at, at + length) },
  };
}

t.test("verifyMediaCheck() computes the sum over all but the field that it stands in", async (t) => {
  const { md5, image } = imageOf((it) => `ISO MD5SUM = ${it};SKIPSECTORS = 0;RHLISOSTATUS=1;`);
  const check = await readMediaCheck(image);
  t.match(check, { md5, skipSectors: 0, fragmentCount: 0, supported: true });
  t.strictSame(check && (await verifyMediaCheck(image, check)), { ok: true, md5 });
  const other = imageOf(() => `ISO MD5SUM = ${"0".repeat(32)};SKIPSECTORS = 0;`).image;
  const wrong = await readMediaCheck(other);
  t.match(wrong && (await verifyMediaCheck(other, wrong)), { ok: false });
});

t.test("fragments of more digits than a sum has bytes are wrong, and no fault of the program", async (t) => {
  for (const [count, digits] of [
    [1, 60],
    [3, 60],
    [7, 60],
  ]) {
    const sums = "7".repeat(digits ?? 0);
    const { image } = imageOf(
      (it) => `ISO MD5SUM = ${it};SKIPSECTORS = 0;FRAGMENT SUMS = ${sums};FRAGMENT COUNT = ${count};`,
    );
    const check = await readMediaCheck(image);
    t.equal(check?.fragmentCount, count);
    t.match(check && (await verifyMediaCheck(image, check)), { ok: false, badFragment: Number }, `${count} fragments`);
  }
});

t.test("readMediaCheck() takes nothing that is no sum", async (t) => {
  for (const md5 of ["", "x".repeat(32), "A".repeat(32), "a".repeat(31)])
    t.equal(await readMediaCheck(imageOf(() => `ISO MD5SUM = ${md5};SKIPSECTORS = 0;`).image), undefined, md5);
  t.equal(await readMediaCheck(imageOf((it) => `ISO MD5SUM = ${it};SKIPSECTORS = -1;`).image), undefined);
});
