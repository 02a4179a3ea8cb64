/**
 * Where vendors publish the OpenPGP keys that repository files name as files of an installed system, and what the
 * variables of their repository files stand for.
 */

/** By the name of the file below /etc/pki/rpm-gpg/. */
const KEYS: readonly [name: RegExp, url: string][] = [
  [/^RPM-GPG-KEY-(?:Rocky-\d+|rockyofficial)$/, "https://dl.rockylinux.org/pub/rocky/NAME"],
  [/^RPM-GPG-KEY-AlmaLinux(?:-\d+)?$/, "https://repo.almalinux.org/almalinux/NAME"],
  [/^RPM-GPG-KEY-EPEL-\d+$/, "https://dl.fedoraproject.org/pub/epel/NAME"],
  [/^RPM-GPG-KEY-redhat-release$/, "https://access.redhat.com/security/data/fd431d51.txt"],
  [/^RPM-GPG-KEY-centosofficial$/, "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official"],
];

/** By the path of a repository, for files that name no keys; `RELEASE` is its first group. */
const PLACES: readonly [path: RegExp, key: string][] = [
  [/\/rocky\/(9|10)(?:[./]|$)/, "RPM-GPG-KEY-Rocky-RELEASE"],
  [/\/rocky\/8(?:[./]|$)/, "RPM-GPG-KEY-rockyofficial"],
  [/\/almalinux\/(8|9|10)(?:[./]|$)/, "RPM-GPG-KEY-AlmaLinux-RELEASE"],
  [/\/epel\/(8|9|10)(?:[./]|$)/, "RPM-GPG-KEY-EPEL-RELEASE"],
];

/** URL of a key that a repository file names as a file of the target; undefined for unknown names. */
export function publishedKey(file: string): string | undefined {
  const name = file.split("/").at(-1) ?? "";
  return KEYS.find(([pattern]) => pattern.test(name))?.[1].replace("NAME", name);
}

/** URL of the key that packages below a repository's URL are signed with, for distributions that are known by path. */
export function keyForPlace(url: string): string | undefined {
  if (/^https:\/\/pkgs\.k8s\.io\/[\w:./-]+\/rpm\/?$/.test(url))
    return `${url.replace(/\/?$/, "/")}repodata/repomd.xml.key`;
  for (const [pattern, key] of PLACES) {
    const found = pattern.exec(url);
    if (found !== null) return publishedKey(key.replace("RELEASE", found[1] ?? ""));
  }
  return undefined;
}

/**
 * The value of a dnf variable that a distribution sets itself, below /etc/dnf/vars/ as it is installed.
 * @param release major version of the distribution, if it is known
 */
export function usualVariable(name: string, release: string | undefined): string | undefined {
  if (name === "releasever" || name === "releasever_major") return release;
  if (name === "stream") return release === undefined ? undefined : `${release}-stream`;
  return USUAL.get(name);
}

const USUAL = new Map([
  ["rltype", ""],
  ["contentdir", "pub/rocky"],
  ["sigcontentdir", "pub/sig"],
  ["ociregion", ""],
  ["ocidomain", "oracle.com"],
]);
