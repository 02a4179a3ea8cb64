/** What is read of a bundle for its bill of materials, and what happens when something cannot be read. */
import { join } from "node:path";
import t from "tap";
import { billOf, HOSTILE, hexOfText, makeBillSample } from "../fixtures/bill-sample.ts";
import { flip } from "../fixtures/bundle-tamper.ts";

t.test("the bill has versions, licences and vendors from metadata, whatever its checksums and dialect", async (t) => {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir);
  const bill = await billOf(dir, inventory);
  t.match(bill, { stream: "sample", serial: 7, time: inventory.created, gaps: [] });
  const packages = bill.repositories.flatMap((it) => it.packages);
  t.same(
    packages.map(({ name, epoch, version, release, arch, licence }) => [
      name,
      epoch,
      version,
      release,
      arch,
      licence?.form,
    ]),
    [
      ["bash", 0, "1.0", "2.el9_4", "x86_64", "id"],
      ["both", 3, "1.0", "2.el9_4", "x86_64", "expression"],
      ["evil", 0, "1.0", "2.el9_4", "x86_64", "name"],
      ["none", 0, "1.0", "2.el9_4", "x86_64", undefined],
      ["older", 0, "1.0", "2.el9_4", "x86_64", "name"],
      ["stray", 0, "7", "1", "noarch", undefined],
      ["prefixed", 0, "1.0", "2.el9_4", "x86_64", "id"],
      ["ancient", 0, "1.0", "2.el9_4", "x86_64", "name"],
    ],
  );
  const [bash] = packages;
  t.match(bash, {
    digest: `sha256:${hexOfText("base bash")}`,
    vendor: "Rocky Enterprise Software Foundation",
    sourceRpm: "bash-1.0-2.el9_4.src.rpm",
    source: "https://mirror.example.org/rpms/base/Packages/bash-1.0-2.el9_4.x86_64.rpm",
  });
  t.equal(packages.find((it) => it.name === "evil")?.licence?.text, HOSTILE.replace("\u202e", "\\u{202e}"));
  t.match(bill.repositories, [{ gpgcheck: true }, { gpgcheck: true }, { name: "old", gpgcheck: false }]);
});

t.test("the bill links every SBOM that came along with an image, and takes its licence, not theirs", async (t) => {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir);
  const [image] = (await billOf(dir, inventory)).images;
  t.match(image, { name: "registry.example.org/sample/app", version: "1", signedBy: ["b".repeat(64)] });
  t.same(image?.licence, { text: "Apache-2.0 OR MIT", form: "expression" });
  t.same(
    image?.sboms.map(({ format, digest, attestation }) => [format, digest.slice(7), attestation]),
    [
      ["SPDX", hexOfText('{"document":"buildkit"}'), true],
      ["CycloneDX", hexOfText('{"document":"cosign"}'), true],
      ["CycloneDX", hexOfText('{"document":"oras"}'), false],
    ],
  );
});

t.test("files and ISOs have the version of their name, and every digest that is known", async (t) => {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir);
  const { isos, files } = await billOf(dir, inventory);
  t.match(isos, [{ name: "sample-9.4.iso", version: "9.4", volumeId: "SAMPLE-9", signedBy: ["A".repeat(40)] }]);
  t.match(files, [
    { name: "harden.sh", version: "", established: "manifest", source: "harden.sh", url: undefined },
    {
      name: "tool-2.1.4-linux.tar.gz",
      version: "2.1.4",
      published: [/^sha512:/],
      url: /tool-2\.1\.4-linux\.tar\.gz\?\*\*\*$/,
    },
  ]);
});

t.test("metadata that is damaged or missing leaves a gap that is told, and the packages by their files", async (t) => {
  const dir = t.testdir();
  const { inventory } = await makeBillSample(dir);
  const entry = inventory.entries.find((it) => /^rpms\/base\/.*primary/.test(it.path));
  flip(join(dir, "data.tar.0000"), (entry?.offset ?? 0) + 20);
  const damaged = await billOf(dir, inventory);
  t.match(damaged.gaps, [
    /^base: cannot read "rpms\/base\/repodata\/.*primary.xml.gz": expected sha256:.*, got sha256:/,
  ]);
  t.match(damaged.repositories[0]?.packages[0], {
    name: "bash",
    version: "1.0",
    release: "2.el9_4",
    licence: undefined,
  });
  t.equal(damaged.repositories[1]?.packages[0]?.licence?.text, "Zlib", "other repositories are whole");
  const away = await billOf(join(dir, "nowhere"), inventory);
  t.equal(away.gaps.length, 9, "three repositories and six manifests");
  t.equal(away.repositories.flatMap((it) => it.packages).length, 8);
});
