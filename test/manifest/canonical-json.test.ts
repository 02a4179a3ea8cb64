/** Canonical JSON whole and in pieces. */
import t from "tap";
import { canonicalJson, canonicalPieces } from "../../src/manifest/canonical-json.ts";

const VALUE = {
  b: [{ z: 1, a: "two\nlines", m: undefined }, [], {}, [[1, null, "x"]], { deep: { er: [{ y: 1, x: { w: [] } }] } }],
  a: { "10": 1, "9": 2, c: true, "": null, ü: "\u2028" },
  empty: [],
  none: {},
  gone: undefined,
  text: "line\nbreak",
};

t.test("canonicalPieces() gives the text of canonicalJson()", async (t) => {
  for (const indent of [1, 2])
    for (const levels of [0, 1, 2, 3, 10])
      t.equal([...canonicalPieces(VALUE, indent, levels)].join(""), canonicalJson(VALUE, indent), `${levels} levels`);
});

t.test("canonicalPieces() makes members of an iterable on demand, and pieces of a bounded length", async (t) => {
  const made = (count: number) => ({
    *[Symbol.iterator]() {
      for (let i = 0; i < count; i++) yield { name: `number ${i}`, also: "x".repeat(100) };
    },
  });
  const pieces = [...canonicalPieces({ list: made(5000), none: made(0) }, 1, 2)];
  t.equal(pieces.join(""), canonicalJson({ list: [...made(5000)], none: [] }, 1));
  t.ok(pieces.length > 5);
  t.ok(pieces.every((it) => it.length < 70_000));
});
