import t from "tap";
import { formatSums, parseSums } from "../../src/bundle/sums.ts";

const HEX = "ab".repeat(32);
const line = (name: string, sha256 = HEX) => `${sha256}  ${name}\n`;

t.test("formatSums() sorts, parseSums() reads it back", async (t) => {
  const bytes = formatSums([
    { name: "data.tar.0001", digest: `sha256:${HEX}` as const },
    { name: "airferry.json", digest: `sha256:${HEX}` as const },
    { name: "VERIFY.txt", digest: `sha256:${HEX}` as const },
    { name: "bin/airferry-linux-x64", digest: `sha256:${HEX}` as const },
  ]);
  const expected = ["VERIFY.txt", "airferry.json", "bin/airferry-linux-x64", "data.tar.0001"];
  t.equal(bytes.toString(), expected.map((it) => line(it)).join(""));
  t.same(
    parseSums(bytes).map((it) => it.name),
    expected,
  );
});

t.test("parseSums() refuses what formatSums() would not write", async (t) => {
  const bad = new Map([
    ["", "empty"],
    [line("airferry.json").trimEnd(), "no newline at the end"],
    [`${line("airferry.json")}\n`, "empty line"],
    [`# comment\n${line("airferry.json")}`, "comment"],
    [line("airferry.json", HEX.toUpperCase()), "upper case"],
    [`${HEX} *airferry.json\n`, "binary mark"],
    [`${HEX} airferry.json\n`, "one space"],
    [line("airferry.json").replace("\n", "\r\n"), "carriage return"],
    [line("airferry.json") + line("VERIFY.txt"), "not sorted"],
    [line("airferry.json") + line("airferry.json"), "twice"],
    [line("AIRFERRY.json") + line("airferry.json"), "case twin"],
    [line("VERIFY.txt"), "no inventory"],
    [line("../x") + line("airferry.json"), "parent"],
    [line("/x") + line("airferry.json"), "absolute"],
    [line("a/b") + line("airferry.json"), "folder"],
    [line("airferry.json") + line("bin/../x"), "parent in bin"],
    [line("SHA256SUMS") + line("airferry.json"), "itself"],
    [line(".hidden") + line("airferry.json"), "hidden"],
    [line("airferry.json") + line("b\\c"), "backslash"],
    [line("airferry.json") + line("b\u001bc"), "control"],
    [`\\${line("airferry.json")}`, "escaped line"],
  ]);
  for (const [text, why] of bad) {
    t.throws(() => parseSums(Buffer.from(text, "latin1")), { code: /ERR_(BUNDLE_INVALID|PATH_UNSAFE)/ }, why);
  }
});
