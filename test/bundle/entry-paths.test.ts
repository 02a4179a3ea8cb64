import t from "tap";
import { checkEntryPaths, printableName } from "../../src/bundle/entry-paths.ts";

t.test("checkEntryPaths() finds collisions, and tells of case twins without refusing them", async (t) => {
  const codes = (paths: string[]) => checkEntryPaths(paths).problems.map((it) => it.message);
  t.match(codes(["a/b", "a/b"]), [/twice/]);
  t.match(codes(["a", "a/b"]), [/as a directory/]);
  t.match(codes(["a/b/c", "x", "a/b"]), [/as a directory/]);
  t.same(codes(["a/b", "a/c", "ab"]), []);
  t.same(checkEntryPaths(["f/README", "f/readme"]), { problems: [], caseTwins: [["f/README", "f/readme"]] });
});

t.test("printableName() disarms text, and cuts it", async (t) => {
  t.equal(printableName("a\u001b[2Jb"), "a\\u{1b}[2Jb");
  t.equal(printableName("x".repeat(400)).length, 301);
  t.equal(printableName("a\ud800"), "a\\u{d800}");
});
