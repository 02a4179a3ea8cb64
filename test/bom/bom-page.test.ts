/** The page: everything is on it, nothing on it runs, and it needs nothing beside itself. */
import { createHash } from "node:crypto";
import t from "tap";
import { bomPage } from "../../src/bom/bom-page.ts";
import { BOM_POLICY } from "../../src/bom/bom-page-parts.ts";
import { billOf, hexOfText, makeBillSample } from "../fixtures/bill-sample.ts";

async function sampleBill() {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir);
  return billOf(dir, inventory);
}

t.test("the page tells what, which version, under which licence, from where, and how it is known", async (t) => {
  const bill = await sampleBill();
  const page = [...bomPage({ ...bill, gaps: ["base: <b>gone</b>"] })].join("");
  for (const it of [
    "Bill of materials: sample 7",
    "3:1.0-2.el9_4.x86_64",
    "GPL-3.0-or-later",
    "GPLv2+ and BSD",
    hexOfText("base bash"),
    `sha256:${hexOfText("iso")}`,
    "signed by upstream (AAAAAAAAAAAAAAAA)",
    "first sight",
    "signatures of packages not checked",
    "https://mirror.example.org/rpms/base/Packages/",
    "SPDX, attested",
    "linux/amd64",
    "Not complete: base: &lt;b&gt;gone&lt;/b&gt;",
  ]) {
    t.ok(page.includes(it), it);
  }
  t.equal(page, [...bomPage({ ...bill, gaps: ["base: <b>gone</b>"] })].join(""));
});

t.test("hostile texts are text; the one script is ours, and its hash is in the policy", async (t) => {
  const page = [...bomPage(await sampleBill())].join("");
  t.notMatch(page, /<img|\u202e|onerror=alert\(1\)>/i);
  t.ok(page.includes("&quot;&#39;&lt;/td&gt;&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;\\u{202e}"));
  const scripts = page.match(/<script>([\s\S]*?)<\/script>/g) ?? [];
  t.equal(scripts.length, 1);
  const code = scripts[0]?.slice("<script>".length, -"</script>".length) ?? "";
  t.ok(BOM_POLICY.includes(`'sha256-${createHash("sha256").update(code).digest("base64")}'`));
  const urls = [...page.matchAll(/(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]*)/gi)].map((it) => it[1]);
  t.same(
    urls.filter((it) => it !== "data:," && !it?.startsWith("#")),
    ["x", "x"],
    "links within the page; the others are the text of the hostile licence",
  );
});

t.test("sources that share no folder are shown one by one", async (t) => {
  const bill = await sampleBill();
  const [first] = bill.repositories;
  const [sample] = first?.packages ?? [];
  if (first === undefined || sample === undefined) return t.fail("the sample has no packages");
  for (const [one, other] of [
    ["/srv/a.rpm", "x/b.rpm"],
    ["//srv//a.rpm", "https://x/b.rpm"],
    ["/a.rpm", ""],
  ] as const) {
    const packages = [one, other].map((source) => ({ ...sample, source }));
    t.ok([...bomPage({ ...bill, repositories: [{ ...first, packages }] })].join("").includes(one), one);
  }
});

t.test("20,000 packages are tables of 500 rows, of which a browser lays out what is in view", async (t) => {
  const bill = await sampleBill();
  const [base] = bill.repositories;
  const [row] = base?.packages ?? [];
  if (base === undefined || row === undefined) throw new Error("no packages");
  const packages = Array.from({ length: 20_000 }, (_, index) => ({ ...row, name: `package-${index}` }));
  const pieces = [...bomPage({ ...bill, repositories: [{ ...base, packages }] })];
  const page = pieces.join("");
  t.ok(Math.max(...pieces.map((it) => it.length)) < page.length / 20, "no piece has more than a table");
  t.equal(page.match(/<caption>base: \d+ to \d+ of 20000<\/caption>/g)?.length, 40);
  t.ok(page.length < 5_000_000, `${page.length} characters`);
  t.match(page, /content-visibility:auto/);
});
