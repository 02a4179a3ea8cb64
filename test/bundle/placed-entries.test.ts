import t from "tap";
import { EntryTable } from "../../src/bundle/entry-table.ts";
import { ContentSet, PlacedEntries } from "../../src/bundle/placed-entries.ts";
import { digestOf } from "../../src/io/digest.ts";

const entry = (path: string, of: string, offset?: number) => {
  const one = { path, size: of.length, mode: "0644" as const, digest: digestOf(of) };
  return offset === undefined ? { ...one, from: "bundle" as const } : { ...one, offset };
};
/** `b` and `c` have the same bytes, and both are carried; `d` as well, and is not. */
const table = EntryTable.from([
  entry("a", "x", 4608),
  entry("b", "yy", 3072),
  entry("c", "yy", 512),
  entry("d", "yy"),
  entry("e", "zzz", 1536),
]);

t.test("placed entries come in the order of the stream", async (t) => {
  const all = PlacedEntries.in(table);
  t.equal(all.length, 4);
  t.strictSame(
    Array.from(all, (it) => it.path),
    ["c", "e", "b", "a"],
  );
  t.strictSame([...all][0], entry("c", "yy", 512));
  t.equal(all.bytes, 8);
  t.equal(all.largest, 3);
  t.strictSame(
    Array.from(all.unique, (it) => it.path),
    ["c", "e", "a"],
  );
  t.strictSame([...all.repeats], [3072]);
  t.strictSame([...all.unique.repeats], []);
  const some = all.filter((it) => table.pathAt(it) !== "c");
  t.strictSame(
    Array.from(some, (it) => it.path),
    ["e", "b", "a"],
  );
  t.equal(PlacedEntries.in(EntryTable.from([])).largest, 0);
});

t.test("a set of contents has all entries with the same bytes", async (t) => {
  const set = new ContentSet(table);
  t.notOk(set.has(digestOf("yy")));
  t.ok(set.addEntry(1));
  t.notOk(set.addEntry(3), "it is there");
  t.ok([1, 2, 3].every((it) => set.hasEntry(it)));
  t.notOk(set.hasEntry(0));
  t.ok(set.has(digestOf("yy")));
  t.notOk(set.has(digestOf("other")));
  set.delete(digestOf("other"));
  set.delete(digestOf("yy"));
  t.notOk(set.hasEntry(2));
});
