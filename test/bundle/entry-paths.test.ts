import t from "tap";
import { checkEntryPaths, compareUtf8, printable } from "../../src/bundle/entry-paths.ts";

t.test("checkEntryPaths() finds collisions, and tells of case twins without refusing them", async (t) => {
  const codes = (paths: string[]) => checkEntryPaths(paths).problems.map((it) => it.message);
  t.match(codes(["a/b", "a/b"]), [/twice/]);
  t.match(codes(["a", "a/b"]), [/as a directory/]);
  t.match(codes(["a/b/c", "x", "a/b"]), [/as a directory/]);
  t.same(codes(["a/b", "a/c", "ab"]), []);
  t.same(checkEntryPaths(["f/README", "f/readme"]), { problems: [], caseTwins: [["f/README", "f/readme"]] });
  t.same(checkEntryPaths(["f/README", "f/readme"], { twins: false }), { problems: [], caseTwins: [] });
});

t.test("compareUtf8() orders as bytes do", async (t) => {
  const texts = ["", "a", "a/b", "a-b", "ab", "é", "\ue000", "\uffff", "😀", "a😀", "a\uffff", "Z", "~", "日"];
  for (const a of texts) {
    for (const b of texts) {
      t.equal(Math.sign(compareUtf8(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), JSON.stringify([a, b]));
    }
  }
});

t.test("printable() disarms text", async (t) => {
  t.equal(printable("a\u001b[2Jb"), "a\\u{1b}[2Jb");
  t.equal(printable("x".repeat(400)).length, 301);
  t.equal(printable("a\ud800"), "a\\u{d800}");
});
