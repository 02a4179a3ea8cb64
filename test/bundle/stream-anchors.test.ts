/** Places of entries in what came of volumes with gaps. */
import t from "tap";
import type { TableEntry } from "../../src/bundle/entry-table.ts";
import { findAnchors, placements } from "../../src/bundle/stream-anchors.ts";
import { headerBytes, layOut } from "../../src/bundle/tar-layout.ts";

const paths = [
  "files/a",
  `files/${"long/".repeat(60)}name`,
  `rpms/${"folder/".repeat(12)}${"x".repeat(60)}`,
  "files/Umlaut-ä",
];
const items = paths.map((path) => ({
  path,
  size: 700_000,
  mode: "0644" as const,
  digest: `sha256:${"0".repeat(64)}` as const,
}));
const { places, streamSize } = layOut(items);
const entries = items.map((it, index): TableEntry => ({ ...it, offset: places[index]?.offset ?? 0 }));
const tar = Buffer.alloc(streamSize, 7);
for (const [index, it] of items.entries()) headerBytes(it).copy(tar, places[index]?.headerOffset);
const find = (bytes: Buffer, known = entries) =>
  findAnchors(
    (at, length) => Buffer.from(bytes.subarray(at, at + length)),
    { from: 0, to: bytes.length },
    { get: (path) => known.find((it) => it.path === path) },
  );

t.test("headers of every form are found once, wherever they are", async (t) => {
  const expected = places.map(({ headerOffset }) => headerOffset);
  t.same(
    find(tar),
    expected.map((it) => ({ at: it, position: it })),
  );
  for (const before of [1, 511, 1024 * 1024 - 300, 1024 * 1024 - 2000])
    t.same(
      find(Buffer.concat([Buffer.alloc(before), tar])).map(({ at, position }) => [at - before, position]),
      expected.map((it) => [it, it]),
    );
});

t.test("a header that is not exactly that of an entry is none", async (t) => {
  const changed = Buffer.from(tar);
  for (const { offset } of places) changed[offset - 300] = 1;
  t.same(find(changed), []);
  const others = entries.map((it) => ({ ...it, size: it.size + 1 }));
  t.same(find(tar, others), []);
  t.same(find(tar.subarray(0, 400)), []);
});

t.test("bytes belong behind the place before them, or before the one behind them", async (t) => {
  const anchors = [
    { at: 100, position: 1000 },
    { at: 300, position: 1250 },
    { at: 500, position: 1450 },
  ];
  t.same(placements(anchors, { from: 100, to: 600 }, { known: { shift: 900, end: 4096 }, volumeSize: 4096 }), {
    placed: [
      { at: 100, position: 1050, length: 200 },
      { at: 300, position: 1250, length: 200 },
      { at: 500, position: 1450, length: 100 },
    ],
    between: [{ from: anchors[0], to: anchors[1] }],
  });
  const [first] = placements(anchors, { from: 0, to: 600 }, { known: undefined, volumeSize: 4096 }).placed;
  t.same(first, { at: 0, position: 900, length: 100 }, "what lies before the first place");
  const turned = placements(
    [
      { at: 0, position: 500 },
      { at: 10, position: 0 },
    ],
    { from: 0, to: 20 },
    { known: undefined, volumeSize: 4096 },
  );
  t.same(turned, { placed: [{ at: 10, position: 0, length: 10 }], between: [] }, "places in the wrong order");
  const two = [
    { at: 0, position: 0 },
    { at: 1512, position: 2000 },
  ];
  t.same(
    placements(two, { from: 0, to: 1600 }, { known: undefined, volumeSize: 1024 }),
    {
      placed: [
        { at: 0, position: 0, length: 1024 },
        { at: 536, position: 1024, length: 976 },
        { at: 1512, position: 2000, length: 48 },
      ],
      between: [],
    },
    "not beyond a volume",
  );
  const begin = placements([{ at: 50, position: 0 }], { from: 0, to: 60 }, { known: undefined, volumeSize: 4096 });
  t.same(begin.placed, [{ at: 50, position: 0, length: 10 }], "nothing is before the first byte");
});
