import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import { DigestSet } from "../../src/io/digest-set.ts";

const digests = Array.from({ length: 3000 }, (_, it) => digestOf(`${it}`));

t.test("a set of digests is a Set of them", async (t) => {
  const set = new DigestSet(digests);
  const twin = new Set(digests);
  t.equal(set.size, 3000);
  set.add(digests[7]!);
  t.equal(set.size, 3000, "one of them again");
  t.ok(digests.every((it) => set.has(it)));
  t.notOk(set.has(digestOf("other")));
  for (const it of digests.slice(0, 1000)) {
    t.equal(set.delete(it), twin.delete(it));
    if (set.has(it)) t.fail("it was deleted");
  }
  t.notOk(set.delete(digestOf("other")));
  t.notOk(set.delete(digests[0]!), "twice");
  t.strictSame([...set], [...twin]);
  t.strictSame([...set.sorted()], [...twin].sort());
  set.add(digests[3]!);
  t.ok(set.has(digests[3]!));
  t.equal(set.size, 2001);
  t.strictSame([...new DigestSet()], []);
});

t.test("a digest keeps its place in the set", async (t) => {
  const set = new DigestSet(digests);
  for (const [index, it] of digests.entries()) if (set.indexOf(it) !== index) t.fail(`${index}`);
  t.equal(set.indexOf(digestOf("other")), -1);
});
