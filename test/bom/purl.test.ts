/** Package URLs, as the purl specification's types rpm, oci and generic have them. */
import t from "tap";
import { filePurl, imagePurl, packagePurl } from "../../src/bom/purl.ts";
import type { BillPackage, FileRow, ImageRow } from "../../src/bom/types.ts";

const HEX = "0123456789abcdef".repeat(4);
const known = { established: null, signedBy: [], published: [], source: "", url: undefined, licence: undefined };

t.test("packages have namespace and distribution where vendor and release tell them", async (t) => {
  const row: BillPackage = {
    ...known,
    path: "x",
    digest: `sha256:${HEX}`,
    size: 1,
    name: "gcc-c++",
    epoch: 0,
    version: "11.4.1",
    release: "3.el9",
    arch: "x86_64",
    vendor: "Rocky Enterprise Software Foundation",
    sourceRpm: "gcc-11.4.1-3.el9.src.rpm",
  };
  const cases: [Partial<BillPackage>, string][] = [
    [{}, "pkg:rpm/rocky/gcc-c%2B%2B@11.4.1-3.el9?arch=x86_64&distro=rocky-9&upstream=gcc-11.4.1-3.el9.src.rpm"],
    [
      { vendor: "Red Hat, Inc.", release: "3.el9_4.1", sourceRpm: "" },
      "pkg:rpm/redhat/gcc-c%2B%2B@11.4.1-3.el9_4.1?arch=x86_64&distro=rhel-9.4",
    ],
    [{ vendor: "", epoch: 2, sourceRpm: "" }, "pkg:rpm/gcc-c%2B%2B@11.4.1-3.el9?arch=x86_64&epoch=2"],
    [
      { vendor: "Fedora Project", release: "1", version: "1^git~2", sourceRpm: "" },
      "pkg:rpm/fedora/gcc-c%2B%2B@1%5Egit~2-1?arch=x86_64",
    ],
    [
      { version: "", release: "", arch: "", vendor: "", sourceRpm: "", name: "a'(b)\ud800.rpm" },
      "pkg:rpm/a%27%28b%29%EF%BF%BD.rpm",
    ],
  ];
  for (const [more, purl] of cases) t.equal(packagePurl({ ...row, ...more }), purl);
});

t.test("images are known by their digest; files by theirs", async (t) => {
  const image: ImageRow = {
    ...known,
    reference: "registry.k8s.io/pause:3.10",
    name: "registry.k8s.io/pause",
    version: "3.10",
    digest: `sha256:${HEX}`,
    size: 1,
    platforms: ["linux/amd64"],
    sboms: [],
  };
  const oci = `pkg:oci/pause@sha256%3A${HEX}`;
  t.equal(imagePurl(image), `${oci}?arch=amd64&repository_url=registry.k8s.io%2Fpause&tag=3.10`);
  const both = {
    ...image,
    reference: `registry.k8s.io/pause@sha256:${HEX}`,
    platforms: ["linux/amd64", "linux/arm64"],
  };
  t.equal(imagePurl(both as ImageRow), `${oci}?repository_url=registry.k8s.io%2Fpause`);
  const file: FileRow = { ...known, path: "isos/x.iso", name: "x.iso", version: "", digest: `sha256:${HEX}`, size: 1 };
  t.equal(filePurl(file), `pkg:generic/x.iso?checksum=sha256%3A${HEX}`);
  const named = { ...file, version: "9.4", url: "https://example.org/a b" };
  t.equal(
    filePurl(named),
    `pkg:generic/x.iso@9.4?checksum=sha256%3A${HEX}&download_url=https%3A%2F%2Fexample.org%2Fa%20b`,
  );
});
