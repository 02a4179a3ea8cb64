import t from "tap";
import { z } from "zod";
import { digestSchema, hexDigestSchema, parseNote, parseOwn } from "../../src/io/own-file.ts";

const hex = "ab".repeat(32);
const schema = z.strictObject({
  version: z.literal(1),
  digest: digestSchema,
  bare: hexDigestSchema,
  list: z.array(z.int()),
});
const about = {
  file: "x.json",
  what: "floor",
  code: "ERR_STORE_INVALID",
  hint: "restore it",
  version: { key: "version", value: 1 },
} as const;
const good = { version: 1, digest: `sha256:${hex}`, bare: hex, list: [1, 2] };

t.test("parseOwn() gives digests one form, whichever the file has", async (t) => {
  t.same(parseOwn(schema, JSON.stringify(good), about), { ...good, bare: `sha256:${hex}` });
});

t.test("parseOwn() says what is wrong, where, and what helps", async (t) => {
  const cases = new Map<unknown, RegExp>([
    ["{", /^cannot read floor "x.json": not JSON: /],
    ["", /^cannot read floor "x.json": not JSON: /],
    ["{\n=======\n}", /: line 2 has the marks of a merge: "======="$/],
    ["[".repeat(100), /: not JSON: /],
    [null, /: expected object, got null$/],
    [{ ...good, version: 2 }, /: it is of version 2: expected 1$/],
    [{ ...good, version: "1" }, /: version: expected 1, got "1"$/],
    [{ ...good, digest: hex }, /: digest: expected sha256: and 64 lower-case hex digits, got "abab/],
    [{ ...good, bare: hex.toUpperCase() }, /: bare: expected 64 lower-case hex digits, got "ABAB/],
    [{ ...good, list: [1, "2"] }, /: list\[1\]: expected number, got "2"$/],
    [{ ...good, "more\u001b[31m": 1 }, /: unknown "more\\u001b\[31m"$|unknown "more[^\u001b]*"$/],
    [{}, /: version: missing \(and 3 more\)$/],
  ]);
  for (const [value, message] of cases) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    t.throws(
      () => parseOwn(schema, text, about),
      { code: "ERR_STORE_INVALID", path: "x.json", message, hint: /restore it/ },
      text,
    );
  }
});

t.test("parseNote() takes what is one, and nothing else", async (t) => {
  t.same(parseNote(schema, JSON.stringify(good)), { ...good, bare: `sha256:${hex}` });
  for (const text of ["", "{", "null", "{}", JSON.stringify({ ...good, bare: 7 })])
    t.equal(parseNote(schema, text), undefined);
});
