/** src/io/text.ts: one order of texts for bundles, listings and `sort`. */
import t from "tap";
import { compareUtf8 } from "../../src/io/text.ts";

t.test("compareUtf8() orders as bytes do", async (t) => {
  const texts = [
    "",
    "a",
    "a/b",
    "a-b",
    "ab",
    "é",
    "\ue000",
    "\uffff",
    "😀",
    "a😀",
    "a\uffff",
    "Z",
    "~",
    "日",
    "\uffee",
    "\ud7ff",
  ];
  for (const a of texts) {
    for (const b of texts) {
      t.equal(Math.sign(compareUtf8(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), JSON.stringify([a, b]));
    }
  }
});
