/** The text of an inventory in pieces. */
import t from "tap";
import { CanonicalReader } from "../../src/bundle/inventory-text.ts";

/** From this size on a list is read by parts. */
const LONG_BYTES = 512 * 1024;

t.test("what is read is the same wherever pieces end", async (t) => {
  const start = '{"ext":1,"entries":[],"catalog":{"isos":[],"provenance":[';
  const end = '"}],"later":1}]}}';
  // A member that this version does not know looks like the end of the list, where a long one begins.
  const item = `{"x":[{"a":"${"b".repeat(LONG_BYTES - '{"x":[{"a":"'.length - '"}'.length - 1)}`;
  const bytes = Buffer.from(start + item + end);
  for (let cut = start.length + LONG_BYTES - 2; cut < start.length + LONG_BYTES + 6; cut++) {
    const lines: unknown[] = [];
    const reader = new CanonicalReader([() => {}, (items) => lines.push(...items)]);
    reader.push(bytes.subarray(0, cut));
    reader.push(bytes.subarray(cut));
    t.same(reader.finish(), { ext: 1, entries: [], catalog: { isos: [], provenance: [] } }, `${cut}`);
    t.equal(lines.length, 1);
  }
});
