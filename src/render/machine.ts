/** The properties of the builder's container and of the machine that rendering depends on. Pure. */

import { compareVersions, pick, recogniseAll } from "../builder/artifacts.ts";
import type { Builder } from "../builder/builder.ts";
import type { RenderInput, RenderRelease } from "./types.ts";
import { addressOf } from "./view.ts";

/** The staged folder's path in the builder's container. */
export const STAGED = "/home/imagebuilder/output";

/** Traits of one version of image-builder, tested against its templates for every version. */
interface Traits {
  /** containerd's configuration names /etc/containerd/certs.d, so that hosts.toml is read. */
  readsHostsToml: boolean;
  /**
   * Rocky Linux reads the kickstart file from a CD that packer creates; RHEL, and all systems in earlier versions, from
   * packer's web server.
   */
  kickstartOnCd: boolean;
}

/**
 * Whether the builder is image-builder up to a version. The CAPI builder 4.6 is v0.1.28 (its compatibility matrix and
 * its kickstart files); of others it is unknown. Without a version image-builder counts as the latest.
 */
function isUpTo(builder: Builder, last: string): boolean {
  if (builder.flavor === "spectro-capi") return true;
  return builder.version !== undefined && compareVersions(builder.version, last) <= 0;
}

/** The traits of a builder's version. */
export function traitsOf(builder: Builder): Traits {
  return { readsHostsToml: !isUpTo(builder, "0.1.30"), kickstartOnCd: !isUpTo(builder, "0.1.44") };
}

/** The installed system, from the ISO's name and the builder's configuration; absent if unknown. */
export function systemOf(builder: Builder, release: RenderRelease): { family?: "rhel" | "rocky"; major?: string } {
  const isos = release.inventory.catalog.isos.map((it) => it.name);
  const iso = builder.iso ?? (isos.length === 1 ? isos[0] : undefined);
  for (const text of [builder.imageconfig.os_version, builder.packerVars.build_name, iso]) {
    const family = /rhel|red.?hat/i.test(text ?? "") ? "rhel" : /rocky/i.test(text ?? "") ? "rocky" : undefined;
    const major = /(?:^|[^0-9.])(7|8|9|10)(?![0-9])/.exec(text ?? "")?.[1];
    if (family !== undefined) return { family, ...(major !== undefined && { major }) };
  }
  return {};
}

/** Whether the installed containerd reads configuration of version 3. */
export function hasContainerd2(builder: Builder, release: RenderRelease): boolean {
  const wanted = builder.imageconfig.containerd_version ?? builder.packerVars.containerd_version;
  const version = wanted ?? pick(recogniseAll(release.inventory.entries.paths()), "containerd")?.version;
  return version !== undefined && compareVersions(version, "2.0.0") >= 0;
}

/** Whether the machine pulls images from this server: kubeadm does, if any were packed. */
export function pullsImages(release: RenderRelease): boolean {
  return release.inventory.catalog.images.some((it) => /\/kube-apiserver[:@]/.test(it.reference));
}

/** Whether the machine needs the server's CA. */
export function needsCa(input: RenderInput): boolean {
  return addressOf(input.baseUrl).tls && input.privateCa;
}
