/**
 * containerd's `certs.d/HOST/hosts.toml`, one for each mirrored registry. `server` is this server too, so that nothing is ever
 * asked outside: with a `[host]` alone containerd falls back to upstream, and upstream's error hides the mirror's. See
 * containerd's docs/hosts.md.
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/** containerd's own default is no folder at all, and then no hosts.toml is ever read. */
const CONFIG_PATH = `# containerd reads these files only where its configuration names their folder; restart it after that.
# /etc/containerd/config.toml of containerd 2 (version = 3):
#   [plugins.'io.containerd.cri.v1.images'.registry]
#     config_path = '/etc/containerd/certs.d'
# and of containerd 1 (version = 2):
#   [plugins."io.containerd.grpc.v1.cri".registry]
#     config_path = "/etc/containerd/certs.d"
# ctr reads no configuration: ctr images pull --hosts-dir /etc/containerd/certs.d IMAGE
`;

const DEFAULT_FOLDER = `# The folder _default is for every registry that has no folder of its own here: none of them is asked any more, the site's own
# included. Give those a folder (an empty one will do), or leave this one out.
`;

/** Renders hosts.toml for one registry; the text is the same for all, containerd says by `?ns=` which one it means. */
export function renderHostsToml(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const url = `${tls ? "https" : "http"}://${authority}`;
  const ca = tls && input.privateCa ? [`ca = "${CLIENT_CA_PATH}"`] : [];
  return [
    "# written by airferry render hosts-toml",
    CONFIG_PATH,
    `server = "${url}"`,
    // What stands below [host] does not count for the server, which is asked last and whose answer is the one that is shown.
    ...ca,
    "",
    `[host."${url}"]`,
    '  capabilities = ["pull", "resolve"]',
    ...ca.map((it) => `  ${it}`),
    "",
  ].join("\n");
}

/** The text alone, then for containerd's `config_path`: each mirrored registry, this server, `_default` for all others. */
export function hostsTomlFiles(input: RenderInput): { path: string; text: string }[] {
  const { authority } = registryAddress(input);
  const text = renderHostsToml(input);
  const hosts = new Set([...mirroredRegistries(input).map((it) => it.host), authority]);
  return [
    { path: "hosts.toml", text },
    ...[...hosts].map((host) => ({ path: `certs.d/${host}/hosts.toml`, text })),
    { path: "certs.d/_default/hosts.toml", text: `${DEFAULT_FOLDER}${text}` },
  ];
}
