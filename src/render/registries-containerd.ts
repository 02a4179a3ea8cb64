/**
 * containerd's `certs.d/HOST/hosts.toml`, one for each mirrored registry. `server` is this server too, so that nothing
 * is requested outside: with only a `[host]` containerd falls back to upstream, and upstream's error hides the
 * mirror's. See containerd's docs/hosts.md.
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import { CLIENT_CA_PATH, type RenderInput } from "./types.ts";

/** containerd's default is no folder, and then no hosts.toml is read. */
const CONFIG_PATH = `# containerd reads these files only if its configuration names their folder; restart it after that.
# /etc/containerd/config.toml of containerd 2 (version = 3):
#   [plugins.'io.containerd.cri.v1.images'.registry]
#     config_path = '/etc/containerd/certs.d'
# and of containerd 1 (version = 2):
#   [plugins."io.containerd.grpc.v1.cri".registry]
#     config_path = "/etc/containerd/certs.d"
# ctr reads no configuration: ctr images pull --hosts-dir /etc/containerd/certs.d IMAGE
`;

const DEFAULT_FOLDER = `# The folder _default applies to every registry without a separate folder here: none of them is contacted any more, the site's own
# included. Create a folder for those (it may be empty), or omit this one.
`;

/** Renders hosts.toml for one registry; the text is the same for all, containerd names it with `?ns=`. */
export function renderHostsToml(input: RenderInput): string {
  const { authority, tls } = registryAddress(input);
  const url = `${tls ? "https" : "http"}://${authority}`;
  const ca = tls && input.privateCa ? [`ca = "${CLIENT_CA_PATH}"`] : [];
  return [
    "# written by airferry render hosts-toml",
    CONFIG_PATH,
    `server = "${url}"`,
    // Settings below [host] do not apply to the server, which is asked last and whose response is shown.
    ...ca,
    "",
    `[host."${url}"]`,
    '  capabilities = ["pull", "resolve"]',
    ...ca.map((it) => `  ${it}`),
    "",
  ].join("\n");
}

/**
 * The text itself, then for containerd's `config_path`: each mirrored registry, this server, `_default` for all others.
 */
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
