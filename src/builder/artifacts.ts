/**
 * Recognizes by path the artifacts that an image build requests by name: containerd, crictl, runc, CNI
 * plugins, Kubernetes packages and binaries, goss. Used by renderers and by the checks of `lock` and `doctor`.
 */
import { bug } from "../errors.ts";

/** The role of an artifact in the build. */
export type Component =
  | "containerd"
  | "crictl"
  | "runc"
  | "cni-plugins"
  | "goss"
  | "containerd.service"
  | "kubernetes-binary"
  | "kubernetes-image"
  | "kubelet-rpm"
  | "kubeadm-rpm"
  | "kubectl-rpm"
  | "kubernetes-cni-rpm"
  | "cri-tools-rpm";

export interface Artifact {
  component: Component;
  /** Path in the bundle. */
  path: string;
  /** Without `v`; absent if the path does not show it. */
  version?: string;
  /** `amd64`, `arm64`; absent if the path does not show it. */
  arch?: string;
  /** Binary or image name: `kubeadm`, `kube-apiserver.tar`; `cri-containerd-cni` or `containerd` for containerd. */
  name: string;
}

const FILES: readonly { component: Component; pattern: RegExp }[] = [
  {
    component: "containerd",
    pattern:
      /(?:^|\/)(?<name>cri-containerd-cni|containerd)-(?<version>\d[0-9A-Za-z.+-]*?)-linux-(?<arch>amd64|arm64)\.tar\.gz$/,
  },
  {
    component: "crictl",
    pattern: /(?:^|\/)(?<name>crictl)-v?(?<version>\d[0-9A-Za-z.+-]*?)-linux-(?<arch>amd64|arm64)\.tar\.gz$/,
  },
  { component: "runc", pattern: /(?:^|\/)(?:v(?<version>\d[0-9A-Za-z.+-]*)\/)?(?<name>runc)\.(?<arch>amd64|arm64)$/ },
  {
    component: "cni-plugins",
    pattern: /(?:^|\/)(?<name>cni-plugins)-linux-(?<arch>amd64|arm64)-v?(?<version>\d[0-9A-Za-z.+-]*?)\.tgz$/,
  },
  {
    component: "goss",
    pattern: /(?:^|\/)(?:v(?<version>\d[0-9A-Za-z.+-]*)\/)?(?<name>goss)-linux-(?<arch>amd64|arm64)$/,
  },
  { component: "containerd.service", pattern: /(?:^|\/)(?<name>containerd\.service)$/ },
  {
    component: "kubernetes-binary",
    pattern: /(?:^|\/)v(?<version>\d[^/]*)\/bin\/linux\/(?<arch>amd64|arm64)\/(?<name>kubeadm|kubelet|kubectl)$/,
  },
  {
    component: "kubernetes-image",
    pattern: /(?:^|\/)v(?<version>\d[^/]*)\/bin\/linux\/(?<arch>amd64|arm64)\/(?<name>[a-z-]+\.tar)$/,
  },
];
const RPM =
  /(?:^|\/)(?<name>kubelet|kubeadm|kubectl|kubernetes-cni|cri-tools)-(?<version>\d[^-/]*)-[^-/]+\.(?<arch>x86_64|aarch64)\.rpm$/;

/** Recognizes one path of a bundle; undefined for anything that no build requests by name. */
function recognise(path: string): Artifact | undefined {
  if (path.startsWith("rpms/") || path.startsWith("rpmrepo/")) {
    const { name, version, arch } = RPM.exec(path)?.groups ?? {};
    if (name === undefined || version === undefined) return undefined;
    return { component: `${name}-rpm` as Component, path, version, arch: arch === "x86_64" ? "amd64" : "arm64", name };
  }
  if (!path.startsWith("files/")) return undefined;
  for (const { component, pattern } of FILES) {
    const { name, version, arch } = pattern.exec(path)?.groups ?? {};
    if (name === undefined) continue;
    return { component, path, name, ...(version !== undefined && { version }), ...(arch !== undefined && { arch }) };
  }
  return undefined;
}

/** The version in an artifact's path: one of a component whose paths always have it. */
export function artifactVersion({ component, path, version }: Artifact): string {
  return version ?? bug(`the path of ${component} "${path}" has no version`);
}

/** Recognizes all of them, in the given order. */
export function recogniseAll(paths: Iterable<string>): Artifact[] {
  const found: Artifact[] = [];
  for (const path of paths) {
    const artifact = recognise(path);
    if (artifact !== undefined) found.push(artifact);
  }
  return found;
}

/**
 * Selects the artifact of a component: of the wanted version if given, else the newest; amd64 by default. Artifacts
 * whose path shows no version match any.
 */
export function pick(
  artifacts: readonly Artifact[],
  component: Component,
  want: { version?: string | undefined; name?: string; arch?: string } = {},
): Artifact | undefined {
  const version = want.version?.replace(/^v/, "");
  const fitting = artifacts.filter(
    (it) =>
      it.component === component &&
      (want.name === undefined || it.name === want.name) &&
      (it.arch === undefined || it.arch === (want.arch ?? "amd64")) &&
      (version === undefined || it.version === undefined || it.version === version),
  );
  return fitting.sort((a, b) => compareVersions(b.version ?? "0", a.version ?? "0"))[0];
}

/** Compares dotted versions number by number; a pre-release suffix counts as older. */
export function compareVersions(a: string, b: string): number {
  const split = (it: string) => it.replace(/^v/, "").split(/[-+]/, 2);
  const [mainA = "", preA] = split(a);
  const [mainB = "", preB] = split(b);
  const left = mainA.split(".").map(Number);
  const right = mainB.split(".").map(Number);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] || 0) - (right[i] || 0);
    if (difference !== 0) return difference;
  }
  if (preA === preB) return 0;
  return preA === undefined ? 1 : preB === undefined ? -1 : preA < preB ? -1 : 1;
}
