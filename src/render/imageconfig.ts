/**
 * `imageconfig` of the CAPI image builder: every key of its reference, with values from what was packed, and secrets
 * from the environment or left as marked blanks. See docs/build.md, "imageconfig".
 */

import { type Artifact, artifactVersion, type Component, pick, recogniseAll } from "../builder/artifacts.ts";
import type { Builder } from "../builder/builder.ts";
import { checkImageconfig } from "../builder/check-imageconfig.ts";
import { environmentName, IMAGECONFIG_KEYS } from "../builder/imageconfig-keys.ts";
import { AirferryError } from "../errors.ts";
import { hexOf } from "../io/digest.ts";
import { registryPrefix } from "./registry-prefix.ts";
import { repositoriesOf, repositoryServing } from "./rpm-repositories.ts";
import type { RenderInput, RenderRelease } from "./types.ts";
import { addressOf, buildIso, entryAt, entryUrl, findBuilder } from "./view.ts";

const WHAT = "imageconfig";

/**
 * Renders `imageconfig` for the address in `input.baseUrl`.
 * @throws {AirferryError} ERR_RENDER: no builder, a bad key, or an artifact that the build needs was not packed; the
 *   hint names the manifest entry to add
 */
export function renderImageconfig(input: RenderInput): string {
  const { builder, release } = findBuilder(input, WHAT, "spectro-capi");
  const faults = checkImageconfig(builder.imageconfig);
  if (faults.length > 0) {
    throw new AirferryError("ERR_RENDER", `cannot render "${WHAT}": ${faults.map((it) => it.message).join("; ")}`, {
      path: "builder.imageconfig",
      hint: faults.map((it) => it.remedy).join("; "),
    });
  }
  const filled = computed(input, builder, release);
  const lines = [
    `# imageconfig for the CAPI image builder, rendered by airferry for ${input.baseUrl}`,
    `# from stream ${release.stream}, serial ${release.serial}`,
  ];
  let group = "";
  for (const spec of IMAGECONFIG_KEYS) {
    if (spec.group !== group) {
      group = spec.group;
      lines.push("", `# ${group}`);
    }
    const value =
      builder.imageconfig[spec.key] ??
      filled.get(spec.key) ??
      (spec.origin === "secret" ? input.env?.[environmentName(spec.key)] : spec.fallback) ??
      "";
    if (/[\0\r\n]/.test(value)) {
      throw new AirferryError("ERR_RENDER", `cannot render "${WHAT}": ${spec.key} holds a line break or NUL`, {
        hint: `set ${environmentName(spec.key)} to one line`,
      });
    }
    if (value === "" && spec.required && isAsked(spec.key, builder)) lines.push(`# FILL IN: ${spec.key}`);
    lines.push(`${spec.key}=${quote(value)}`);
  }
  return `${lines.join("\n")}\n`;
}

/** A vSphere template replaces the ISO; with an ISO no template is needed. */
function isAsked(key: string, builder: Builder): boolean {
  if (key.startsWith("iso_")) return !builder.imageconfig.vcenter_template;
  return !key.startsWith("vcenter_") || (builder.imageconfig.cloud_type ?? "vmware") === "vmware";
}

/** The values derived from what was packed and where it is served. */
function computed(input: RenderInput, builder: Builder, release: RenderRelease): Map<string, string> {
  const given = builder.imageconfig;
  const artifacts = recogniseAll(release.inventory.entries.paths());
  const { host, tls } = addressOf(input.baseUrl);
  const values = new Map<string, string>([
    ["airgap", "true"],
    ["airgap_ip", host],
  ]);

  const kubelet = need(artifacts, "kubelet-rpm", given.k8s_version, kubeletEntry(given.k8s_version ?? "1.33.4"));
  const k8sVersion = given.k8s_version ?? artifactVersion(kubelet);
  values.set("k8s_version", k8sVersion);
  const repository = repositoryServing(repositoriesOf(input), kubelet.path, release);
  values.set("k8s_rpm_server", repository.url.replace(/\/$/, ""));
  if (repository.keys[0] !== undefined) values.set("k8s_rpm_key", repository.keys[0]);

  const containerd = need(artifacts, "containerd", given.containerd_version, containerdEntry(given.containerd_version));
  values.set("containerd_version", given.containerd_version ?? artifactVersion(containerd));
  values.set("containerd_url", entryUrl(input, { entry: entryAt(release, containerd.path), release }));
  const crictl = need(artifacts, "crictl", given.crictl_version, crictlEntry(given.crictl_version));
  values.set("crictl_version", given.crictl_version ?? artifactVersion(crictl));
  values.set("crictl_url", entryUrl(input, { entry: entryAt(release, crictl.path), release }));
  const cni = pick(artifacts, "kubernetes-cni-rpm") ?? pick(artifacts, "cni-plugins");
  if (cni?.version !== undefined) values.set("cni_version", cni.version);

  const prefix = registryPrefix(release, k8sVersion);
  if (prefix === undefined) {
    throw missing("the control-plane images", `images:\n  - ref: registry.k8s.io/kube-apiserver:v${k8sVersion}`);
  }
  values.set("k8s_container_reg", `${addressOf(input.baseUrl).authority}/${prefix}`);
  if (tls && input.privateCa) values.set("cert_url", `${input.baseUrl}/ca.crt`);
  if (!given.vcenter_template) {
    const iso = buildIso(WHAT, builder, release);
    if (iso === undefined) throw missing("an installation ISO", "isos:\n  - name: rocky-9\n    url: https://…");
    values.set("iso_name", `${iso.iso.name}.iso`);
    values.set("iso_checksum", hexOf(iso.entry.digest));
  }
  return values;
}

function need(
  artifacts: readonly Artifact[],
  component: Component,
  version: string | undefined,
  entry: string,
): Artifact {
  const found = pick(artifacts, component, { version });
  if (found !== undefined) return found;
  const others = artifacts.filter((it) => it.component === component).map((it) => it.version ?? it.path);
  throw missing(`${component}${version === undefined ? "" : ` ${version}`}`, entry, others);
}

function missing(what: string, entry: string, instead: readonly string[] = []): AirferryError {
  return new AirferryError("ERR_RENDER", `cannot render "${WHAT}": ${what} was not packed`, {
    expected: what,
    ...(instead.length === 0 ? {} : { actual: instead.join(", ") }),
    hint: ["add to the manifest, then lock, pack and carry again:", ...entry.split("\n")],
  });
}

function kubeletEntry(version: string): string {
  const minor = version.replace(/^v/, "").split(".").slice(0, 2).join(".");
  return `rpms:\n  - name: kubernetes\n    url: https://pkgs.k8s.io/core:/stable:/v${minor}/rpm/\n    packages: [kubeadm-${version}, kubelet-${version}, kubectl-${version}]`;
}

function containerdEntry(version = "1.7.13"): string {
  const url = `https://github.com/containerd/containerd/releases/download/v${version}/cri-containerd-cni-${version}-linux-amd64.tar.gz`;
  return `files:\n  - url: ${url}\n    checksums: { url: ${url}.sha256sum }`;
}

function crictlEntry(version = "1.28.0"): string {
  const url = `https://github.com/kubernetes-sigs/cri-tools/releases/download/v${version}/crictl-v${version}-linux-amd64.tar.gz`;
  return `files:\n  - url: ${url}\n    checksums: { url: ${url}.sha256 }`;
}

/** The file is read as shell assignments: anything special to a shell is in single quotes. */
function quote(value: string): string {
  return /^[A-Za-z0-9_./:@%+,=-]*$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}

/** Reads `KEY=VALUE` lines back, for tests and for `stage`: comments and blank lines are ignored. */
export function parseImageconfig(text: string): Map<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, key, value] = /^\s*([A-Za-z_][A-Za-z0-9_-]*)=(.*)$/.exec(line) ?? [];
    if (key === undefined || value === undefined) continue;
    const raw = value.trim();
    values.set(key, raw.startsWith("'") ? raw.slice(1, -1).replaceAll("'\\''", "'") : raw.replace(/^"(.*)"$/, "$1"));
  }
  return values;
}
