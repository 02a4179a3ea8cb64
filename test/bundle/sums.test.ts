import t from "tap";
import { IDENTITY_BYTES } from "../../src/bundle/bundle-identity.ts";
import { formatSums, parseSums } from "../../src/bundle/sums.ts";
import { digestOf, hexOf } from "../../src/io/digest.ts";

const HEX = "ab".repeat(32);
const IDENTITY = digestOf(IDENTITY_BYTES);
const line = (name: string, sha256 = HEX) => `${sha256}  ${name}\n`;
const id = (name: string) => line(name, hexOf(IDENTITY));

t.test("formatSums() sorts, parseSums() reads it back", async (t) => {
  const bytes = formatSums([
    { name: "airferry-v1.a.e1.s1.e1.s20", digest: IDENTITY },
    { name: "data.tar.0001", digest: `sha256:${HEX}` as const },
    { name: "airferry.json", digest: `sha256:${HEX}` as const },
    { name: "VERIFY.txt", digest: `sha256:${HEX}` as const },
    { name: "bin/airferry-linux-x64", digest: `sha256:${HEX}` as const },
  ]);
  const expected = [
    line("VERIFY.txt"),
    id("airferry-v1.a.e1.s1.e1.s20"),
    line("airferry.json"),
    line("bin/airferry-linux-x64"),
    line("data.tar.0001"),
  ];
  t.equal(bytes.toString(), expected.join(""));
  const { lines, identity } = parseSums(bytes);
  t.same(formatSums(lines), bytes);
  t.same(identity, { stream: "a.e1.s1", epoch: 1, serial: 20 });
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
    const whole = id("airferry-v1.a.e1.s1") + text;
    t.throws(() => parseSums(Buffer.from(whole, "latin1")), { code: /ERR_(BUNDLE_INVALID|PATH_UNSAFE)/ }, why);
  }
});

t.test("parseSums() refuses a signed root that does not say which bundle it is", async (t) => {
  const sums = (...lines: string[]) => Buffer.from([...lines, line("airferry.json")].join(""));
  for (const [bytes, fault, code] of [
    [sums(), /no line says which bundle/],
    [sums(id("airferry-v1.a.e1.s1"), id("airferry-v1.b.e1.s1")), /two lines/],
    [sums(line("airferry-v1.a.e1.s1")), /digest of "airferry-v1/],
    [sums(id("airferry-v1.a.e1")), /does not say/],
    [sums(id("airferry-v1..e1.s1")), /does not say/],
    [sums(id("airferry-v1.-a.e1.s1")), /does not say/],
    [sums(id("airferry-v1.a.e1.s0")), /does not say/],
    [sums(id("airferry-v1.a.e01.s1")), /does not say/],
    [sums(id("airferry-v1.a.e1.s1000000000")), /does not say/],
    [sums(id("Airferry-v1.a.e1.s1")), /does not say/],
    [sums(id("airferry-v0.a.e1.s1")), /does not say/],
    [sums(id("airferry-v12.anything")), /unknown format/, "ERR_BUNDLE_VERSION"],
  ] as const) {
    t.throws(() => parseSums(bytes), { code: code ?? "ERR_BUNDLE_INVALID", message: fault }, String(bytes));
  }
});
