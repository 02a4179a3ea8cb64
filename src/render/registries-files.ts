/** The registry part of what can be rendered; nothing where no image was packed. */
import type { ConfigFile } from "./config-files.ts";
import { renderRegistriesConf } from "./registries-conf.ts";
import { hostsTomlFiles } from "./registries-containerd.ts";
import { renderDockerDaemon, renderRegistryTrust } from "./registries-docker.ts";
import { renderImagePolicy, renderRegistriesD } from "./registries-policy.ts";
import { mirroredRegistries } from "./registries-view.ts";
import type { RenderInput } from "./types.ts";

/** Lists the files for container clients. */
export function registryConfigFiles(input: RenderInput): ConfigFile[] {
  if (mirroredRegistries(input).length === 0) return [];
  const file = (name: ConfigFile["name"], path: string, summary: string, text: () => string): ConfigFile => ({
    name,
    path,
    summary,
    make: async () => text(),
  });
  return [
    ...hostsTomlFiles(input).map(({ path, text }): ConfigFile => {
      if (path === "hosts.toml") {
        return { ...file("hosts-toml", path, "containerd: the same for every registry", () => text), isLoose: true };
      }
      const summary = `containerd: /etc/containerd/${path}; docker with containerd's store: /etc/docker/${path}`;
      return file("hosts-toml", path, summary, () => text);
    }),
    file(
      "registries-conf",
      "registries.conf",
      "podman, buildah, skopeo, CRI-O: /etc/containers/registries.conf.d/airferry.conf",
      () => renderRegistriesConf(input),
    ),
    file("docker-daemon", "docker-daemon.json", "docker: members of /etc/docker/daemon.json", () =>
      renderDockerDaemon(input),
    ),
    file("image-policy", "policy.json", "signatures required: /etc/containers/policy.json, with the signer's key", () =>
      renderImagePolicy(input),
    ),
    file("image-policy", "registries.d/airferry.yaml", "goes with policy.json: /etc/containers/registries.d/", () =>
      renderRegistriesD(input),
    ),
    ...(input.privateCa
      ? [
          file(
            "registry-trust",
            "trust-registry.sh",
            "run as root: puts this server's CA where docker, podman, skopeo, buildah and containerd look",
            () => renderRegistryTrust(input),
          ),
        ]
      : []),
  ];
}
