/**
 * Path of the control-plane images in the served registry: the value for kubeadm's `imageRepository`.
 */
import { parseReference, servedRepository } from "../oci/reference.ts";
import type { RenderRelease } from "./types.ts";

const API_SERVER = "/kube-apiserver";

/**
 * Returns the path below the registry's address with `kube-apiserver`, as served.
 * `registry.k8s.io/kube-apiserver:v1.33.4` gives `registry.k8s.io`. Undefined without that image.
 */
export function registryPrefix(release: RenderRelease, k8sVersion?: string): string | undefined {
  const tag = k8sVersion === undefined ? undefined : `v${k8sVersion.replace(/^v/, "")}`;
  const found = release.inventory.catalog.images
    .map((image) => parseReference(image.reference))
    .filter((it) => tag === undefined || it.tag === undefined || it.tag === tag)
    .map(servedRepository)
    .find((it) => it.endsWith(API_SERVER));
  return found?.slice(0, -API_SERVER.length);
}
