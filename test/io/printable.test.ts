import t from "tap";
import { columnsOf, printable, printableJson, printableJsonPieces, printableLines } from "../../src/io/printable.ts";

t.test("printable() keeps what a person reads and escapes what a terminal obeys", async (t) => {
  const shown = new Map([
    ["plain text, é, ж, 漢字, 🚢", "plain text, é, ж, 漢字, 🚢"],
    ["a\nverified  good", "a\\u{a}verified  good"],
    ["a\r\tb", "a\\u{d}\\u{9}b"],
    ["\u001b[2J\u009b31m\u007f", "\\u{1b}[2J\\u{9b}31m\\u{7f}"],
    ["\u2028\u2029", "\\u{2028}\\u{2029}"],
    ["\u202egnp.exe\u2066\u061c", "\\u{202e}gnp.exe\\u{2066}\\u{61c}"],
    ["a\u200b\u00ad\ufeff\u3164b", "a\\u{200b}\\u{ad}\\u{feff}\\u{3164}b"],
    ["\u{e0041}\ufe0f", "\\u{e0041}\\u{fe0f}"],
    ["\ud800x", "\\u{d800}x"],
    [`e${"\u0301".repeat(6)}`, `e${"\u0301".repeat(4)}\\u{301}\\u{301}`],
  ]);
  for (const [text, expected] of shown) {
    t.equal(printable(text), expected);
    t.equal(printable(printable(text)), expected, "twice is once");
  }
  t.equal(printable("abcdef", 3), "abc…");
  t.equal(printable("\n\n\n\n", 2), "\\u{a}\\u{a}…");
});

t.test("printableLines() keeps line feeds and tabs alone", async (t) => {
  t.equal(printableLines("a\n\tb\r\u001b\n"), "a\n\tb\\u{d}\\u{1b}\n");
});

t.test("printableJson() is the same value, and drives no terminal", async (t) => {
  const value = { "a\u009b": "\u202e\u2028\u{e0041}\u001b\n", b: [1, null, "é"] };
  for (const indent of [undefined, 2]) {
    const text = printableJson(value, indent);
    t.strictSame(JSON.parse(text), value);
    t.notMatch(text.replaceAll("\n", ""), /[\p{Cc}\p{Cf}\p{Zl}\p{DI}]/u);
    t.match(text, "é");
  }
});

t.test("columnsOf() counts what a terminal uses", async (t) => {
  for (const [text, columns] of [
    ["abc", 3],
    ["漢字", 4],
    ["e\u0301", 1],
    ["🚢", 2],
    ["ж", 1],
  ] as const)
    t.equal(columnsOf(text), columns, text);
});

t.test("printableJsonPieces() gives what printableJson() does, and reads lists as they come", async (t) => {
  const value = {
    a: 1,
    none: undefined,
    nothing: null,
    text: "a\u202eb\nc",
    empty: [],
    hollow: {},
    list: [1, { x: [2, {}], y: undefined }, [], null, "é"],
    deep: { list: [{ a: { b: { c: [1] } } }], more: { more: { more: {} } } },
    date: new Date(0),
  };
  for (const it of [value, [value, value], [], {}, null, "x", 7])
    t.equal([...printableJsonPieces(it)].join(""), printableJson(it, 2));
  const lazy = {
    *[Symbol.iterator]() {
      yield* value.list;
    },
  };
  t.equal(
    [...printableJsonPieces({ lazy, in: { lazy } })].join(""),
    printableJson({ lazy: value.list, in: { lazy: value.list } }, 2),
  );
  const long = {
    *[Symbol.iterator]() {
      for (let it = 0; it < 50_000; it++) yield { it };
    },
  };
  t.ok([...printableJsonPieces({ long })].length > 5, "in pieces");
});
