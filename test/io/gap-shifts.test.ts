/** By how much bytes between gaps may be shifted. */
import t from "tap";
import { likelyShifts } from "../../src/io/gap-shifts.ts";

/** How many are tried before it. */
const place = (shift: number, lost: number, units: number[] = []) => [...likelyShifts(lost, units)].indexOf(shift);

t.test("datagrams of one size are tried early", async (t) => {
  for (const [lost, shift] of [
    [2800, 1400],
    [14 * 1400, 5 * 1400],
    [100 * 1472, 37 * 1472],
    [65536 * 3, 65536],
  ] as const)
    t.ok(place(shift, lost) >= 0 && place(shift, lost) < 300, `${shift} of ${lost}: ${place(shift, lost)}`);
  t.ok(place(-700, -2100) < 10, "bytes that were added");
});

t.test("sizes that were seen come first, and each shift once", async (t) => {
  t.equal(place(900, 900 * 7 + 13, [900]), 0);
  t.ok(place(-900, 0, [900]) >= 0, "one lost and one twice");
  const all = [...likelyShifts(1001, [77])];
  t.equal(new Set(all).size, all.length);
  for (let it = 1; it < 1001; it++) if (!all.includes(it)) t.fail(`${it}`);
  t.same([...likelyShifts(0, [])], []);
});
