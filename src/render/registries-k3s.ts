/**
 * `registries.yaml` of k3s and RKE2, from which both generate containerd's hosts.toml files. Images keep their names;
 * containerd names the registry with `?ns=`. See the k3s documentation, "Private Registry Configuration".
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/** Renders the file for `/etc/rancher/k3s/registries.yaml` or `/etc/rancher/rke2/registries.yaml`. */
export function renderK3sRegistries(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const url = `${tls ? "https" : "http"}://${authority}`;
  return [
    "# written by airferry render k3s-registries; for k3s 1.19 and RKE2 1.19 or later, restarted after it:",
    "#   /etc/rancher/k3s/registries.yaml    or    /etc/rancher/rke2/registries.yaml",
    "# From 1.26.13, 1.27.10, 1.28.6 and 1.29.1 on, the flag --disable-default-registry-endpoint prevents the node from asking",
    "# the original registry for anything missing here.",
    "mirrors:",
    ...mirroredRegistries(input).flatMap(({ host }) => [
      `  ${JSON.stringify(host)}:`,
      "    endpoint:",
      `      - ${JSON.stringify(url)}`,
    ]),
    ...(tls && input.privateCa
      ? [
          "configs:",
          `  ${JSON.stringify(authority)}:`,
          "    tls:",
          `      ca_file: ${CLIENT_CA_PATH} # installed by trust-registry.sh`,
        ]
      : []),
    "",
  ].join("\n");
}
