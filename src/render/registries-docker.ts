/**
 * docker: where its daemon finds the server's CA, and the mirror of Docker Hub, the only registry that it supports
 * mirrors for. Images of other registries are pulled by their names on this server. See docker's "Use a private
 * registry" and daemon.json.
 */
import { dirname } from "node:path";
import { mirroredRegistries, mirrorsHub, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/**
 * Renders the members to merge into `/etc/docker/daemon.json` of any docker. One before 25 does not start when a
 * mirror's URL has a path, and without the path nothing identifies Docker Hub: a mirror is named only if no image of
 * another registry could be mistaken for the requested one.
 */
export function renderDockerDaemon(input: RenderInput): string {
  const { authority, url } = dockerView(input);
  const alone = mirroredRegistries(input).every((it) => it.host === "docker.io");
  return daemonJson(input, alone ? url : undefined, authority);
}

/** The same for docker 25 and later, which accepts a path in a mirror's URL, which identifies Docker Hub. */
export function renderDockerDaemon25(input: RenderInput): string {
  const { authority, url } = dockerView(input);
  return daemonJson(input, mirrorsHub(input) ? `${url}/ns/docker.io` : undefined, authority);
}

function dockerView(input: RenderInput): { authority: string; url: string } {
  const { authority, tls } = registryAddress(input);
  return { authority, url: `${tls ? "https" : "http"}://${authority}` };
}

function daemonJson(input: RenderInput, mirror: string | undefined, authority: string): string {
  const daemon = {
    ...(mirror !== undefined && { "registry-mirrors": [mirror] }),
    ...(!registryAddress(input).tls && { "insecure-registries": [authority] }),
  };
  return `${JSON.stringify(daemon, null, 2)}\n`;
}

/** Renders commands that install the CA for each tool. */
export function renderRegistryTrust(input: RenderInput): string {
  const { authority } = registryAddress(input);
  const folders = [
    `/etc/docker/certs.d/${authority}`,
    // docker's containerd store reads the CA of a mirror from the folder of the mirrored registry.
    ...(mirrorsHub(input) ? ["/etc/docker/certs.d/docker.io"] : []),
    `/etc/containers/certs.d/${authority}`,
  ];
  return [
    "#!/bin/sh",
    "# Installs the CA of this server for docker, podman, skopeo, buildah, containerd and dnf.",
    `# Compare its fingerprint with the one that airferry serve printed: openssl x509 -noout -fingerprint -sha256 -in ca.crt`,
    "set -e",
    `curl -fsSk -o ca.crt '${input.baseUrl}/ca.crt'`,
    "# The path in airferry.repo and containerd's hosts.toml:",
    `mkdir -p '${dirname(CLIENT_CA_PATH)}'`,
    `cp ca.crt '${CLIENT_CA_PATH}'`,
    ...folders.flatMap((folder) => [`mkdir -p '${folder}'`, `cp ca.crt '${folder}/ca.crt'`]),
    "",
  ].join("\n");
}
