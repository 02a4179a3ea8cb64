/** One character model: references, raw UTF-8 and escapes give the same names, paths and locations. */
import t from "tap";
import { findInFilelists } from "../../src/rpm/filelists.ts";
import { Primary } from "../../src/rpm/primary.ts";
import { childrenOf, fromLatin1, parseXml, unescapeXml } from "../../src/rpm/xml.ts";
import { resolveHref } from "../../src/sources/rpm/location.ts";

const FORMS = new Map([
  ["ü", ["ü", "&#xFC;", "&#252;", "&#x000FC;"]],
  ["Łódź", ["Łódź", "&#x141;&#xF3;d&#378;"]],
  ["日本", ["日本", "&#x65E5;&#26412;"]],
  ["𝄞", ["𝄞", "&#x1D11E;", "&#119070;"]],
]);
const NS = "http://linux.duke.edu/metadata";

t.test("references to characters are read as what they stand for", async (t) => {
  for (const [text, forms] of FORMS) {
    for (const form of forms) {
      const bytes = Buffer.from(`<a b="${form}"><c>${form}</c></a>`);
      const root = parseXml(bytes, "x");
      t.equal(root.attributes.b, text, form);
      t.equal(childrenOf(root, "c")[0]?.text, text, form);
      t.equal(fromLatin1(unescapeXml(Buffer.from(form).toString("latin1"))), text, form);
    }
  }
});

t.test("names, provides and locations of packages agree, canonical or not", async (t) => {
  for (const [text, forms] of FORMS) {
    const found = new Set<string>();
    for (const form of forms) {
      for (const quote of ['"', "'"]) {
        const block = `<package type="rpm"><name>n${form}</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><checksum type="sha256" pkgid="YES">${"a".repeat(64)}</checksum><size package="1" installed="1" archive="1"/><location href="${form}.rpm"/><format><rpm:sourcerpm>${form}.src.rpm</rpm:sourcerpm><rpm:provides><rpm:entry name="p${form}"/></rpm:provides></format></package>`;
        const xml = `<metadata xmlns="${NS}/common" xmlns:rpm=${quote}${NS}/rpm${quote} packages="1">${block}</metadata>`;
        const primary = await Primary.read(Buffer.from(xml), "primary.xml");
        const [entry] = primary.packages;
        if (entry === undefined) return t.fail("no package");
        const { href, sourceRpm } = primary.details(entry);
        t.equal(entry.name, `n${text}`, form);
        t.equal(href, `${text}.rpm`, form);
        t.equal(sourceRpm, `${text}.src.rpm`, form);
        t.equal(
          resolveHref(href, "https://h/r"),
          `https://h/r/${encodeURIComponent(text)}.rpm`,
          "UTF-8, percent-encoded",
        );
        for (const it of primary.relations(entry, "provides")) found.add(it.name);
      }
    }
    t.same([...found].map(fromLatin1), [`p${text}`], "all forms are one name to the solver");
  }
});

t.test("paths in filelists are found in whatever form", async (t) => {
  for (const [text, forms] of FORMS) {
    for (const form of forms) {
      const xml = `<filelists xmlns="${NS}/filelists" packages="1"><package pkgid="ab" name="x" arch="noarch"><version epoch="0" ver="1" rel="1"/><file>/usr/${form}&amp;x</file></package></filelists>`;
      const found: string[] = [];
      const path = Buffer.from(`/usr/${text}&x`).toString("latin1");
      await findInFilelists([Buffer.from(xml)], "filelists.xml", new Set([path]), (pkgid) => found.push(pkgid));
      t.same(found, ["ab"], form);
    }
  }
});
