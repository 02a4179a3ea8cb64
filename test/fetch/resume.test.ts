/** What is taken up again: Content-Range, and validators of their own URL. */
import t from "tap";
import { parseContentRange, planResume } from "../../src/fetch/resume.ts";

t.test("parseContentRange() accepts only what makes sense", (t) => {
  t.strictSame(parseContentRange("bytes 0-0/1"), { start: 0, end: 0, size: 1 });
  t.strictSame(parseContentRange("bytes 5-9/*"), { start: 5, end: 9, size: undefined });
  t.strictSame(parseContentRange("bytes */7"), { start: undefined, end: undefined, size: 7 });
  for (const bad of [
    undefined,
    "",
    "bytes",
    "bytes 1-0/5",
    "bytes 0-5/5",
    "bytes */*",
    "bytes 0-1/2, 3-4/5",
    "octets 0-0/1",
    "bytes -1-0/5",
  ]) {
    t.equal(parseContentRange(bad), undefined, String(bad));
  }
  t.end();
});

t.test("planResume() uses a validator for its own URL only", (t) => {
  const validator = { url: "a", etag: '"x"', lastModified: "y" };
  t.strictSame(planResume(0, "a", validator, true, true), { kind: "whole", restart: false });
  t.strictSame(planResume(5, "a", validator, false, true), { kind: "rest", from: 5, ifRange: '"x"' });
  t.strictSame(planResume(5, "b", validator, true, true), { kind: "rest", from: 5, ifRange: undefined });
  t.strictSame(planResume(5, "b", validator, false, true), { kind: "whole", restart: true });
  t.strictSame(planResume(5, "a", undefined, false, true), { kind: "whole", restart: true });
  t.strictSame(planResume(5, "a", validator, true, false), { kind: "whole", restart: false });
  t.end();
});
