/** Which texts are licence expressions, and that all others stay what they are. */
import t from "tap";
import { LicenceReader } from "../../src/bom/licence.ts";

const FORMS = new Map([
  ["MIT", "id"],
  ["GPL-2.0", "id"],
  [" Apache-2.0 ", "id"],
  ["GPL-2.0+", "expression"],
  ["GPL-2.0-or-later AND (MIT OR BSD-3-Clause)", "expression"],
  ["GPL-2.0-only WITH Classpath-exception-2.0", "expression"],
  ["LicenseRef-Fedora-Public-Domain", "expression"],
  // Older names of RPM are families; with lower-case operators even the known words are.
  ["BSD", "name"],
  ["GPLv2+", "name"],
  ["MIT and ISC", "name"],
  ["MIT AND (GPLv2 OR BSD)", "name"],
  ["mit", "name"],
  ["MIT AND", "name"],
  ["(MIT", "name"],
  ["<script>alert(1)</script>", "name"],
  [`${"(".repeat(240)}MIT${")".repeat(240)}`, "expression"],
  [`${"(".repeat(5000)}MIT${")".repeat(5000)}`, "name"],
]);

t.test("read() takes a text for an expression only if all of it is one", async (t) => {
  const reader = new LicenceReader();
  for (const [text, form] of FORMS) t.equal(reader.read(text)?.form, form, text.slice(0, 40));
  t.equal(reader.read(" \n"), undefined);
  t.same(reader.read("a\n\u202eb"), { text: "a\\u{a}\\u{202e}b", form: "name" });
  t.equal(reader.read("x".repeat(9000))?.text.length, 501, "cut, with an ellipsis");
});
