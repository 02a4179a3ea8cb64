/** The CycloneDX document, judged by CycloneDX's own library, against the official schema. */
import { Spec, Validation } from "@cyclonedx/cyclonedx-library";
import t from "tap";
import { cyclonedxDocument } from "../../src/bom/cyclonedx.ts";
import type { Bill } from "../../src/bom/types.ts";
import { billOf, hexOfText, makeBillSample } from "../fixtures/bill-sample.ts";

const validator = new Validation.JsonStrictValidator(Spec.Version.v1dot6);

async function sampleBill(): Promise<Bill> {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir);
  return billOf(dir, inventory);
}

t.test("the document is valid CycloneDX 1.6, and the validator is one", async (t) => {
  const text = [...cyclonedxDocument(await sampleBill())].join("");
  t.equal(await validator.validate(text), null);
  t.not(await validator.validate(text.replace('"type":"library"', '"type":"package"')), null);
  t.not(await validator.validate(text.replace('"id":"GPL-3.0-or-later"', '"id":"GPLv3+"')), null);
});

t.test("it has every component once, with digests, licence, purl and where it came from", async (t) => {
  const bill = await sampleBill();
  const document = JSON.parse([...cyclonedxDocument(bill)].join(""));
  t.match(document, {
    serialNumber: /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    version: 1,
  });
  t.equal(document.metadata.timestamp, bill.time);
  const refs = document.components.map((it: Record<string, unknown>) => it["bom-ref"]);
  t.equal(new Set(refs).size, 12);
  t.same(document.dependencies, [{ ref: "sample-7", dependsOn: refs }]);
  const component = (name: string) => document.components.find((it: { name: string }) => it.name === name);
  t.same(component("both").licenses, [
    { expression: "MIT AND (BSD-3-Clause OR Apache-2.0)", acknowledgement: "declared" },
  ]);
  t.same(component("older").licenses, [{ license: { name: "GPLv2+ and BSD", acknowledgement: "declared" } }]);
  t.equal(component("both").version, "3:1.0-2.el9_4");
  t.match(component("bash"), {
    type: "library",
    supplier: { name: "Rocky Enterprise Software Foundation" },
    hashes: [{ alg: "SHA-256", content: hexOfText("base bash") }],
    purl: "pkg:rpm/rocky/bash@1.0-2.el9_4?arch=x86_64&distro=rocky-9.4&upstream=bash-1.0-2.el9_4.src.rpm",
  });
  t.match(component("registry.example.org/sample/app").externalReferences, [
    { type: "bom", url: /^images\/blobs\/sha256\//, hashes: [{ alg: "SHA-256" }] },
    { type: "bom" },
    { type: "bom" },
  ]);
  t.match(component("tool-2.1.4-linux.tar.gz").hashes, [{ alg: "SHA-256" }, { alg: "SHA-512" }]);
  const signed = (name: string) =>
    component(name).properties.find((it: { name: string }) => it.name === "airferry:packageSignature").value;
  t.same([signed("bash"), signed("ancient")], ["checked", "not checked"]);
});

t.test("the same bill gives the same bytes; another lock another serial number", async (t) => {
  const bill = await sampleBill();
  const text = (it: Bill) => [...cyclonedxDocument(it)].join("");
  t.equal(text(bill), text(await sampleBill()));
  const other = { ...bill, lock: `sha256:${"1".repeat(64)}` as const };
  t.not(JSON.parse(text(bill)).serialNumber, JSON.parse(text(other)).serialNumber);
});

t.test("every URL in it is one, however odd the source", async (t) => {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir, {
    spoil: ({ catalog }) => {
      for (const it of catalog.provenance) {
        if (it.path.startsWith("files/")) it.source = `https://h.example/a b/{c}|[d]^"<e>\\f?q=é#g`;
        if (it.path.startsWith("isos/")) it.source = "https://[::1";
      }
    },
  });
  const text = [...cyclonedxDocument(await billOf(dir, inventory))].join("");
  t.equal(await validator.validate(text), null);
});
