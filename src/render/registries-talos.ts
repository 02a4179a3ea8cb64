/**
 * A patch for Talos machine configuration: every registry with packed images is replaced by this server.
 * See Talos, "Configuring Pull Through Cache" and MachineConfig.registries.
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import type { RenderInput } from "./types.ts";

/** Renders the patch: `talosctl gen config … --config-patch @FILE`, or `talosctl patch machineconfig --patch @FILE`. */
export function renderTalosMirrors(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const url = `${tls ? "https" : "http"}://${authority}`;
  return [
    "# written by airferry render talos-mirrors; for Talos 1.5 or later:",
    "#   talosctl gen config NAME ENDPOINT --config-patch @talos-mirrors.yaml",
    "#   talosctl patch machineconfig --patch @talos-mirrors.yaml",
    ...(tls && input.privateCa
      ? [
          "# The machines must trust the server's CA. Compare its fingerprint with the one that airferry serve printed, then add:",
          `#   machine: { registries: { config: { ${JSON.stringify(authority)}: { tls: { ca: "$(base64 -w0 ca.crt)" } } } } }`,
        ]
      : []),
    "machine:",
    "  registries:",
    "    mirrors:",
    ...mirroredRegistries(input).flatMap(({ host }) => [
      `      ${JSON.stringify(host)}:`,
      "        endpoints:",
      `          - ${JSON.stringify(url)}`,
      "        skipFallback: true",
    ]),
    "",
  ].join("\n");
}
