/** src/init/zarf.ts: components of zarf's packages, in both versions. */
import t from "tap";
import { readSource } from "../../src/init/recognise.ts";

const SUM = "ab".repeat(32);

t.test("v1alpha1: images, files, charts; what zarf does with them is listed", async (t) => {
  const found = readSource(
    `kind: ZarfPackageConfig
metadata: {name: x}
variables: [{name: A}]
components:
- name: one
  only: {cluster: {architecture: arm64}}
  images: [nginx:1, "###ZARF_PKG_TMPL_X###"]
  files:
  - {source: "https://x.example/k3s", shasum: ${SUM}, target: /usr/bin/k3s, executable: true}
  - {source: "https://x.example/tool@${SUM}", target: /x}
  - {source: /etc/shadow, target: /x}
  - {source: "https://x.example/weak", shasum: "md5:1"}
  charts:
  - {name: a, url: "oci://ghcr.io/x/charts/podinfo", version: 6.4.0}
  - {name: b, repoName: podinfo, url: "https://x.example/podinfo", version: 6.4.0, valuesFiles: [v.yaml]}
  - {name: c, url: "https://x.example/podinfo.git", version: 1, gitPath: charts}
  - {name: d, localPath: chart}
  manifests: [{name: m, files: [deployment.yaml], kustomizations: [k]}]
  repos: ["https://x.example/r.git@v1"]
  imageArchives: [{path: x.tar}]
  actions: {onDeploy: {}}
  import: {path: other}
`,
    "zarf.yaml",
  );
  t.same(
    found.images.map((it) => it.entry),
    [
      { ref: "nginx:1", platforms: ["linux/arm64"] },
      { ref: "ghcr.io/x/charts/podinfo:6.4.0" },
      { chart: "podinfo", repo: "https://x.example/podinfo", version: "6.4.0" },
    ],
  );
  t.same(
    found.files.map((it) => it.entry),
    [
      { url: "https://x.example/k3s", sha256: SUM, mode: "0755" },
      { url: "https://x.example/tool", sha256: SUM },
    ],
  );
  t.same(
    found.skipped.map((it) => `${it.line}: ${it.what}`),
    [
      "7: ###ZARF_PKG_TMPL_X###",
      "11: /etc/shadow",
      "12: https://x.example/weak",
      "15: chart b valuesFiles",
      "16: chart c of https://x.example/podinfo.git",
      "17: chart d",
      "19: https://x.example/r.git@v1",
      "20: x.tar",
      "18: k",
      "18: deployment.yaml",
      "21: component one actions",
      "22: component one import",
      "3: zarf variables",
    ],
  );
});

t.test("v1beta1: the same by other keys", async (t) => {
  const sum = "cd".repeat(64);
  const found = readSource(
    `apiVersion: zarf.dev/v1beta1
kind: ZarfPackageConfig
metadata: {name: x, architecture: amd64}
components:
- name: one
  images: [{name: "nginx:1"}, {name: "local:1", source: daemon}]
  files: [{source: "https://x.example/f", checksum: "sha512:${sum}", destination: /x}]
  charts:
  - {name: a, helmRepository: {name: podinfo, url: "https://x.example", version: 1.10}}
  - {name: b, oci: {url: "oci://ghcr.io/x/b", ref: {tag: 1.0.0}}}
  - {name: c, oci: {url: "oci://ghcr.io/x/c", ref: {digest: "sha256:${SUM}"}}}
  - {name: d, git: {url: "https://x.example/d", ref: {tag: v1}}}
  repositories: [{url: "https://x.example/r.git", ref: {tag: v1}}]
`,
    "zarf.yaml",
  );
  t.same(
    found.images.map((it) => it.entry),
    [
      { ref: "nginx:1", platforms: ["linux/amd64"] },
      { chart: "podinfo", repo: "https://x.example", version: "1.10" },
      { ref: "ghcr.io/x/b:1.0.0" },
      { ref: `ghcr.io/x/c@sha256:${SUM}` },
    ],
  );
  t.same(
    found.files.map((it) => it.entry),
    [{ url: "https://x.example/f", integrity: `sha512-${Buffer.from(sum, "hex").toString("base64")}` }],
  );
  t.same(
    found.skipped.map((it) => it.what),
    ["local:1", "chart d of https://x.example/d", "https://x.example/r.git"],
  );
});

t.test("archives of images by both names, what is no list, and keys that are not known are listed", async (t) => {
  const found = readSource(
    `kind: ZarfPackageConfig
metadata: {name: x}
extra: {a: 1}
components:
- name: one
  target: {architecture: arm64}
  imageTars: [{path: a.tar}]
  images: a/b:1
  extensions: {bigbang: {version: 2.0.0}}
  charts: [{name: c, oci: {url: "oci://ghcr.io/x/c", version: 1.0.0}, mystery: 1}]
  files: [{source: "https://x.example/f", mystery: 1}]
- {name: two, images: [c/d:1]}
`,
    "zarf.yaml",
  );
  t.same(
    found.images.map((it) => it.entry),
    [{ ref: "ghcr.io/x/c:1.0.0" }, { ref: "c/d:1" }],
  );
  t.same(
    found.skipped.map((it) => `${it.line}: ${it.what}`),
    [
      "3: zarf extra",
      "8: images",
      "11: https://x.example/f mystery",
      "10: chart c mystery",
      "7: a.tar",
      "9: component one extensions",
    ],
  );
});
