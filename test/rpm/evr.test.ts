/** src/rpm/evr.ts against upstream's own vectors, and ranges against rpm's rules. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { compareEvr, parseEvr, parseSign, rangesOverlap, rpmvercmp } from "../../src/rpm/evr.ts";
import { RPM_FIXTURES } from "../fixtures/rpm-files.ts";

t.test("rpmvercmp() agrees with all vectors of cavaliergopher/rpm", async (t) => {
  const vectors = JSON.parse(readFileSync(join(RPM_FIXTURES, "cavaliergopher-rpm/vercmp.json"), "utf8")) as Record<
    string,
    unknown
  >[];
  t.ok(vectors.length > 4000, `${vectors.length} vectors`);
  const wrong = vectors.filter((it) => {
    const [a, b, expected] = Object.values(it) as [string, string, number];
    return rpmvercmp(a, b) !== expected || rpmvercmp(b, a) !== -expected;
  });
  t.same(wrong, []);
});

t.test("rpmvercmp() agrees with all vectors of rpm", async (t) => {
  const lines = readFileSync(join(RPM_FIXTURES, "rpmvercmp/rpmvercmp.tsv"), "utf8").trim().split("\n");
  const vectors = lines.map((it) => it.split("\t")).filter((it) => /^-?[01]$/.test(it[2] ?? ""));
  t.ok(vectors.length > 80, `${vectors.length} vectors`);
  for (const [a, b, expected] of vectors as [string, string, string][]) {
    t.equal(rpmvercmp(a, b), Number(expected), `${a} ${b}`);
  }
});

t.test("compareEvr() looks at the epoch first, then version, then release", async (t) => {
  const ordered = ["1.0-1", "1.0-2", "1.0^git1-1", "1.1~rc1-1", "1.1-1", "1:0.1-1"];
  for (const [index, text] of ordered.entries()) {
    for (const [other, another] of ordered.entries()) {
      t.equal(compareEvr(parseEvr(text), parseEvr(another)), Math.sign(index - other), `${text} ${another}`);
    }
  }
});

const RANGES = new Map<string, boolean>([
  ["= 1.0-1 | >= 1.0", true],
  ["= 1.0-1 | = 1.0", true],
  ["= 1.0-1 | > 1.0", false],
  ["= 1.0-1 | < 1.0", false],
  ["= 1.0-1 | = 1.0-2", false],
  ["= 1.0-1 | <= 1.0-2", true],
  ["= 1:1.0-1 | >= 2.0", true],
  ["= 1:1.0-1 | < 2.0", false],
  ["= 1:1.0-1 | = 1.0-1", false],
  [">= 2 | < 3", true],
  [">= 3 | < 3", false],
  ["< 2 | > 1", true],
  ["< 1 | > 1", false],
  [" | >= 1", true],
  [" | ", true],
  ["= 1.0-1 | ", true],
  ["= 1.0~rc1-1 | >= 1.0", false],
  ["= 1.0^git1-1 | > 1.0", true],
]);

t.test("rangesOverlap()", async (t) => {
  const side = (text: string) => {
    const [sign = "", version = ""] = text.trim().split(" ");
    return [parseSign(sign) ?? 0, parseEvr(version)] as const;
  };
  for (const [text, expected] of RANGES) {
    const [provided, wanted] = text.split("|").map((it) => side(it)) as [
      ReturnType<typeof side>,
      ReturnType<typeof side>,
    ];
    t.equal(rangesOverlap(...provided, ...wanted), expected, text);
  }
});
