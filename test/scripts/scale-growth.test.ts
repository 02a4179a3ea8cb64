/** Exponents and limits of scripts/bench scale. */
import t from "tap";
import { type Growth, growthOf, isWithin, tableOf } from "../../scripts/bench-parts/scale-growth.ts";

const MIB = 1024 ** 2;
const made = (more: Partial<Growth>): Growth =>
  growthOf({
    of: "entries",
    verb: "verify",
    sizes: [1, 4, 16, 64],
    cpuSeconds: [0.5, 0.6, 2, 8],
    peakBytes: [100 * MIB, 100 * MIB, 116 * MIB, 164 * MIB],
    ...more,
  });

t.test("growthOf() takes exponent and slope between the two largest sizes", async (t) => {
  const { exponent, bytesEach } = made({});
  t.equal(exponent?.toFixed(3), "1.000");
  t.equal(bytesEach, MIB);
  t.match(growthOf({ of: "bytes", verb: "lock", sizes: [1], cpuSeconds: [1], peakBytes: [1] }), {
    exponent: undefined,
  });
});

t.test("isWithin() marks what grows too fast, or takes too much", async (t) => {
  t.ok(isWithin(made({})));
  t.notOk(isWithin(made({ cpuSeconds: [0.5, 0.6, 2, 8.7] })), "n^1.06");
  t.ok(isWithin(made({ cpuSeconds: [0.2, 0.3, 0.5, 3] })), "start-up");
  t.ok(isWithin(made({ peakBytes: [0, 0, 0, 400_000_000] })));
  t.notOk(isWithin(made({ peakBytes: [0, 0, 0, 400_000_001] })));
  const none = made({ sizes: [], cpuSeconds: [], peakBytes: [] });
  t.notOk(isWithin(none), "what was not measured keeps nothing");
  t.match(tableOf([none], undefined)[1], /not run/);
});

t.test("tableOf() says what is above its limit, and how CPU changed since the baseline", async (t) => {
  const before = { measured: "", commit: "", machine: {} as never, rows: [made({ cpuSeconds: [1, 1, 1, 4] })] };
  const [head, fine, slow] = tableOf([made({}), made({ verb: "pack", cpuSeconds: [1, 1, 2, 20] })], before);
  t.match(head, /exponent/);
  t.match(fine, /n\^1\.00.* ok .*\+100 % CPU/);
  t.match(slow, /TIME/);
});
