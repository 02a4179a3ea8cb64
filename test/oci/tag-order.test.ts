/** Which tags are newer. */
import t from "tap";
import { tagsNewestFirst } from "../../src/oci/tag-order.ts";

t.test("newestFirst() sorts versions as people mean them", async (t) => {
  for (const [sorted, why] of new Map([
    [["v1.29.10", "v1.29.9", "v1.29.9-rc.1"], "numbers, and pre-releases before releases"],
    [["3.10", "3.9.1", "3.9", "3"], "fewer parts than semver wants"],
    [["3.5.15-0", "3.5.12-0"], "what looks like a pre-release and is none"],
    [["2.0.0", "1.99.99", "v1.99.98", "latest", "edge"], "names are older than versions"],
    [["20260102", "20251231"], "dates"],
    [["1.2.3.10", "1.2.3.9"], "four parts"],
    [["1.0.0+build.2", "1.0.0+build.1", "1.0.0"], "build metadata"],
    [["99999999999999999999.1", "99999999999999999999.0"], "more than a number can hold"],
  ] as [string[], string][])) {
    const shuffled = [...sorted].sort();
    t.strictSame(tagsNewestFirst(shuffled), sorted, why);
    t.strictSame(tagsNewestFirst(shuffled.reverse()), sorted, `${why}, whatever the order`);
  }
});
