/** `.treeinfo` inside an image: what is ill-formed in it is passed over, and what can be read counts. */
import t from "tap";
import { parseTreeInfo } from "../../src/iso/install-tree.ts";

t.test("parseTreeInfo() passes over garbage; of doubled keys the last counts, doubled sections are one", async (t) => {
  const text = `\ufeff[general]
garbage
= nothing
family = A
family: B
; version = 0
[stage2]
mainimage=images/install.img
[general]
version = 9
[unclosed
`;
  for (const it of [text, text.replaceAll("\n", "\r\n")]) {
    const info = parseTreeInfo(it);
    t.same(
      [...(info.get("general") ?? [])],
      [
        ["family", "B"],
        ["version", "9"],
      ],
    );
    t.equal(info.get("stage2")?.get("mainimage"), "images/install.img");
  }
  for (const none of ["", "garbage", "<html></html>", "\u0000\u0000"]) t.equal(parseTreeInfo(none).size, 0);
});
