/**
 * Lines to paste, with the address by which this client knows the server: how each kind of content is used by the usual
 * programs. Only for content that is here.
 */
import { commandBlock } from "../../html/frame.ts";
import { type Html, html } from "../../html/html.ts";
import { hexOf } from "../../io/digest.ts";
import { firstOf } from "../../io/first-of.ts";
import { shellWord } from "../../io/shell.ts";
import { isInstallable } from "../../iso/install-tree.ts";
import { formatReference, parseReference, servedHost } from "../../oci/reference.ts";
import { repositoriesOf, treeUrl } from "../../render/rpm-repositories.ts";
import type { RenderInput, RenderRelease } from "../../render/types.ts";
import { entryUrl, releasesOf } from "../../render/view.ts";

type ContentKind = "rpms" | "isos" | "files" | "images";

/** Lines of a kickstart file are for few repositories; more are in the rendered one. */
const MAX_REPO_LINES = 20;

/** Ways to use one kind of content, each with the program that takes it; the first is open. */
export function commandsFor(kind: ContentKind, input: RenderInput): Html[] {
  const ways = WAYS[kind](input).filter(([, lines]) => lines.length > 0);
  return ways.map(([name, lines], at) =>
    at === 0
      ? html`<details open><summary>${name}</summary>${commandBlock(...lines)}</details>`
      : html`<details><summary>${name}</summary>${commandBlock(...lines)}</details>`,
  );
}

type Way = [name: string, lines: string[]];

const WAYS: Record<ContentKind, (input: RenderInput) => Way[]> = { rpms, isos, files, images };

/** URL of a rendered file. */
function configUrl({ baseUrl, stream }: RenderInput, path: string): string {
  return `${baseUrl}${stream === undefined ? "" : `/s/${encodeURIComponent(stream)}`}/config/${path}`;
}

function rpms(input: RenderInput): Way[] {
  const repo = configUrl(input, "airferry.repo");
  const repositories = repositoriesOf(input);
  return [
    ["dnf, yum", [`curl -fsSo /etc/yum.repos.d/airferry.repo ${repo}`, "dnf repolist"]],
    ["zypper", [`zypper addrepo ${repo}`, "zypper refresh"]],
    ["Ansible", download(repo, "/etc/yum.repos.d/airferry.repo")],
    [
      "kickstart",
      repositories
        .slice(0, MAX_REPO_LINES)
        .map((it) => `repo --name=${shellWord(it.id)} --baseurl=${shellWord(it.url)}`),
    ],
  ];
}

function isos(input: RenderInput): Way[] {
  const all = releasesOf(input).flatMap((release) =>
    release.inventory.catalog.isos.flatMap(({ name, path }) => {
      const entry = release.inventory.entries.get(path);
      return entry === undefined ? [] : [{ release, name, entry }];
    }),
  );
  const [first] = all;
  if (first === undefined) return [];
  const url = shellWord(entryUrl(input, first));
  const sums = shellWord(`${entryUrl(input, first)}.sha256sum`);
  const installable = all.find(({ entry }) => {
    const tree = input.trees.get(entry.digest);
    return tree !== undefined && isInstallable(tree);
  });
  const tree = installable && treeUrl(input, installable.name, installable.release);
  return [
    ["curl", [`curl -fOC - ${url}`, `curl -fsS ${sums} | sha256sum -c`]],
    ["installer, at its boot prompt", tree === undefined ? [] : [`inst.repo=${tree}`]],
    ["kickstart", tree === undefined ? [] : [`url --url=${tree}`]],
  ];
}

function files(input: RenderInput): Way[] {
  // There may be hundreds of thousands.
  const [first] = releasesOf(input).flatMap((release) =>
    firstOf(release.inventory.catalog.files, 1).flatMap(({ path }) => {
      const entry = release.inventory.entries.get(path);
      return entry === undefined ? [] : [{ release, entry }];
    }),
  );
  if (first === undefined) return [];
  const url = entryUrl(input, first);
  const name = first.entry.path.slice(first.entry.path.lastIndexOf("/") + 1);
  return [
    ["curl", [`curl -fO ${shellWord(url)}`, `curl -fsS ${shellWord(`${url}.sha256sum`)} | sha256sum -c`]],
    ["Ansible", [...download(url, `/tmp/${name}`), `    checksum: sha256:${hexOf(first.entry.digest)}`]],
  ];
}

function images(input: RenderInput): Way[] {
  const [first] = releasesOf(input).flatMap((it) => it.inventory.catalog.images);
  if (first === undefined) return [];
  const hosts = [...new Set(hostsIn(releasesOf(input)))];
  const [host = ""] = hosts;
  const toml = `certs.d/${host}/hosts.toml`;
  return [
    ...pullCommands(first.reference, input.baseUrl),
    [
      "podman under the original names",
      [
        `curl -fsSo /etc/containers/registries.conf.d/airferry.conf ${configUrl(input, "registries.conf")}`,
        `podman pull ${original(first.reference)}`,
      ],
    ],
    [
      "containerd",
      [
        ...hosts.map((it) => {
          const file = `certs.d/${it}/hosts.toml`;
          return `curl -fsS --create-dirs -o ${shellWord(`/etc/containerd/${file}`)} ${shellWord(configUrl(input, file))}`;
        }),
        `ctr images pull --hosts-dir /etc/containerd/certs.d ${original(first.reference)}`,
      ],
    ],
    [
      "k3s, RKE2",
      [
        `curl -fsS --create-dirs -o /etc/rancher/k3s/registries.yaml ${configUrl(input, "k3s/registries.yaml")}`,
        "systemctl restart k3s",
      ],
    ],
    ["Ansible, for containerd", download(configUrl(input, toml), `/etc/containerd/${toml}`)],
  ];
}

function hostsIn(releases: readonly RenderRelease[]): string[] {
  return releases.flatMap((it) => it.inventory.catalog.images.map(({ reference }) => parseReference(reference).host));
}

function original(reference: string): string {
  return shellWord(formatReference(parseReference(reference)));
}

/** How one image is pulled by its name on this server. */
export function pullCommands(reference: string, baseUrl: string): Way[] {
  const [scheme = "", host = ""] = baseUrl.split("://");
  const parsed = parseReference(reference);
  const name = shellWord(`${host}/${formatReference({ ...parsed, host: servedHost(parsed.host) })}`);
  const plain = scheme === "http";
  return [
    ["podman", [`podman pull${plain ? " --tls-verify=false" : ""} ${name}`]],
    [
      "docker",
      [...(plain ? [`# in /etc/docker/daemon.json: "insecure-registries": ["${host}"]`] : []), `docker pull ${name}`],
    ],
  ];
}

/** A task of Ansible that downloads a file. */
function download(url: string, to: string): string[] {
  const quoted = (text: string) => JSON.stringify(text);
  return ["- ansible.builtin.get_url:", `    url: ${quoted(url)}`, `    dest: ${quoted(to)}`, '    mode: "0644"'];
}
