/** src/init/oc-mirror.ts: image sets of oc-mirror v2. */
import t from "tap";
import { readSource } from "../../src/init/recognise.ts";

t.test("additional images without blocked ones, and charts; releases and operators are listed", async (t) => {
  const found = readSource(
    `kind: ImageSetConfiguration
apiVersion: mirror.openshift.io/v2alpha1
mirror:
  platform: {channels: [{name: stable-4.18}], graph: true}
  operators: [{catalog: "reg.example/index:v4", packages: [{name: a}, {name: b}]}]
  additionalImages:
  - {name: "quay.io/a/b:1", targetTag: x, platforms: [{os: linux, architecture: arm64}]}
  - name: quay.io/a/blocked:1
  - name: oci:///mnt/layout
  helm:
    repositories: [{name: r, url: "https://x.example", charts: [{name: c, version: 1.10, imagePaths: ["{.x}"]}]}]
    local: [{name: l, path: /x}]
  blockedImages: [{name: quay.io/a/blocked}, {name: ".*alpine.*"}]
`,
    "isc.yaml",
  );
  t.same(
    found.images.map((it) => it.entry),
    [
      { ref: "quay.io/a/b:1", platforms: ["linux/arm64"] },
      { chart: "c", repo: "https://x.example", version: "1.10", images: true },
    ],
  );
  t.same(
    found.skipped.map((it) => it.what),
    [
      "blocked .*alpine.*",
      "quay.io/a/b:1 targetTag",
      "oci:///mnt/layout",
      "chart c imagePaths",
      "chart l",
      "channel stable-4.18",
      "platform graph",
      "operators a, b of reg.example/index:v4",
      "blockedImages",
    ],
  );
});

t.test("other kinds and the first version are not read", async (t) => {
  const what = (version: string, kind: string) =>
    readSource(
      `apiVersion: mirror.openshift.io/${version}\nkind: ${kind}\nmirror: {additionalImages: [{name: a/b}]}\n`,
      "f",
    );
  t.match(what("v1alpha2", "ImageSetConfiguration"), { images: [], skipped: [{ why: /expected v2alpha1/ }] });
  t.match(what("v2alpha1", "DeleteImageSetConfiguration"), { images: [], skipped: [{ why: /not what is mirrored/ }] });
});

t.test("charts of a whole repository, values, and keys that are not known, are listed", async (t) => {
  const found = readSource(
    `kind: ImageSetConfiguration
apiVersion: mirror.openshift.io/v2alpha1
archiveSize: 4
mirror:
  additionalImages: {name: quay.io/a/b:1}
  helm:
    repositories:
    - {name: all, url: "https://x.example"}
    - {name: r, url: "https://y.example", charts: [{name: c, values: {a: 1}}]}
  platform: {architectures: [arm64]}
  other: [x]
`,
    "isc.yaml",
  );
  t.same(
    found.skipped.map((it) => `${it.line}: ${it.what}`),
    [
      "11: mirror other",
      "5: additionalImages",
      "8: charts of https://x.example",
      "9: chart c values",
      "10: platform architectures",
    ],
  );
});
