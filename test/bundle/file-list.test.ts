/** data.files: what was written is read, and nothing else. */
import { test } from "tap";
import { formatFileList, parseFileList } from "../../src/bundle/file-list.ts";
import { type Digest, digestOf } from "../../src/io/digest.ts";

const ISOS = [
  {
    digest: digestOf("b"),
    size: 100_000,
    files: [
      { digest: digestOf("2"), size: 5000, offset: 4096 },
      { digest: digestOf("1"), size: 100_000, offset: 0 },
    ],
  },
  { digest: digestOf("a"), size: 2 ** 40, files: [{ digest: digestOf("3"), size: 2 ** 33, offset: 2 ** 32 }] },
];
const all = () => true;

test("a list gives the ISOs that are wanted", async (t) => {
  const bytes = formatFileList(ISOS);
  const found = parseFileList(bytes, all);
  t.same(new Set(found.map((it) => it.digest)), new Set(ISOS.map((it) => it.digest)));
  t.same(
    found.find((it) => it.digest === digestOf("b"))?.files.map((it) => it.offset),
    [0, 4096],
  );
  t.same(
    found.find((it) => it.digest === digestOf("a")),
    ISOS[1],
  );
  const wanted = (digest: Digest, size: number) => digest === digestOf("a") && size === 2 ** 40;
  t.equal(parseFileList(bytes, wanted).length, 1);
  t.same(parseFileList(Buffer.alloc(0), all), []);
  t.ok(formatFileList(found).equals(bytes), "the same content is the same bytes");
});

test("lists that are cut, unsorted or lie about places are refused", async (t) => {
  const bytes = formatFileList(ISOS);
  const changed = (change: (it: Buffer) => unknown) => {
    const copy = Buffer.from(bytes);
    change(copy);
    return copy;
  };
  const one = formatFileList([ISOS[0]!]);
  const two = formatFileList([ISOS[1]!]);
  const unsorted = one.compare(two) < 0 ? [two, one] : [one, two];
  const lists: [string, Buffer, RegExp][] = [
    ["cut in a head", bytes.subarray(0, 43), /within a record/],
    ["cut in a file", bytes.subarray(0, -1), /within a record/],
    ["count", changed((it) => it.fill(0xff, 40, 44)), /within a record/],
    ["order", Buffer.concat(unsorted), /not sorted/],
    ["twice", Buffer.concat([one, one]), /not sorted/],
    ["size", changed((it) => it.fill(0xff, 32, 40)), /above 2\^53-1/],
    [
      "place",
      (() => {
        const it = Buffer.from(one);
        it.writeBigUInt64BE(1n, 44 + 40);
        return it;
      })(),
      /outside/,
    ],
    [
      "files",
      (() => {
        const it = Buffer.from(one);
        it.copyWithin(44, 92, 140);
        return it;
      })(),
      /not sorted/,
    ],
  ];
  for (const [name, list, message] of lists) t.throws(() => parseFileList(list, all), { message }, name);
});
