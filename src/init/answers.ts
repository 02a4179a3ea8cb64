/**
 * Edits of a ready manifest's text, by what its user answered. Comments stay: they explain the manifest to whoever
 * edits it next.
 */
import { matrixRow } from "../builder/compatibility.ts";
import { kubeadmCommand, kubeadmImages } from "../builder/kubeadm-images.ts";
import { AirferryError } from "../errors.ts";

/** Values for what a ready manifest leaves open; anything else is unchanged. */
export interface InitAnswers {
  /** Stream name, and the name of the file. */
  stream?: string | undefined;
  /** Kubernetes version; the matching versions of the builder's matrix change with it. */
  k8sVersion?: string | undefined;
  /** URL of the ISO, or the path of a local one, relative to the manifest's folder. */
  iso?: string | undefined;
  /** SHA-256 of the ISO, from the vendor's page. */
  isoSha256?: string | undefined;
  /** `KEY=VALUE` for builder.imageconfig: vcenter_server=vc.example.com */
  imageconfig?: readonly string[] | undefined;
}

/**
 * The text of a ready manifest with the answers filled in. What the user should still look at is appended to `notes`.
 * @throws {AirferryError} ERR_USAGE for an answer that is malformed or for which the manifest has no place
 */
export function answered(ready: string, answers: InitAnswers, notes: string[]): string {
  let text = ready;
  if (answers.k8sVersion !== undefined) text = withKubernetes(text, answers.k8sVersion, notes);
  if (answers.iso !== undefined || answers.isoSha256 !== undefined) text = withIso(text, answers);
  const { stream } = answers;
  if (stream !== undefined) text = text.replace(/^stream: .*$/m, () => `stream: ${yamlString(stream)}`);
  for (const pair of answers.imageconfig ?? []) text = withImageconfig(text, pair);
  return text;
}

/** The Kubernetes version that a ready manifest is written for; undefined when it has none. */
export function kubernetesVersion(ready: string): string | undefined {
  return /(?:k8s_version: |kubernetes_semver: v)(\S+)/.exec(ready)?.[1];
}

/** The builder of a ready manifest, for its compatibility matrix. */
export function flavorIn(ready: string): "image-builder" | "spectro-capi" {
  return /^ +flavor: (.+)$/m.exec(ready)?.[1] === "image-builder" ? "image-builder" : "spectro-capi";
}

/** A string as YAML: plain where it cannot be taken for anything else. */
function yamlString(value: string): string {
  const plain = /^[A-Za-z][\w./-]*$/.test(value) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(value);
  return plain ? value : JSON.stringify(value);
}

/** Replaces the Kubernetes version everywhere, and the matching versions of the builder's matrix. */
function withKubernetes(text: string, answer: string, notes: string[]): string {
  const version = answer.replace(/^v/, "");
  if (!/^\d+\.\d+\.\d+$/.test(version)) {
    throw new AirferryError("ERR_USAGE", `cannot use Kubernetes version "${answer}"`, {
      expected: "like 1.30.4",
      actual: answer,
    });
  }
  const old = kubernetesVersion(text);
  if (old === undefined) {
    throw new AirferryError("ERR_USAGE", "cannot set a Kubernetes version: this ready manifest has none", {
      hint: "use --for rocky-9-capi, or omit --k8s-version",
    });
  }
  if (old === version) return text;
  const flavor = flavorIn(text);
  const before = matrixRow(flavor, old);
  const after = matrixRow(flavor, version);
  const minor = (it: string) => `v${it.split(".").slice(0, 2).join(".")}`;
  let changed = text.replaceAll(`:/${minor(old)}/`, `:/${minor(version)}/`).replaceAll(old, version);
  if (after === undefined)
    notes.push(`Kubernetes ${version} is not in the builder's matrix: check cni, containerd and crictl`);
  else if (before !== undefined) {
    for (const [part, pattern] of [
      ["containerd", /(containerd(?:-cni)?[-/]v?|download\/v|tags\/v)OLD(?=[-/])/g],
      ["crictl", /(crictl-v|cri-tools\/releases\/download\/v)OLD(?=[-/])/g],
      ["cni", /(cni-plugins-linux-amd64-v|plugins\/releases\/download\/v|cni\/v)OLD(?=[./])/g],
    ] as const) {
      if (before[part] === after[part]) continue;
      const source = pattern.source.replace("OLD", before[part].replaceAll(".", "\\."));
      changed = changed.replace(new RegExp(source, "g"), `$1${after[part]}`);
    }
  }
  return withKubeadmImages(changed, version, notes);
}

/** Adds the images that kubeadm of this version pulls besides the control plane. */
function withKubeadmImages(text: string, version: string, notes: string[]): string {
  if (!/registry\.k8s\.io\/kube-apiserver:/.test(text)) return text;
  const list = kubeadmImages(version);
  if (list === undefined || list.guessed) {
    notes.push(`compare coredns, etcd and pause with: ${kubeadmCommand(version)}`);
  }
  return (list?.images ?? []).reduce(
    (changed, { repository, tag }) =>
      changed.replaceAll(new RegExp(`(registry\\.k8s\\.io/${repository}):[A-Za-z0-9._-]+`, "g"), `$1:${tag}`),
    text,
  );
}

/** Sets the location and digest of the first entry of `isos:`. */
function withIso(text: string, answers: InitAnswers): string {
  const [entry, head, lines] = /(^ {2}- name: .*\n)((?: {4}.*\n)+)/m.exec(text) ?? [];
  if (entry === undefined || lines === undefined || !/^isos:$/m.test(text)) {
    throw new AirferryError("ERR_USAGE", "cannot set an ISO: this ready manifest has none", {
      hint: "omit --iso",
    });
  }
  const { iso, isoSha256 } = answers;
  let body = lines;
  if (iso !== undefined) {
    const line = /^https?:\/\//.test(iso) ? `    url: ${iso}\n` : `    path: ${yamlString(iso)}\n`;
    body = body.replace(/^ {4}(?:url|path): .*\n/m, () => line).replace(/^ {4}checksums: .*\n/m, "");
  }
  if (isoSha256 !== undefined) {
    body = `${body.replace(/^ {4}(?:checksums|sha256): .*\n/m, "")}    sha256: ${isoSha256}\n`;
  }
  return text.replace(entry, () => head + body);
}

function withImageconfig(text: string, pair: string): string {
  const at = pair.indexOf("=");
  const key = pair.slice(0, at);
  if (at < 1 || !/^[a-z0-9_]+$/.test(key)) {
    throw new AirferryError("ERR_USAGE", `cannot use "${pair}" for imageconfig`, {
      expected: "KEY=VALUE",
      actual: pair,
    });
  }
  const line = `    ${key}: ${JSON.stringify(pair.slice(at + 1))}`;
  const old = new RegExp(`^ {4}${key}: .*$`, "m");
  if (old.test(text)) return text.replace(old, () => line);
  if (!/^ {2}imageconfig:$/m.test(text)) {
    throw new AirferryError(
      "ERR_USAGE",
      `cannot set imageconfig ${key}: this ready manifest has no builder.imageconfig`,
      {
        hint: "use --for rocky-9-capi",
      },
    );
  }
  return text.replace(/^ {2}imageconfig:\n/m, (it) => `${it}${line}\n`);
}
