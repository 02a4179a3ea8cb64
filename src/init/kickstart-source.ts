/**
 * Kickstart files: where packages come from and which they are. The syntax is pykickstart's: commands, and sections
 * from `%name` to `%end`. What scripts fetch is listed. No I/O.
 */
import { addImage, type FoundContent, skip } from "./found.ts";
import { optionsOf, type Words, wordsOf } from "./kickstart-words.ts";

/** Sections, and lines that begin with a percent sign and have no end. */
const SECTION = /^%(packages|pre|pre-install|post|onerror|traceback|addon|anaconda|certificate)\b/;
const SOURCE_COMMAND = /^(?:url|repo|cdrom|nfs|harddrive|liveimg|ostreesetup|ostreecontainer|bootc|module)(?=\s|$)/m;
const SYSTEM_COMMAND = /^(?:rootpw|bootloader|clearpart|autopart|part|timezone|keyboard|lang|authselect|network)\s/m;
/** Longer lines of scripts are data. */
const MAX_SCRIPT_LINE = 4096;
const URL = /\b(?:https?|ftp):\/\/[^\s"'`<>|;)\\]+/g;
/** A command of a script that installs packages of repositories. */
const INSTALLS = /\b(?:dnf|yum|microdnf|zypper|tdnf)\d?\b[^#|;&]*\b(?:install|localinstall|groupinstall|module)\b/;
/** Commands of a script that fetch something, often without a URL. */
const FETCHES =
  /(?:^|[\s;&|(])(?:(?:podman|docker|nerdctl|crictl|buildah|skopeo|bootc|rpm-ostree|ctr)\b[^#|;&]*\b(?:pull|run|copy|from|switch|rebase|create)|(?:pip3?|npm|gem|cargo|flatpak|snap|ansible-galaxy|go|helm)\b[^#|;&]*\b(?:install|pull|get|i)|git\b[^#|;&]*\bclone)\s/;

/** Whether a text is a kickstart file: it has sections, or commands of both kinds. */
export function isKickstartFile(text: string): boolean {
  return (
    /^%(?:packages|include|ksappend|post|pre|addon)\b/m.test(text) ||
    (SOURCE_COMMAND.test(text) && SYSTEM_COMMAND.test(text)) ||
    /^(?:url|repo|liveimg)\s+--/m.test(text)
  );
}

export function readKickstart(text: string, found: FoundContent): void {
  found.formats.push("kickstart");
  // Old files may leave out %end; with it, only it ends a section: scripts can write other kickstart files.
  const hasEnds = /^%end\b/m.test(text);
  let section: string | undefined;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = index + 1;
    const release = /^#\s?version=(?:RHEL|CENTOS|OL)-?(\d+)/i.exec(raw)?.[1];
    if (release !== undefined && !found.releases.includes(release)) found.releases.push(release);
    const begins = SECTION.exec(raw);
    if (/^%end\b/.test(raw)) section = undefined;
    else if (begins !== null && (section === undefined || !hasEnds)) {
      section = begins[1];
      if (section === "packages") readPackageOptions(wordsOf(raw), line, found);
    } else if (/^%(?:include|ksappend)\b/.test(raw) && (section === undefined || section === "packages")) {
      skip(found, line, raw, "give the file itself too: airferry init --from FILE");
    } else if (section === "packages") readPackage(raw, line, found);
    else if (section === undefined) readCommand(wordsOf(raw), line, found);
    else readScript(raw, line, section, found);
  }
}

function readPackageOptions(words: Words, line: number, found: FoundContent): void {
  const { packages } = found;
  packages.isInstallation = true;
  const { options } = optionsOf(words);
  if (!options.has("nocore")) packages.wanted.push({ spec: "@core", line });
  // Anaconda installs recommended packages too.
  packages.options.weak_deps = "recommends";
  for (const key of options.keys()) {
    if (/^exclude-?weakdeps$/i.test(key)) packages.options.weak_deps = "off";
    else if (key === "multilib") packages.options.multilib = true;
    else if (!OF_INSTALLER.has(key.toLowerCase())) skip(found, line, `%packages --${key}`, optionFault(key));
  }
}

/** What the installer does with packages, once it has them. */
const OF_INSTALLER = new Set(["nocore", "nodocs", "excludedocs", "instlangs", "inst-langs", "timeout", "retries"]);

function optionFault(key: string): string {
  if (/^ignore/.test(key)) return "a package that no repository has stops lock: remove its name from packages:";
  if (key === "default") return "name the default environment in packages: as @^ENVIRONMENT";
  return "the manifest has no such setting";
}

function readPackage(raw: string, line: number, found: FoundContent): void {
  const text = raw.replace(/#.*$/, "").trim();
  const [first = "", ...more] = text.split(/\s+/);
  const { wanted, excluded } = found.packages;
  if (first === "") return;
  if (/[\p{Cc}\p{Cf}"'\\]/u.test(text)) skip(found, line, text, "not a package");
  else if (text.startsWith("@")) {
    const name = text.replace(/\s+--\S+/g, "").replace(/^@\s+/, "@");
    if (name === "@*") skip(found, line, text, "all groups: leave packages: out to carry the whole repository");
    else wanted.push({ spec: name, line });
    for (const option of more.filter((it) => it.startsWith("--"))) {
      const why = option === "--nodefaults" ? "all mandatory and default members are carried" : GROUP_OPTION;
      skip(found, line, `${name} ${option}`, why);
    }
  } else if (more.length > 0) skip(found, line, text, "several words: expected one package a line");
  else if (first === "*") skip(found, line, text, "all packages: leave packages: out to carry the whole repository");
  else if (/^-@/.test(first)) skip(found, line, first, "groups cannot be excluded: name packages under exclude:");
  else if (/^%|^[{}]/.test(first)) skip(found, line, text, "not a package");
  else if (first === "-") skip(found, line, text, "not a package");
  else if (first.startsWith("-")) excluded.push({ spec: first.slice(1), line });
  else wanted.push({ spec: first, line });
}

const GROUP_OPTION = "optional members of groups are not carried: name them in packages:";

function readCommand(words: Words, line: number, found: FoundContent): void {
  const [command = ""] = words;
  const { options, rest } = optionsOf(words);
  const get = (key: string) => options.get(key);
  switch (command) {
    case "url":
    case "repo":
      readRepository(command, options, line, found);
      return;
    case "cdrom":
      found.dvd ??= line;
      return;
    case "nfs":
    case "harddrive":
    case "hmc":
    case "ostreesetup":
      skip(found, line, command, SOURCES[command] ?? "");
      return;
    case "liveimg":
      readLiveImage(options, line, found);
      return;
    case "ostreecontainer": {
      const [url = "", transport = ""] = [get("url"), get("transport")];
      readBootImage(transport === "" ? url : `${transport}:${url}`, command, line, found);
      return;
    }
    case "bootc": {
      readBootImage(get("source-imgref") ?? "", command, line, found);
      const target = get("target-imgref");
      if (target !== undefined && target !== get("source-imgref"))
        skip(found, line, `bootc --target-imgref ${target}`, "updates come from there: list it too, or publish to it");
      return;
    }
    case "module": {
      const [name, stream] = [get("name"), get("stream")];
      if (name === undefined || options.has("disable")) {
        skip(found, line, words.join(" "), name === undefined ? "it has no --name" : "disables a module");
        return;
      }
      found.packages.wanted.push({ spec: `@${name}${stream === undefined ? "" : `:${stream}`}`, line });
      return;
    }
    case "driverdisk":
    case "updates":
    case "rhsm":
      skip(found, line, command, SOURCES[command] ?? "");
      return;
    default:
      if (command.startsWith("%")) skip(found, line, words.join(" "), "not read: a directive of a template");
      else
        for (const url of [...options.values(), ...rest].join(" ").match(URL) ?? []) skipUrl(url, command, line, found);
  }
}

/**
 * An image that is installed as a system: `registry:IMAGE`, `docker://IMAGE`, perhaps after `ostree-…:` that tells how
 * its signature is checked; or a folder or archive, `oci:PATH`.
 */
function readBootImage(text: string, command: string, line: number, found: FoundContent): void {
  const plain = text
    .replace(/^ostree-(?:unverified-image|image-signed|remote-image:[^:]*):/, "")
    .replace(/^ostree-(?:unverified-registry|remote-registry:[^:]*):/, "registry:");
  const transport = /^(oci|oci-archive|docker-archive|docker-daemon|containers-storage|dir)\b:/.exec(plain)?.[1];
  if (transport !== undefined)
    skip(found, line, `${command} ${plain}`, `transport ${transport}: name it under images: as archive:`);
  else addImage(found, line, plain.replace(/^(?:registry|docker):(?:\/\/)?/, ""));
}

const SOURCES: Readonly<Record<string, string>> = {
  nfs: "an NFS server is not read: name what it has as isos: or rpms: with path:",
  harddrive: "a disk of the target is not read: name what it has as isos: or rpms: with path:",
  hmc: "a medium of the target is not read: name what it has as isos: or rpms: with path:",
  ostreesetup: "OSTree repositories are not carried; ostreecontainer images are",
  driverdisk: "name it under files:",
  updates: "name it under files:",
  rhsm: "the installer registers at a server and installs from there: give .repo files of its repositories too",
};

function readRepository(
  command: string,
  options: ReadonlyMap<string, string>,
  line: number,
  found: FoundContent,
): void {
  const get = (key: string) => options.get(key) ?? "";
  const list = (key: string) =>
    get(key)
      .split(/[\s,]+/)
      .filter((it) => it !== "");
  const url = command === "url" ? get("url") : get("baseurl");
  const what = command === "url" ? "url" : `repo ${get("name")}`;
  if (/^file:\/+run\/install\//.test(url)) {
    found.dvd ??= line;
    return;
  }
  const [place, ...others] = [
    { key: "url", value: url },
    { key: "mirrorlist", value: get("mirrorlist") },
    { key: "metalink", value: get("metalink") },
  ].filter((it) => it.value !== "");
  for (const it of others) skip(found, line, `${what} --${it.key}`, "a second location: a manifest has one of them");
  if (place === undefined) {
    skip(found, line, what, "a repository that the installer knows by name: give its .repo file too");
    return;
  }
  if (!/^https?:\/\//i.test(place.value)) {
    skip(found, line, `${what} ${place.value}`, "expected an http URL");
    return;
  }
  const exclude = list("excludepkgs");
  found.repositories.push({
    line,
    name: command === "url" ? "" : get("name"),
    place: { [place.key]: place.value },
    keys: [],
    entry: { ...(exclude.length > 0 && { exclude }) },
    only: list("includepkgs"),
  });
  for (const key of options.keys()) {
    if (!KNOWN.has(key)) skip(found, line, `${what} --${key}`, OF_HOSTS);
  }
}

const OF_HOSTS = "not read: credentials, CAs and proxies: see hosts:";
const KNOWN = new Set(
  "url name baseurl mirrorlist metalink includepkgs excludepkgs install cost ignoregroups".split(" "),
);

function readLiveImage(options: ReadonlyMap<string, string>, line: number, found: FoundContent): void {
  const [url = "", checksum = ""] = [options.get("url"), options.get("checksum")];
  if (!/^https?:\/\//i.test(url)) {
    skip(found, line, `liveimg ${url}`, "expected an http or https URL");
    return;
  }
  const isSum = /^[0-9a-f]{64}$/i.test(checksum);
  found.files.push({ line, entry: { url, ...(isSum && { sha256: checksum }) } });
  if (!isSum && checksum !== "") skip(found, line, "liveimg --checksum", "expected 64 hexadecimal digits of SHA-256");
  for (const key of options.keys()) {
    if (key !== "url" && key !== "checksum") skip(found, line, `liveimg --${key}`, OF_HOSTS);
  }
}

function readScript(raw: string, line: number, section: string, found: FoundContent): void {
  const text = /^\s*#/.test(raw) ? "" : raw.slice(0, MAX_SCRIPT_LINE);
  for (const url of text.match(URL) ?? []) skipUrl(url, `%${section}`, line, found);
  const why = INSTALLS.test(text)
    ? "a script installs packages: add them to packages:, if they are not there"
    : FETCHES.test(text)
      ? "a script fetches this: name it under images: or files:, or record it (airferry record)"
      : undefined;
  if (why !== undefined) skip(found, line, `%${section}: ${text.trim()}`, why);
}

function skipUrl(url: string, where: string, line: number, found: FoundContent): void {
  skip(
    found,
    line,
    `${where}: ${url}`,
    "fetched while installing: name it under files:, or its repository under rpms:",
  );
}
