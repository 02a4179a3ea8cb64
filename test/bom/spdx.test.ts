/** The SPDX document: every package once, related, and licences only where they are expressions. */
import t from "tap";
import { spdxDocument } from "../../src/bom/spdx.ts";
import { billOf, makeBillSample } from "../fixtures/bill-sample.ts";

t.test("the document has what SPDX 2.3 asks for", async (t) => {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir);
  const bill = await billOf(dir, inventory);
  const base = bill.repositories[0];
  const none = base?.packages.find((it) => it.name === "none");
  if (none) none.licence = { text: "LicenseRef-Fedora-Public-Domain AND MIT", form: "expression" };
  const text = [...spdxDocument(bill)].join("");
  t.equal(text, [...spdxDocument(bill)].join(""));
  const document = JSON.parse(text);
  t.match(document, {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: "sample-7",
    documentNamespace: /^urn:uuid:/,
    creationInfo: { created: bill.time, creators: [/^Tool: /] },
    hasExtractedLicensingInfos: [{ licenseId: "LicenseRef-Fedora-Public-Domain" }],
  });
  const ids: string[] = document.packages.map((it: { SPDXID: string }) => it.SPDXID);
  t.equal(new Set(ids).size, 13);
  t.ok(ids.every((it) => /^SPDXRef-[A-Za-z0-9.-]+$/.test(it)));
  const related = document.relationships.map((it: Record<string, string>) => it["relatedSpdxElement"]);
  t.same(related, ids);
  for (const it of document.packages) {
    t.match(it, { filesAnalyzed: false, copyrightText: "NOASSERTION", licenseConcluded: "NOASSERTION" });
    t.ok(it.downloadLocation === "NOASSERTION" || URL.canParse(it.downloadLocation), it.name);
  }
  const licence = (name: string) => {
    const it = document.packages.find((it: { name: string }) => it.name === name);
    return [it.licenseDeclared, it.licenseComments];
  };
  t.same(licence("both"), ["MIT AND (BSD-3-Clause OR Apache-2.0)", undefined]);
  t.same(licence("older"), ["NOASSERTION", "declared, but no SPDX licence expression: GPLv2+ and BSD"]);
  t.same(licence("harden.sh"), ["NOASSERTION", undefined]);
});
