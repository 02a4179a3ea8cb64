/** kubeadm's images per version: the data, and what is found out with it. */
import t from "tap";
import compatibility from "../../manifests/compatibility.json" with { type: "json" };
import { compareVersions } from "../../src/builder/artifacts.ts";
import { checkBuilder, matrixOf } from "../../src/builder/compatibility.ts";
import { checkKubeadmImages, kubeadmImages } from "../../src/builder/kubeadm-images.ts";

const beside = (k8s: string) =>
  kubeadmImages(k8s)
    ?.images.slice(4)
    .map((it) => `${it.repository}:${it.tag}`);
const all = (k8s: string) => (kubeadmImages(k8s)?.images ?? []).map((it) => `h.example/k8s/${it.repository}:${it.tag}`);

t.test("what kubeadm config images list prints", async (t) => {
  for (const [version, wanted] of new Map([
    ["1.31.0", ["coredns/coredns:v1.11.1", "pause:3.10", "etcd:3.5.15-0"]],
    ["v1.28.9", ["coredns/coredns:v1.10.1", "pause:3.9", "etcd:3.5.12-0"]],
    ["1.28.5", ["coredns/coredns:v1.10.1", "pause:3.9", "etcd:3.5.9-0"]],
    ["1.29.4", ["coredns/coredns:v1.11.1", "pause:3.9", "etcd:3.5.12-0"]],
    ["1.27.13", ["coredns/coredns:v1.10.1", "pause:3.9", "etcd:3.5.12-0"]],
    ["1.30.4", ["coredns/coredns:v1.11.1", "pause:3.9", "etcd:3.5.12-0"]],
    ["1.33.4", ["coredns/coredns:v1.12.0", "pause:3.10", "etcd:3.5.21-0"]],
  ])) {
    t.strictSame(beside(version), wanted, version);
  }
  t.equal(kubeadmImages("1.12.0"), undefined);
  t.match(kubeadmImages("1.31.99"), { guessed: true });
  for (const flavor of ["spectro-capi", "image-builder"] as const) {
    for (const { k8s } of matrixOf(flavor).versions) t.match(kubeadmImages(k8s), { guessed: false }, k8s);
  }
});

t.test("the rows are in order, without gaps within a minor version", async (t) => {
  const rows = compatibility.kubeadm.versions;
  t.ok(rows.length > 30);
  for (const [index, row] of rows.entries()) {
    t.ok(compareVersions(row.from, row.to) <= 0, row.from);
    const next = rows[index + 1];
    if (next === undefined) continue;
    const [major, minor, patch] = row.to.split(".").map(Number);
    t.ok([`${major}.${minor}.${Number(patch) + 1}`, `${major}.${Number(minor) + 1}.0`].includes(next.from), next.from);
  }
});

t.test("a missing or other image is an error, an unknown version a warning with the command", async (t) => {
  t.strictSame(checkKubeadmImages("1.31.0", all("1.31.0")), []);
  t.strictSame(checkKubeadmImages("1.31.0", ["quay.io/other:1"]), [], "no control plane here: it comes some other way");
  const old = checkKubeadmImages("1.31.0", [...all("1.31.0").slice(0, 4), ...all("1.29.4").slice(4)]);
  t.match(
    old.map((it) => it.message),
    [
      "kubeadm 1.31.0 pulls pause:3.10, and packed is 3.9",
      "kubeadm 1.31.0 pulls etcd:3.5.15-0, and packed is 3.5.12-0",
    ],
  );
  for (const it of old) t.match(it, { level: "error", area: "builder", remedy: /registry\.k8s\.io/ });
  const digest = `@sha256:${"0".repeat(64)}`;
  t.strictSame(
    checkKubeadmImages(
      "1.31.0",
      all("1.31.0").map((it) => it + digest),
    ),
    [],
    "pinned by digest as well",
  );
  const [unknown, ...others] = checkKubeadmImages("1.99.0", ["registry.k8s.io/kube-apiserver:v1.99.0"]);
  t.strictSame(others, []);
  t.match(unknown, { level: "warning", remedy: /kubeadm config images list --kubernetes-version v1\.99\.0/ });
  const newer = checkKubeadmImages("1.31.99", all("1.31.14"));
  t.ok(newer.every((it) => it.level === "warning"));
  t.match(newer[0]?.message, /1\.31\.99 is newer than/);
});

t.test("the builder's check has them", async (t) => {
  const builder = { flavor: "spectro-capi", imageconfig: { k8s_version: "1.31.0" } };
  const findings = checkBuilder(builder, [], ["registry.k8s.io/kube-apiserver:v1.31.0"]);
  t.ok(findings.some((it) => it.message.startsWith("kubeadm 1.31.0 pulls etcd")));
});
