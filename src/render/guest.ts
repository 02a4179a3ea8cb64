/**
 * Prepares the virtual machine that is built, and undoes that before the image is taken: shell scripts for the
 * builder's `custom_scripts/`, and for image-builder the Ansible role that runs them. A pristine machine does not trust
 * the server's CA, and its containerd uses only https. See docs/build.md, "The machine".
 */

import type { Builder } from "../builder/builder.ts";
import { hasContainerd2, needsCa, pullsImages, STAGED, traitsOf } from "./machine.ts";
import { renderHostsToml } from "./registries-containerd.ts";
import { CLIENT_CA_PATH, type RenderInput, type RenderRelease } from "./types.ts";
import { addressOf } from "./view.ts";

/** One file of the staged folder. */
interface GuestFile {
  path: string;
  text: string;
  mode: number;
}

/** The first and the last of their folders, which builders run in name order. */
const PRE_SCRIPT = "custom_scripts/pre/00-airferry-guest.sh";
const POST_SCRIPT = "custom_scripts/post/zz-airferry-guest.sh";
/** Roles that image-builder gets by path. */
const PRE_ROLE = "roles/airferry_pre";
const POST_ROLE = "roles/airferry_post";
/** Must outlive image-builder's roles: goss is fetched after them. */
const UNDO = "/etc/airferry-guest/undo.sh";

/**
 * Renders the scripts, and for image-builder the roles around them.
 * @param ca PEM of the server's CA, if the machine needs it
 */
export function guestFiles(
  input: RenderInput,
  builder: Builder,
  release: RenderRelease,
  ca: string | undefined,
): GuestFile[] {
  const undo = undoScript(input, release);
  const withRoles = builder.flavor === "image-builder";
  const files = [
    { path: PRE_SCRIPT, text: preScript(input, builder, release, ca, withRoles ? undo : undefined), mode: 0o755 },
  ];
  if (!withRoles) return [...files, { path: POST_SCRIPT, text: undo, mode: 0o755 }];
  files.push({ path: `${PRE_ROLE}/tasks/main.yml`, text: roleTasks("pre"), mode: 0o644 });
  if (builder.customScripts.post.length > 0)
    files.push({ path: `${POST_ROLE}/tasks/main.yml`, text: roleTasks("post"), mode: 0o644 });
  return files;
}

/** Packer variables of image-builder that make it run the roles, and undo their changes at the end. */
export function guestVars(builder: Builder): Record<string, string> {
  const { node_custom_roles_pre: pre, node_custom_roles_post: post, shutdown_command: shutdown } = builder.packerVars;
  const roles = (mine: string, theirs: string | undefined) => [`${STAGED}/${mine}`, theirs].filter(Boolean).join(" ");
  return {
    node_custom_roles_pre: roles(PRE_ROLE, pre),
    ...(builder.customScripts.post.length > 0 && { node_custom_roles_post: roles(POST_ROLE, post) }),
    shutdown_command: `{ sh ${UNDO}; ${shutdown ?? "shutdown -P now"}; }`,
  };
}

function roleTasks(kind: "pre" | "post"): string {
  return `# Written by airferry stage: runs the files in custom_scripts/${kind}, in name order.
- name: Run custom_scripts/${kind} of the staged folder
  ansible.builtin.script:
    cmd: "{{ item | quote }}"
  loop: "{{ query('ansible.builtin.fileglob', '${STAGED}/custom_scripts/${kind}/*') | sort }}"
`;
}

function preScript(
  input: RenderInput,
  builder: Builder,
  release: RenderRelease,
  ca: string | undefined,
  undo: string | undefined,
): string {
  const { authority, tls } = addressOf(input.baseUrl);
  const lines = [
    "#!/bin/sh",
    `# Written by airferry stage for ${input.baseUrl}. Prepares the virtual machine before the build: run as root.`,
    ...PREAMBLE,
  ];
  if (needsCa(input) && ca !== undefined) lines.push(...trust(ca));
  if (!tls && pullsImages(release)) {
    const hosts = `/etc/containerd/certs.d/${authority}`;
    lines.push(
      "",
      "# containerd uses plain HTTP for a registry only if a hosts.toml says so.",
      `mkdir -p ${sh(hosts)}`,
      ...heredoc(`${hosts}/hosts.toml`, renderHostsToml(input)),
    );
    if (!traitsOf(builder).readsHostsToml) {
      lines.push(
        "",
        "# The configuration that the build writes names no folder of hosts.toml; it imports the files in conf.d.",
        "mkdir -p /etc/containerd/conf.d",
        ...heredoc("/etc/containerd/conf.d/airferry.toml", dropIn(builder, release)),
      );
    }
    lines.push(
      "if command -v systemctl >/dev/null 2>&1; then systemctl try-restart containerd >/dev/null 2>&1 || :; fi",
    );
  }
  if (undo !== undefined) {
    lines.push("", "# Run when the machine is switched off for the last time.", "mkdir -p /etc/airferry-guest");
    lines.push(...heredoc(UNDO, undo));
  }
  return `${lines.join("\n")}\n`;
}

/** Debian, Photon and others: their bundles, and the folder that Go programs read completely. */
const BUNDLES = "/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt";
const PLAIN_CA = "/etc/ssl/certs/airferry-ca.pem";
const CUT = `sed -i '/^# airferry-guest begin$/,/^# airferry-guest end$/d' "$bundle"`;

function trust(ca: string): string[] {
  return [
    "",
    "# The CA of the server, for every program on the machine: dnf, curl, Python, containerd.",
    `mkdir -p ${sh(CLIENT_CA_PATH.slice(0, CLIENT_CA_PATH.lastIndexOf("/")))}`,
    ...heredoc(CLIENT_CA_PATH, `${ca.trim()}\n`),
    "if command -v update-ca-trust >/dev/null 2>&1; then",
    "  update-ca-trust",
    "else",
    "  mkdir -p /etc/ssl/certs",
    `  cp ${CLIENT_CA_PATH} ${PLAIN_CA}`,
    `  for bundle in ${BUNDLES}; do`,
    '    [ -f "$bundle" ] || continue',
    `    ${CUT}`,
    `    { echo "# airferry-guest begin"; cat ${CLIENT_CA_PATH}; echo "# airferry-guest end"; } >>"$bundle"`,
    "  done",
    "fi",
  ];
}

/** In containerd 1 an import replaces a plugin's whole section; none of it is needed for pulling images. */
function dropIn(builder: Builder, release: RenderRelease): string {
  return hasContainerd2(builder, release)
    ? "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/etc/containerd/certs.d'\n"
    : 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n';
}

function undoScript(input: RenderInput, release: RenderRelease): string {
  const { authority, host, tls } = addressOf(input.baseUrl);
  const inUrls = host.includes(":") ? `[${host}]` : host;
  const lines = [
    "#!/bin/sh",
    `# Written by airferry stage for ${input.baseUrl}. Removes from the image what only the build needed: run as root.`,
    ...PREAMBLE,
    "",
    "# Repositories of the server, which the image's own users cannot reach.",
    "for repo in /etc/yum.repos.d/*.repo; do",
    `  if [ -f "$repo" ] && grep -qF -e ${sh(`//${inUrls}:`)} -e ${sh(`//${inUrls}/`)} "$repo"; then rm -f "$repo"; fi`,
    "done",
  ];
  if (needsCa(input)) {
    lines.push(
      "",
      `rm -f ${CLIENT_CA_PATH} ${PLAIN_CA}`,
      "if command -v update-ca-trust >/dev/null 2>&1; then",
      "  update-ca-trust",
      "else",
      `  for bundle in ${BUNDLES}; do if [ -f "$bundle" ]; then ${CUT}; fi; done`,
      "fi",
    );
  }
  if (!tls && pullsImages(release)) {
    lines.push(
      "",
      `rm -rf /etc/containerd/conf.d/airferry.toml ${sh(`/etc/containerd/certs.d/${authority}`)}`,
      "rmdir /etc/containerd/conf.d /etc/containerd/certs.d 2>/dev/null || :",
    );
  }
  lines.push(
    "if command -v systemctl >/dev/null 2>&1; then systemctl try-restart containerd >/dev/null 2>&1 || :; fi",
    "rm -rf /etc/airferry-guest",
  );
  return `${lines.join("\n")}\n`;
}

const PREAMBLE = ["set -eu", 'if [ "$(id -u)" != 0 ]; then exec sudo -n sh "$0" "$@"; fi', "umask 022"];

/** A word of a shell command. */
function sh(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** Commands that write a text unchanged. */
function heredoc(file: string, text: string): string[] {
  let end = "AIRFERRY_END";
  while (text.split("\n").includes(end)) end += "_";
  return [`cat >${sh(file)} <<'${end}'`, text.replace(/\n$/, ""), end];
}
