/**
 * docker: where its daemon finds our CA, and the mirror of Docker Hub, the only registry that it knows mirrors for. Images of
 * other registries are pulled by the name that they have here. See docker's "Use a private registry" and daemon.json.
 */
import { dirname } from "node:path";
import { mirroredRegistries, mirrorsHub, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/**
 * Renders the members to merge into `/etc/docker/daemon.json` of any docker. One before 25 does not start when a mirror's URL
 * has a path, and without the path nothing says that Docker Hub is meant: a mirror is only named where nothing of another
 * registry could be taken for what docker asked.
 */
export function renderDockerDaemon(input: RenderInput): string {
  const { authority, url } = dockerView(input);
  const alone = mirroredRegistries(input).every((it) => it.host === "docker.io");
  return daemonJson(input, alone ? url : undefined, authority);
}

/** The same for docker 25 and later, which takes a path in a mirror's URL: it says that Docker Hub is meant. */
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
