/**
 * Where in the served registry the control-plane images stand: what kubeadm's `imageRepository` must be.
 */
import type { RenderRelease } from "./types.ts";

/**
 * Returns the path below the registry's address that holds `kube-apiserver`, as the server names it: the host first, a
 * port joined with `_`. `registry.k8s.io/kube-apiserver:v1.33.4` gives `registry.k8s.io`. Undefined without that image.
 */
export function registryPrefix(release: RenderRelease, k8sVersion?: string): string | undefined {
  const tag = k8sVersion === undefined ? undefined : `v${k8sVersion.replace(/^v/, "")}`;
  const found = release.inventory.catalog.images
    .map((image) => parseReference(image.reference))
    .filter((it) => it.name === "kube-apiserver" && (tag === undefined || it.tag === undefined || it.tag === tag));
  return found[0]?.prefix;
}

function parseReference(reference: string): { prefix: string; name: string; tag: string | undefined } {
  const [withoutDigest] = reference.split("@", 1);
  const match = /^([^/]+)\/(?:(.*)\/)?([^/:]+)(?::([^/]+))?$/.exec(withoutDigest!);
  if (match === null) return { prefix: "", name: "", tag: undefined };
  const host = match[1]!.replace(":", "_");
  return { prefix: match[2] === undefined ? host : `${host}/${match[2]}`, name: match[3]!, tag: match[4] };
}
