/**
 * Cross-checks of a builder: its own compatibility matrix (data in manifests/compatibility.json, with its source)
 * against the configured versions and those actually packed. Used by `lock`, `doctor` and `init`.
 */
import matrix from "../../manifests/compatibility.json" with { type: "json" };
import type { Finding } from "../io/findings.ts";
import { type Artifact, type Component, compareVersions, recogniseAll } from "./artifacts.ts";
import { type Builder, parseBuilder } from "./builder.ts";
import { checkImageconfig } from "./check-imageconfig.ts";
import { checkKubeadmImages } from "./kubeadm-images.ts";

/** A row of the matrix: versions without `v`. */
interface MatrixRow {
  k8s: string;
  cni: string;
  containerd: string;
  crictl: string;
  runc?: string;
}

interface Matrix {
  source: string;
  /** `exact`: only the listed versions are supported; `minor`: a row covers its minor version. */
  match: string;
  versions: MatrixRow[];
}

/** The matrix of a flavor. */
export function matrixOf(flavor: Builder["flavor"]): Matrix {
  return matrix[flavor];
}

/** The row for a Kubernetes version; undefined when the builder does not list it. */
export function matrixRow(flavor: Builder["flavor"], k8s: string): MatrixRow | undefined {
  const { match, versions } = matrixOf(flavor);
  const version = k8s.replace(/^v/, "");
  const minor = (it: string) => it.split(".").slice(0, 2).join(".");
  return (
    versions.find((row) => row.k8s === version) ??
    (match === "minor" ? versions.find((row) => minor(row.k8s) === minor(version)) : undefined)
  );
}

/**
 * Checks a manifest's `builder:` against the matrix, against the paths that are or will be in the bundle, and against
 * the references of its images. Returns mismatches, errors first; none without a builder.
 */
export function checkBuilder(value: unknown, paths: Iterable<string>, images: Iterable<string>): Finding[] {
  const builder = parseBuilder(value);
  if (builder === undefined) return [];
  const artifacts = recogniseAll(paths);
  const findings: Finding[] = [];
  if (builder.flavor === "spectro-capi") {
    for (const fault of checkImageconfig(builder.imageconfig)) {
      findings.push({
        level: "error",
        area: "builder",
        subject: `builder.imageconfig.${fault.key}`,
        message: fault.message,
        remedy: fault.remedy,
      });
    }
  }
  const wanted = wantedVersions(builder);
  const k8s = wanted.k8s ?? newest(artifacts, ["kubelet-rpm", "kubernetes-binary"]);
  // A release that neither requires nor has Kubernetes is partial: for example ISO and kickstart file in one stream,
  // the rest in another.
  const isPart = k8s === undefined;
  for (const part of PARTS) checkPacked(part, wanted[part.key], artifacts, builder, isPart, findings);
  if (k8s !== undefined) {
    checkRow(k8s, wanted, artifacts, builder, findings);
    findings.push(...checkKubeadmImages(k8s, images));
  }
  return findings.sort((a, b) => Number(a.level === "warning") - Number(b.level === "warning"));
}

interface Part {
  key: "k8s" | "cni" | "containerd" | "crictl";
  components: Component[];
  imageconfig: string;
  packer: string;
}

const PARTS: readonly Part[] = [
  {
    key: "k8s",
    components: ["kubelet-rpm", "kubernetes-binary"],
    imageconfig: "k8s_version",
    packer: "kubernetes_semver",
  },
  {
    key: "cni",
    components: ["kubernetes-cni-rpm", "cni-plugins"],
    imageconfig: "cni_version",
    packer: "kubernetes_cni_semver",
  },
  { key: "containerd", components: ["containerd"], imageconfig: "containerd_version", packer: "containerd_version" },
  { key: "crictl", components: ["crictl"], imageconfig: "crictl_version", packer: "crictl_version" },
];

type Versions = Partial<Record<Part["key"], string>>;

function keyOf(part: Part, builder: Builder): string {
  return builder.flavor === "spectro-capi" ? `imageconfig.${part.imageconfig}` : `packer_vars.${part.packer}`;
}

function wantedVersions(builder: Builder): Versions {
  const versions: Versions = {};
  for (const part of PARTS) {
    const value =
      builder.flavor === "spectro-capi" ? builder.imageconfig[part.imageconfig] : builder.packerVars[part.packer];
    if (value) versions[part.key] = value.replace(/^v/, "");
  }
  return versions;
}

/** Everything that the builder is configured to use must be packed. */
function checkPacked(
  part: Part,
  wanted: string | undefined,
  artifacts: readonly Artifact[],
  builder: Builder,
  isPart: boolean,
  findings: Finding[],
) {
  const packed = versionsOf(artifacts, part.components);
  if (packed.length === 0) {
    findings.push({
      level: isPart && wanted === undefined ? "warning" : "error",
      area: "builder",
      subject: part.key,
      message: `${part.key}${wanted === undefined ? "" : ` ${wanted}`} was not packed`,
      remedy: `add it to the manifest, as manifests/${builder.flavor === "spectro-capi" ? "rocky-9-capi" : "image-builder"}.yaml does`,
    });
  } else if (wanted !== undefined && !packed.includes(wanted)) {
    findings.push({
      level: "error",
      area: "builder",
      subject: `builder.${keyOf(part, builder)}`,
      message: `builder.${keyOf(part, builder)} is ${wanted}, but packed is ${packed.join(", ")}`,
      remedy: `pack ${part.key} ${wanted}, or set builder.${keyOf(part, builder)} to ${packed[0]}`,
    });
  }
}

/** The versions used must match the builder's matrix for this Kubernetes. */
function checkRow(
  k8s: string,
  wanted: Versions,
  artifacts: readonly Artifact[],
  builder: Builder,
  findings: Finding[],
) {
  const { source, versions } = matrixOf(builder.flavor);
  const row = matrixRow(builder.flavor, k8s);
  if (row === undefined) {
    findings.push({
      level: "warning",
      area: "builder",
      subject: "k8s",
      message: `Kubernetes ${k8s} is not in the builder's compatibility matrix (${source})`,
      remedy: `use one of ${versions.map((it) => it.k8s).join(", ")}, or check whether the builder has a newer matrix`,
    });
    return;
  }
  for (const part of PARTS) {
    if (part.key === "k8s") continue;
    const used = wanted[part.key] ?? newest(artifacts, part.components);
    if (used === undefined || used === row[part.key]) continue;
    findings.push({
      level: "warning",
      area: "builder",
      subject: part.key,
      message: `${part.key} ${used} does not match Kubernetes ${k8s}: the matrix lists ${row[part.key]} (${source})`,
      remedy: `pack ${part.key} ${row[part.key]} and set builder.${keyOf(part, builder)} to it`,
    });
  }
}

function versionsOf(artifacts: readonly Artifact[], components: readonly Component[]): string[] {
  for (const component of components) {
    const found = new Set(artifacts.flatMap((it) => (it.component === component && it.version ? [it.version] : [])));
    if (found.size > 0) return [...found].sort((a, b) => compareVersions(b, a));
  }
  return [];
}

function newest(artifacts: readonly Artifact[], components: readonly Component[]): string | undefined {
  return versionsOf(artifacts, components)[0];
}
