/** The same as rpm-repoclosure.test.ts of two repositories that need each other. */
import t from "tap";
import { APPSTREAM, BASEOS, withCs9 } from "../fixtures/cs9.ts";
import { judgeSample } from "../fixtures/repoclosure.ts";

t.test("subsets of joint: clean with conditions left out, else flagged is what is reported", withCs9, (t) =>
  judgeSample(t, "joint", [APPSTREAM, BASEOS]),
);
