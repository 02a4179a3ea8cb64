/** src/init/hauler.ts: images, charts and files of hauler's manifests. */
import t from "tap";
import { readSource } from "../../src/init/recognise.ts";

const hauler = (kind: string, body: string) =>
  readSource(`apiVersion: content.hauler.cattle.io/v1\nkind: ${kind}\n${body}`, "f");
const entries = ({ images }: ReturnType<typeof readSource>) => images.map((it) => it.entry);

t.test("images, with the defaults of annotations", async (t) => {
  const found = hauler(
    "Images",
    `metadata:
  annotations: {hauler.dev/platform: linux/amd64, hauler.dev/registry: reg.example, hauler.dev/key: k.pub}
spec:
  images:
  - name: a/b:1
  - {name: "quay.io/a/b:2", platform: linux/arm64, key: own.pub, rewrite: x/y, exclude-extras: true}
  - {name: "c/d:1", platform: weird, insecure-skip-tls-verify: false, use-tlog-verify: true}
  - {name: "e/f:1", local: true}
`,
  );
  t.same(entries(found), [
    { ref: "reg.example/a/b:1", platforms: ["linux/amd64"] },
    { ref: "quay.io/a/b:2", platforms: ["linux/arm64"], referrers: false },
    { ref: "reg.example/c/d:1" },
  ]);
  t.match(
    found.skipped.map((it) => `${it.line}: ${it.what}`),
    [
      "7: reg.example/a/b:1 key",
      "8: quay.io/a/b:2 key",
      "8: quay.io/a/b:2 rewrite",
      "9: platform weird",
      "9: reg.example/c/d:1 key",
      "9: reg.example/c/d:1 use-tlog-verify",
      "10: reg.example/e/f:1",
    ],
  );
});

t.test("charts of repositories and registries", async (t) => {
  const found = hauler(
    "Charts",
    `spec:
  charts:
  - {name: rancher, repoURL: "https://r.example/stable", version: 2.10, add-images: true}
  - {name: c, repoURL: "oci://ghcr.io/x/", version: 1.0.0+up1}
  - {name: newest, repoURL: "oci://ghcr.io/x"}
  - {name: withImages, repoURL: "oci://ghcr.io/x", add-images: true}
  - {name: c.tgz, repoURL: testdata}
  - {name: v, repoURL: "https://r.example", valuesFiles: [v.yaml], usernameEnv: USER, add-dependencies: false}
`,
  );
  t.same(entries(found), [
    { chart: "rancher", repo: "https://r.example/stable", version: "2.10", images: true },
    { ref: "ghcr.io/x/c:1.0.0_up1" },
    { ref: "ghcr.io/x/newest", tags: { newest: 1 } },
    { chart: "v", repo: "https://r.example" },
  ]);
  t.match(
    found.skipped.map((it) => `${it.what}: ${it.why}`),
    [
      /^chart withImages of oci/,
      /^chart c.tgz of testdata: a folder or archive of this host/,
      /^chart v valuesFiles/,
      /^chart v usernameEnv/,
    ],
  );
});

t.test("files by URL; nothing of this host, whatever a manifest names", async (t) => {
  const found = hauler(
    "Files",
    "spec: {files: [{path: 'https://get.example', name: install.sh}, {path: /etc/shadow}]}\n",
  );
  t.same(
    found.files.map((it) => it.entry),
    [{ url: "https://get.example", as: "install.sh" }],
  );
  t.match(found.skipped, [{ what: "/etc/shadow", why: /a file of this host/ }]);
  t.match(hauler("K3s", "spec: {}\n").skipped, [{ what: "hauler K3s" }]);
});

t.test(
  "keys and annotations that are not known, lists that are none, and documents of nothing are listed",
  async (t) => {
    const what = (found: ReturnType<typeof readSource>) => found.skipped.map((it) => `${it.line}: ${it.what}`);
    const image = "{name: a/b:1, certificate-identity: me, mystery: 1, local: false}";
    t.same(what(hauler("Images", `spec: {images: [${image}], more: x}\nimages: []\n`)), [
      "3: a/b:1 mystery",
      "3: a/b:1 certificate-identity",
      "3: hauler spec more",
    ]);
    const annotations = "metadata: {name: x, annotations: {hauler.dev/rewrite: y, other: z}}\n";
    t.same(what(hauler("Files", `${annotations}spec: {files: {path: "https://x.example/a"}}\n`)), [
      "4: files",
      "3: annotation hauler.dev/rewrite",
    ]);
    t.same(what(hauler("Charts", "spec: {charts: []}\n")), ["1: a document of hauler"]);
    const chart = '{name: c, repoURL: "https://x.example", passCredentialsAll: true, mystery: 1}';
    t.same(what(hauler("Charts", `spec: {charts: [${chart}]}\n`)), [
      "3: chart c mystery",
      "3: chart c passCredentialsAll",
    ]);
  },
);
