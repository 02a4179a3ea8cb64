/** The registry part of what can be rendered; empty if no image was packed. */
import { renderBuildkitd } from "./registries-buildkit.ts";
import { renderRegistriesConf } from "./registries-conf.ts";
import { hostsTomlFiles } from "./registries-containerd.ts";
import { renderDockerDaemon, renderDockerDaemon25, renderRegistryTrust } from "./registries-docker.ts";
import { renderK3sRegistries } from "./registries-k3s.ts";
import { renderOpenshiftMirrors } from "./registries-openshift.ts";
import { renderImagePolicy, renderRegistriesD } from "./registries-policy.ts";
import { renderTalosMirrors } from "./registries-talos.ts";
import { mirroredRegistries } from "./registries-view.ts";
import type { ConfigFile, RenderInput } from "./types.ts";

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
    file("docker-daemon", "docker-daemon.json", "docker, every version: members of /etc/docker/daemon.json", () =>
      renderDockerDaemon(input),
    ),
    file(
      "docker-daemon-25",
      "docker-daemon-25.json",
      "docker 25 and later (earlier ones do not start with it): members of /etc/docker/daemon.json",
      () => renderDockerDaemon25(input),
    ),
    file(
      "k3s-registries",
      "k3s/registries.yaml",
      "k3s: /etc/rancher/k3s/registries.yaml; RKE2: /etc/rancher/rke2/registries.yaml",
      () => renderK3sRegistries(input),
    ),
    file("openshift-mirrors", "openshift-mirrors.yaml", "OpenShift 4.13 and later: oc apply -f", () =>
      renderOpenshiftMirrors(input),
    ),
    file("talos-mirrors", "talos-mirrors.yaml", "Talos 1.5 and later: a patch of the machine configuration", () =>
      renderTalosMirrors(input),
    ),
    file("buildkitd", "buildkitd.toml", "BuildKit: tables of /etc/buildkit/buildkitd.toml", () =>
      renderBuildkitd(input),
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
            "run as root: installs this server's CA for docker, podman, skopeo, buildah and containerd",
            () => renderRegistryTrust(input),
          ),
        ]
      : []),
  ];
}
