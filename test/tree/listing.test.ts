/** The listing of a tree: no path leaves it, and none is both a file and a folder. */
import t from "tap";
import { digestOf, EMPTY_DIGEST } from "../../src/io/digest.ts";
import { Listing } from "../../src/tree/listing.ts";

const place = { digest: EMPTY_DIGEST };

t.test("illegal paths are left out, with the reason", async (t) => {
  const listing = new Listing();
  const bad = [
    "",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a//b",
    "./a",
    "a\\b",
    "a\u0000b",
    "a\nb",
    "c:/x",
    "x".repeat(256),
  ];
  for (const it of bad) t.notOk(listing.add("tree/", it, place), JSON.stringify(it));
  t.equal(listing.leftOut, bad.length);
  t.equal(listing.places.size, 0);
  t.match(listing.notes.join("\n"), /^tree\/a\\u\{a\}b: it has a control or invisible character$/m, "shown safely");
  for (const it of ["a b", "ü/é", "a'\"$;{}", ".treeinfo", "ab:c@d", "-rf"]) t.ok(listing.add("tree/", it, place), it);
});

t.test("a file and a folder of one name exclude each other", async (t) => {
  const listing = new Listing();
  t.ok(listing.add("tree/", "files/a", place));
  t.notOk(listing.add("tree/", "files/a/b", place));
  t.notOk(listing.add("tree/", "files/a", place), "twice");
  t.ok(listing.add("tree/", "files/x/y/z", place));
  t.notOk(listing.add("tree/", "files/x", place));
  listing.addFolder("tree/files/a/inside");
  t.strictSame([...listing.folders].sort(), ["tree", "tree/files", "tree/files/x", "tree/files/x/y"]);
  t.strictSame(listing.notes, [
    "tree/files/a/b: tree/files/a is a file",
    "tree/files/a: another file has this name",
    "tree/files/x: a folder has this name",
    "tree/files/a/inside: tree/files/a is a file",
  ]);
});

t.test("what is left out is counted, and the first are named", async (t) => {
  const listing = new Listing();
  for (let i = 0; i < 100; i++) listing.add("tree/", `../${i}`, place);
  t.equal(listing.leftOut, 100);
  t.equal(listing.notes.length, 20);
});

t.test("its digest is of all that is in it, in any order", async (t) => {
  const of = (...pairs: [string, string][]) => {
    const listing = new Listing();
    for (const [path, text] of pairs)
      listing.add("", path, text.startsWith(">") ? { link: text.slice(1) } : { digest: digestOf(text) });
    return listing.digest();
  };
  const one = of(["a", "1"], ["b", "2"]);
  t.equal(of(["b", "2"], ["a", "1"]), one);
  for (const other of [
    of(["a", "1"]),
    of(["a", "1"], ["b", "3"]),
    of(["a", "1"], ["b", ">2"]),
    of(["a", "1"], ["c", "2"]),
  ])
    t.not(other, one);
});
