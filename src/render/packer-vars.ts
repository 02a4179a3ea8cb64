/**
 * Packer variables for kubernetes-sigs/image-builder (PACKER_VAR_FILES). The names of the variables depend on its
 * version, so the renderer is keyed by it. All values are strings, as its templates require. See docs/build.md,
 * "image-builder".
 */

import {
  type Artifact,
  artifactVersion,
  type Component,
  compareVersions,
  pick,
  recogniseAll,
} from "../builder/artifacts.ts";
import type { Builder } from "../builder/builder.ts";
import { AirferryError } from "../errors.ts";
import { hexOf } from "../io/digest.ts";
import { guestVars } from "./guest.ts";
import { STAGED } from "./machine.ts";
import { bootVars } from "./packer-boot.ts";
import { registryPrefix } from "./registry-prefix.ts";
import { repositoriesOf, repositoryServing } from "./rpm-repositories.ts";
import type { RenderInput, RenderRelease } from "./types.ts";
import { addressOf, buildIso, entryAt, entryUrl, findBuilder } from "./view.ts";

const WHAT = "packer-vars";

/**
 * Up to this version containerd and crictl are packer variables with a separate digest; later they are Ansible
 * variables, and the roles look for `.sha256sum` and `.sha256` next to the URL.
 */
const LAST_WITH_URL_VARIABLES = "0.1.46";

const STAGED_REPO_FILE = `${STAGED}/airferry.repo`;

/**
 * Renders the variables as JSON, keys sorted, a newline at the end. Without control-plane images in the release, and
 * with Kubernetes binaries, the http source type is chosen, which needs no registry.
 * @param kickstart the packed kickstart file with its placeholders filled in, if any: packer gets its account
 * @throws {AirferryError} ERR_RENDER when an artifact that the build needs was not packed
 */
export function renderPackerVars(input: RenderInput, kickstart?: string): string {
  const { builder, release } = findBuilder(input, WHAT, "image-builder");
  const vars = {
    ...packerVars(input, builder, release),
    ...(kickstart !== undefined && bootVars(kickstart, builder, release)),
    ...builder.packerVars,
    // These also contain values from the manifest.
    ...guestVars(builder),
  };
  const sorted = Object.fromEntries(Object.entries(vars).sort(([a], [b]) => (a < b ? -1 : 1)));
  return `${JSON.stringify(sorted, null, 2)}\n`;
}

function packerVars(input: RenderInput, builder: Builder, release: RenderRelease): Record<string, string> {
  const artifacts = recogniseAll(release.inventory.entries.paths());
  const given = builder.packerVars;
  const url = (artifact: Artifact) => entryUrl(input, { entry: entryAt(release, artifact.path), release });
  const need = (component: Component, version: string | undefined, example: string): Artifact => {
    const found = pick(artifacts, component, { version });
    if (found !== undefined) return found;
    const wanted = `${component}${version === undefined ? "" : ` ${version}`}`;
    throw new AirferryError("ERR_RENDER", `cannot render "${WHAT}": ${wanted} was not packed`, {
      expected: wanted,
      hint: ["add to the manifest, then lock, pack and carry again:", "files:", `  - url: ${example}`],
    });
  };

  const vars: Record<string, string> = {
    disable_public_repos: "true",
    reenable_public_repos: "false",
    remove_extra_repos: "true",
    extra_repos: STAGED_REPO_FILE,
    // These two are fetched before the public repositories are disabled, and would hang inside the gap.
    redhat_epel_rpm: "",
    epel_rpm_gpg_key: "",
  };
  const iso = buildIso(WHAT, builder, release);
  if (iso !== undefined) {
    vars.iso_url = entryUrl(input, { entry: iso.entry, release });
    vars.iso_checksum = hexOf(iso.entry.digest);
    vars.iso_checksum_type = "sha256";
  }

  const semver = kubernetesVars(input, release, artifacts, given, vars);
  const containerd = need(
    "containerd",
    given.containerd_version,
    "https://github.com/containerd/containerd/releases/download/v2.1.4/containerd-2.1.4-linux-amd64.tar.gz",
  );
  vars.containerd_version = artifactVersion(containerd);
  const crictl = need(
    "crictl",
    given.crictl_version,
    "https://github.com/kubernetes-sigs/cri-tools/releases/download/v1.33.0/crictl-v1.33.0-linux-amd64.tar.gz",
  );
  vars.crictl_version = artifactVersion(crictl);

  const ansible: string[] = [];
  const version = builder.version;
  const upTo = (last: string) => version !== undefined && compareVersions(version, last) <= 0;
  if (upTo(LAST_WITH_URL_VARIABLES)) {
    vars.containerd_url = url(containerd);
    vars.containerd_sha256 = hexOf(entryAt(release, containerd.path).digest);
    vars.crictl_url = url(crictl);
    vars.crictl_sha256 = `${url(crictl)}.sha256`;
    vars.crictl_source_type = "http";
  } else {
    ansible.push(`containerd_url=${url(containerd)}`, `crictl_url=${url(crictl)}`);
    // The tarball cri-containerd-cni includes runc and a unit file; the later one does not.
    if (containerd.name === "containerd") {
      const runc = need(
        "runc",
        given.runc_version,
        "https://github.com/opencontainers/runc/releases/download/v1.3.0/runc.amd64",
      );
      const sums = release.inventory.entries.get(runc.path.replace(/[^/]+$/, "runc.sha256sum"));
      ansible.push(`containerd_runc_url=${url(runc)}`);
      ansible.push(
        `containerd_runc_checksum_url=${sums === undefined ? `${url(runc)}.sha256sum` : entryUrl(input, { entry: sums, release })}`,
      );
      const service = need(
        "containerd.service",
        undefined,
        "https://raw.githubusercontent.com/containerd/containerd/refs/tags/v2.1.4/containerd.service",
      );
      vars.containerd_service_url = url(service);
    }
  }
  if (given.goss_skip_install === undefined && given.goss_url === undefined) {
    const goss = need(
      "goss",
      given.goss_version,
      "https://github.com/goss-org/goss/releases/download/v0.3.23/goss-linux-amd64\n    as: goss/v0.3.23/goss-linux-amd64",
    );
    vars.goss_url = url(goss);
    if (goss.version !== undefined) vars.goss_version = goss.version;
  }
  if (ansible.length > 0) vars.ansible_user_vars = ansible.join(" ");
  if (semver !== undefined) {
    vars.kubernetes_semver = `v${semver}`;
    vars.kubernetes_series = `v${semver.split(".").slice(0, 2).join(".")}`;
  }
  return vars;
}

/** Kubernetes from the packages of a repository and images of the registry, or everything from files. */
function kubernetesVars(
  input: RenderInput,
  release: RenderRelease,
  artifacts: readonly Artifact[],
  given: Readonly<Record<string, string>>,
  vars: Record<string, string>,
): string | undefined {
  const wanted = given.kubernetes_semver?.replace(/^v/, "");
  const kubelet = pick(artifacts, "kubelet-rpm", { version: wanted });
  const prefix = registryPrefix(release, wanted ?? kubelet?.version);
  if (kubelet !== undefined && (prefix !== undefined || given.kubernetes_source_type === "pkg")) {
    const repository = repositoryServing(repositoriesOf(input), kubelet.path, release);
    vars.kubernetes_source_type = "pkg";
    vars.kubernetes_cni_source_type = "pkg";
    vars.kubernetes_rpm_repo = repository.url;
    vars.kubernetes_rpm_gpg_check = repository.gpgcheck ? "True" : "False";
    // One URL: since v0.1.54 it is given to ansible's rpm_key, which accepts no list. The packages' key comes first.
    vars.kubernetes_rpm_gpg_key = repository.keys[0] ?? "";
    vars.kubernetes_rpm_version = artifactVersion(kubelet);
    const cni = pick(artifacts, "kubernetes-cni-rpm");
    if (cni !== undefined) vars.kubernetes_cni_rpm_version = artifactVersion(cni);
    if (prefix !== undefined) registryVars(input, release, prefix, vars);
    return kubelet.version;
  }
  const kubeadm = pick(artifacts, "kubernetes-binary", { version: wanted, name: "kubeadm" });
  if (kubeadm === undefined) {
    throw new AirferryError(
      "ERR_RENDER",
      `cannot render "${WHAT}": Kubernetes${wanted === undefined ? "" : ` ${wanted}`} was not packed`,
      {
        expected: "kubelet packages and control-plane images, or the binaries and image archives of dl.k8s.io",
        hint: "see manifests/image-builder.yaml for the entries of the http source type, which needs no registry",
      },
    );
  }
  const semver = artifactVersion(kubeadm);
  vars.kubernetes_source_type = "http";
  vars.kubernetes_http_source = parentUrl(input, release, kubeadm.path, `/v${semver}/bin/`);
  const cni = pick(artifacts, "cni-plugins", { version: given.kubernetes_cni_semver });
  if (cni === undefined) {
    throw new AirferryError("ERR_RENDER", `cannot render "${WHAT}": the CNI plugins were not packed`, {
      expected: "cni-plugins-linux-amd64-vX.tgz below a folder vX",
      hint: [
        "add to the manifest, then lock, pack and carry again:",
        "files:",
        "  - url: https://github.com/containernetworking/plugins/releases/download/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz",
        "    as: cni/v1.6.0/cni-plugins-linux-amd64-v1.6.0.tgz",
      ],
    });
  }
  vars.kubernetes_cni_source_type = "http";
  vars.kubernetes_cni_http_source = parentUrl(input, release, cni.path, `/v${cni.version}/`);
  vars.kubernetes_cni_semver = `v${cni.version}`;
  vars.kubernetes_cni_http_checksum = `sha256:${entryUrl(input, { entry: entryAt(release, cni.path), release })}.sha256`;
  const additional = ["pause.tar", "coredns.tar", "etcd.tar"];
  const carried = additional.every(
    (name) => pick(artifacts, "kubernetes-image", { version: semver, name }) !== undefined,
  );
  vars.kubernetes_load_additional_imgs = carried ? "true" : "false";
  return semver;
}

function registryVars(input: RenderInput, release: RenderRelease, prefix: string, vars: Record<string, string>): void {
  const { authority } = addressOf(input.baseUrl);
  vars.kubernetes_container_registry = `${authority}/${prefix}`;
  const pause = release.inventory.catalog.images.find((image) => /\/pause:[^/]+$/.test(image.reference));
  const tag = pause?.reference.replace(/@.*$/, "").split(":").pop();
  if (tag !== undefined) vars.pause_image = `${authority}/${prefix}/pause:${tag}`;
}

/** The part of an entry's URL before `marker`; the consumer adds the rest itself. */
function parentUrl(input: RenderInput, release: RenderRelease, path: string, marker: string): string {
  const url = entryUrl(input, { entry: entryAt(release, path), release });
  const at = url.indexOf(marker);
  if (at !== -1) return url.slice(0, at);
  throw new AirferryError("ERR_RENDER", `cannot render "${WHAT}": "${path}" has the wrong place`, {
    expected: `a path with ${marker}`,
    hint: `give its manifest entry such a path with as:`,
  });
}
