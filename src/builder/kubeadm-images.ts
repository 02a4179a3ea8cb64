/**
 * Which images `kubeadm config images list` prints for a Kubernetes version, from manifests/compatibility.json. A build
 * pulls them inside the gap: one that was not packed is a 404 there. Pure.
 */
import compatibility from "../../manifests/compatibility.json" with { type: "json" };
import type { Finding } from "../io/findings.ts";
import { compareVersions } from "./artifacts.ts";

/** An image by its repository below registry.k8s.io, and its tag. */
interface KubeadmImage {
  repository: string;
  tag: string;
}

/** The images that kubeadm of one version pulls. */
interface KubeadmImages {
  /** All seven, control plane first. */
  images: KubeadmImage[];
  /** The list is that of an earlier patch release: this one is newer than the data. */
  guessed: boolean;
}

const CONTROL_PLANE = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
const { source, versions } = compatibility.kubeadm;

/**
 * The images of a Kubernetes version (with or without `v`); undefined for a minor version that the data does not have.
 */
export function kubeadmImages(k8s: string): KubeadmImages | undefined {
  const version = k8s.replace(/^v/, "");
  const minor = (it: string) => it.split(".").slice(0, 2).join(".");
  const rows = versions.filter((it) => minor(it.from) === minor(version));
  const row = rows.filter((it) => compareVersions(it.from, version) <= 0).at(-1);
  if (row === undefined) return undefined;
  const { coredns, etcd, pause } = row;
  return {
    images: [
      ...CONTROL_PLANE.map((repository) => ({ repository, tag: `v${version}` })),
      { repository: "coredns/coredns", tag: coredns },
      { repository: "pause", tag: pause },
      { repository: "etcd", tag: etcd },
    ],
    guessed: compareVersions(version, row.to) > 0,
  };
}

/** The command that lists them for any version, with the images' usual registry. */
export function kubeadmCommand(k8s: string): string {
  return `kubeadm config images list --kubernetes-version v${k8s.replace(/^v/, "")}`;
}

/**
 * Compares the packed images with what kubeadm of this version pulls. Reports nothing if no control plane was packed:
 * it comes from elsewhere then.
 * @param references the packed images: `registry.k8s.io/pause:3.9`, also under another registry's name
 */
export function checkKubeadmImages(k8s: string, references: Iterable<string>): Finding[] {
  const packed = new Map<string, Set<string>>();
  for (const it of references) {
    const [, repository, tag] = /([^/:@]+):([^/:@]+)(?:@|$)/.exec(it) ?? [];
    if (repository !== undefined && tag !== undefined) {
      packed.set(repository, (packed.get(repository) ?? new Set()).add(tag));
    }
  }
  if (!CONTROL_PLANE.some((it) => packed.has(it))) return [];
  const list = kubeadmImages(k8s);
  if (list === undefined || list.guessed) {
    const state = list === undefined ? "is not in" : "is newer than";
    const unknown: Finding = {
      level: "warning",
      area: "builder",
      subject: "images",
      message: `Kubernetes ${k8s} ${state} the lists of kubeadm's images (${source})`,
      remedy: `compare images: with ${kubeadmCommand(k8s)}`,
    };
    if (list === undefined) return [unknown];
    return [unknown, ...missing(k8s, list.images, packed, "warning")];
  }
  return missing(k8s, list.images, packed, "error");
}

function missing(
  k8s: string,
  images: readonly KubeadmImage[],
  packed: ReadonlyMap<string, ReadonlySet<string>>,
  level: Finding["level"],
): Finding[] {
  return images.flatMap(({ repository, tag }): Finding[] => {
    const there = packed.get(repository.split("/").at(-1) as string) ?? new Set<string>();
    if (there.has(tag)) return [];
    const found = there.size === 0 ? "none was packed" : `packed is ${[...there].sort().join(", ")}`;
    return [
      {
        // Another tag is a fault; an omitted image may come from a registry that k8s_container_reg names.
        level: there.size === 0 ? "warning" : level,
        area: "builder",
        subject: "images",
        message: `kubeadm ${k8s} pulls ${repository}:${tag}, and ${found}`,
        remedy: `add to images: { ref: "registry.k8s.io/${repository}:${tag}", platforms: [linux/amd64] }`,
      },
    ];
  });
}
