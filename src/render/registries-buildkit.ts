/**
 * Members of `buildkitd.toml`: BuildKit (`docker buildx` with its own builder, `buildctl`) asks this server first for
 * every registry with packed images. See BuildKit's docs/buildkitd.toml.md.
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/** Renders the tables for `/etc/buildkit/buildkitd.toml`. */
export function renderBuildkitd(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const lines = [
    "# written by airferry render buildkitd; for BuildKit 0.8 or later: /etc/buildkit/buildkitd.toml, then restart buildkitd, or",
    "# docker buildx create --driver docker-container --buildkitd-config FILE (buildx before 0.15: --config FILE)",
    "",
  ];
  for (const { host } of mirroredRegistries(input)) {
    lines.push(`[registry.${JSON.stringify(host)}]`, `  mirrors = [${JSON.stringify(authority)}]`, "");
  }
  lines.push(`[registry.${JSON.stringify(authority)}]`);
  if (!tls) lines.push("  http = true");
  if (tls && input.privateCa) lines.push(`  ca = ["${CLIENT_CA_PATH}"]`);
  return `${lines.join("\n")}\n`;
}
