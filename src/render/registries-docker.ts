/**
 * docker: where its daemon finds our CA, and the mirror of Docker Hub, the only registry that it knows mirrors for. Images of
 * other registries are pulled by the name that they have here. See docker's "Use a private registry" and daemon.json.
 */
import { dirname } from "node:path";
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/** Renders the members to merge into `/etc/docker/daemon.json`. */
export function renderDockerDaemon(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const hub = mirroredRegistries(input).some((it) => it.host === "docker.io");
  const daemon = {
    ...(hub && { "registry-mirrors": [`${tls ? "https" : "http"}://${authority}`] }),
    ...(!tls && { "insecure-registries": [authority] }),
  };
  return `${JSON.stringify(daemon, null, 2)}\n`;
}

/** Renders commands that put the CA where each tool looks for it. */
export function renderRegistryTrust(input: RenderInput): string {
  const { authority } = registryAddress(input);
  const folders = [`/etc/docker/certs.d/${authority}`, `/etc/containers/certs.d/${authority}`];
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
