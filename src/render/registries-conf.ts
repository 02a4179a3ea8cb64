/**
 * A drop-in for `/etc/containers/registries.conf.d/`: podman, buildah, skopeo and CRI-O ask this server for every mirrored
 * registry. Images keep the names that manifests and charts have. See containers-registries.conf(5).
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import type { RenderInput } from "./types.ts";

/** Renders the drop-in. */
export function renderRegistriesConf(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const lines = ["# written by airferry render registries-conf", ""];
  if (!tls) lines.push("[[registry]]", `location = "${authority}"`, "insecure = true", "");
  for (const { host, served } of mirroredRegistries(input)) {
    lines.push(
      "[[registry]]",
      `prefix = "${host}"`,
      // The original is never dialled: its place is taken by the mirror itself.
      `location = "${authority}/${served}"`,
      ...(tls ? [] : ["insecure = true"]),
      "",
    );
  }
  return `${lines.join("\n").trimEnd()}\n`;
}
