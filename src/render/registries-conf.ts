/**
 * A drop-in for `/etc/containers/registries.conf.d/`: podman, buildah, skopeo and CRI-O use this server for every
 * mirrored registry. Images keep their names in manifests and charts. See containers-registries.conf(5).
 */
import { containersView, mirrorsHub } from "./registries-view.ts";
import type { RenderInput } from "./types.ts";

/**
 * Renders the drop-in.
 * @throws {AirferryError} ERR_RENDER when the server's address is IPv6
 */
export function renderRegistriesConf(input: RenderInput): string {
  const { authority, tls, registries, unnamed } = containersView(input, "registries-conf");
  const lines = [
    "# written by airferry render registries-conf; goes to /etc/containers/registries.conf.d/airferry.conf",
    "",
  ];
  for (const host of unnamed) lines.push(`# ${host} was packed too, but no rule can name an IPv6 address`, "");
  if (mirrorsHub(input)) {
    // Must be before the first table.
    lines.push(
      "# names without a host, as docker reads them; takes precedence over the list in /etc/containers/registries.conf",
    );
    lines.push('unqualified-search-registries = ["docker.io"]', "");
  }
  if (!tls) lines.push("[[registry]]", `location = "${authority}"`, "insecure = true", "");
  for (const { host, served } of registries) {
    lines.push(
      "[[registry]]",
      `prefix = "${host}"`,
      // The original is never contacted: the mirror replaces it.
      `location = "${authority}/${served}"`,
      ...(tls ? [] : ["insecure = true"]),
      "",
    );
  }
  return `${lines.join("\n").trimEnd()}\n`;
}
