/**
 * containerd's `certs.d/HOST/hosts.toml`, one for each mirrored registry. `server` is this server too, so that nothing is ever
 * asked outside: with a `[host]` alone containerd falls back to upstream, and upstream's error hides the mirror's.
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/** Renders hosts.toml for one registry; the text is the same for all, containerd says by `?ns=` which one it means. */
export function renderHostsToml(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const url = `${tls ? "https" : "http"}://${authority}`;
  return [
    `server = "${url}"`,
    "",
    `[host."${url}"]`,
    '  capabilities = ["pull", "resolve"]',
    ...(tls && input.privateCa ? [`  ca = "${CLIENT_CA_PATH}"`] : []),
    "",
  ].join("\n");
}

/** The text alone, then for containerd's `config_path`: each mirrored registry, this server, `_default` for all others. */
export function hostsTomlFiles(input: RenderInput): { path: string; text: string }[] {
  const { authority } = registryAddress(input);
  const hosts = [...mirroredRegistries(input).map((it) => it.host), authority, "_default"];
  const text = renderHostsToml(input);
  return ["hosts.toml", ...[...new Set(hosts)].map((host) => `certs.d/${host}/hosts.toml`)].map((path) => ({
    path,
    text,
  }));
}
