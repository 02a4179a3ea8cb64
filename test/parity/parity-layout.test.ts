import t from "tap";
import { layOutParity, partsOf } from "../../src/parity/parity-layout.ts";

const GIB = 1024 ** 3;
const one = (size: number) => [{ name: "data.tar.0000", size }];

t.test("there are about 2,000 blocks, of whole sectors", async (t) => {
  for (const size of [1, 4096, 4097, 10_000_000, GIB, 4095 * 1024 ** 2, 100 * GIB]) {
    const { blockSize, blocks, recovery } = layOutParity(one(size), 5, "b", Number.POSITIVE_INFINITY);
    t.equal(blockSize % 4096, 0);
    t.ok(blocks <= 2000 && (blocks > 1990 || blockSize <= 1024 ** 2), `${size}: ${blocks}`);
    t.equal(recovery, Math.max(1, Math.ceil(blocks / 20)));
  }
});

t.test("ten thousand volumes have no more blocks than the format allows", async (t) => {
  const volumes = Array.from({ length: 10_000 }, (_, index) => ({ name: `data.tar.${index}`, size: 4095 * 1024 ** 2 }));
  const { blocks, recovery, parity } = layOutParity(volumes, 100, "data.set", 4095 * 1024 ** 2);
  t.ok(blocks <= 32_768);
  t.equal(recovery, blocks);
  t.ok(parity.every((it) => it.size <= 4095 * 1024 ** 2));
  t.equal(
    parity.reduce((sum, it) => sum + it.count, 0),
    recovery,
  );
});

t.test("recovery files are divided evenly, in the order of exponents, and not below 1 MiB", async (t) => {
  const { parity, recovery } = layOutParity(one(4 * GIB), 100, "data.0000", GIB);
  t.equal(parity.length, 5);
  let next = 0;
  for (const it of parity) {
    t.equal(it.from, next);
    t.ok(it.size <= GIB);
    next += it.count;
  }
  t.equal(next, recovery);
  t.equal(layOutParity(one(900_000), 100, "data.0000", 1).parity.length, 1);
});

t.test("each file has the description three times and its own blocks once", async (t) => {
  t.strictSame(partsOf({ name: "", size: 0, from: 4, count: 3 }), [null, 4, 5, null, 6, null]);
  t.strictSame(partsOf({ name: "", size: 0, from: 0, count: 1 }), [null, 0, null, null]);
});
