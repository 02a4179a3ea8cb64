/** Lists of a tree's objects: read back as they were written, and nothing else. */
import t from "tap";
import { digestOf } from "../../src/io/digest.ts";
import {
  digestOfPlan,
  formatRecords,
  headersKey,
  type ObjectRecord,
  parseRecords,
  STATE_BYTES,
} from "../../src/tree/object-record.ts";

const record = (key: string, more: Partial<ObjectRecord> = {}): ObjectRecord => ({
  key,
  size: 1,
  digest: digestOf(key),
  step: 0,
  headers: { contentType: "text/plain", metadata: { "docker-content-digest": digestOf(key) } },
  etag: '"x"',
  sha256: undefined,
  ...more,
});

function format(records: readonly ObjectRecord[], most = 1e6): Buffer {
  return formatRecords(records, most) ?? Buffer.from("too long");
}

t.test("what was written is read back", async (t) => {
  const records = [record("files/ä b\n"), record("v2/x", { headers: { redirect: "/y" }, sha256: "abc=-2", step: 4 })];
  const read = parseRecords(format(records));
  t.match([...(read?.values() ?? [])], records);
  t.strictSame([...(parseRecords(Buffer.alloc(0))?.keys() ?? [])], []);
  t.equal(digestOfPlan([...(read?.values() ?? [])].reverse()), digestOfPlan(records), "in any order");
  t.not(digestOfPlan([record("a")]), digestOfPlan([record("a", { headers: {} })]), "headers count");
  t.equal(headersKey({ headers: { metadata: {} } }), headersKey({ headers: {} }));
});

t.test("a list has a bound, whatever a storage calls the objects", async (t) => {
  const planned = { etag: undefined };
  const bytes = format([record("a", planned)]).length;
  t.equal(formatRecords([record("a", planned)], bytes - 1), undefined);
  const usual = { etag: `"${"0".repeat(32)}-10000"`, sha256: `${"A".repeat(43)}=-10000` };
  t.match(parseRecords(format([record("a", usual)]))?.get("a"), usual);
  for (const it of [
    usual,
    { etag: '"'.repeat(300) },
    { etag: "x", sha256: "\0".repeat(50) },
    { etag: "x".repeat(5000) },
  ]) {
    const read = parseRecords(format([record("a", it)], bytes + STATE_BYTES));
    t.equal(read?.get("a")?.key, "a", JSON.stringify(it).slice(0, 40));
  }
});

t.test("a list that is something else is none", async (t) => {
  const good = format([record("a")]).toString();
  for (const text of [
    good.slice(0, -1),
    `${good}{}\n`,
    `${good}[1]\n`,
    good.replace('"a",1', '"a",-1'),
    good.replace(/[0-9a-f]{64}/, "x"),
    good.replace('"text/plain"', "1"),
    good.replace('"contentType"', '"other"'),
    `["${"k".repeat(5000)}"${good.slice(4)}`,
    `${"[".repeat(10_000)}\n`,
  ])
    t.equal(parseRecords(Buffer.from(text)), undefined, text.slice(0, 60));
});
