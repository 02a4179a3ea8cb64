/**
 * docker: where its daemon finds our CA, and the mirror of Docker Hub, the only registry that it knows mirrors for. Images of
 * other registries are pulled by the name that they have here. See docker's "Use a private registry" and daemon.json.
 */
import { dirname } from "node:path";
import { mirrorsHub, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/** Renders the members to merge into `/etc/docker/daemon.json`. */
export function renderDockerDaemon(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const daemon = {
    // The path says for whom: only one of docker's two stores does, and other registries may have a repository of that name.
    ...(mirrorsHub(input) && { "registry-mirrors": [`${tls ? "https" : "http"}://${authority}/ns/docker.io`] }),
    ...(!tls && { "insecure-registries": [authority] }),
  };
  return `${JSON.stringify(daemon, null, 2)}\n`;
}

/** Renders commands that put the CA where each tool looks for it. */
export function renderRegistryTrust(input: RenderInput): string {
  const { authority } = registryAddress(input);
  const folders = [
    `/etc/docker/certs.d/${authority}`,
    // docker's containerd store takes the CA of a mirror from the folder of what it mirrors.
    ...(mirrorsHub(input) ? ["/etc/docker/certs.d/docker.io"] : []),
    `/etc/containers/certs.d/${authority}`,
  ];
  return [
    "#!/bin/sh",
    "# Puts the CA of this server where docker, podman, skopeo, buildah, containerd and dnf look for it.",
    `# Compare its fingerprint with the one that airferry serve printed: openssl x509 -noout -fingerprint -sha256 -in ca.crt`,
    "set -e",
    `curl -fsSk -o ca.crt '${input.baseUrl}/ca.crt'`,
    "# Where airferry.repo and containerd's hosts.toml name it:",
    `mkdir -p '${dirname(CLIENT_CA_PATH)}'`,
    `cp ca.crt '${CLIENT_CA_PATH}'`,
    ...folders.flatMap((folder) => [`mkdir -p '${folder}'`, `cp ca.crt '${folder}/ca.crt'`]),
    "",
  ].join("\n");
}
