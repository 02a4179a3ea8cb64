/** Repository files of dnf and yum (`/etc/yum.repos.d/*.repo`). See dnf.conf(5), "Repo Options". No I/O. */
import { type FoundContent, shown, skip } from "./found.ts";

/** How clients fetch, and what they prefer: nothing that changes what is carried. */
const OF_CLIENTS = new Set(
  (
    "name enabled type cost metadata_expire skip_if_unavailable countme fastestmirror keepcache bandwidth throttle timeout " +
    "retries minrate ip_resolve http_caching max_parallel_downloads deltarpm autorefresh enabled_metadata metadata_expire_filter " +
    "failovermethod mirrorlist_expire deltarpm_percentage ui_repoid_vars zchunk user_agent enablegroups exclude_from_weak_autodetect"
  ).split(" "),
);

const SECRETS = new Set(["username", "password", "proxy", "proxy_username", "proxy_password"]);
const TLS = new Set(["sslcacert", "sslclientcert", "sslclientkey", "sslverify", "proxy_sslcacert", "sslcacertdir"]);

interface Section {
  id: string;
  line: number;
  options: Map<string, { value: string; line: number }>;
}

/** The line of a section, which may end with a comment. Options have none: what follows is a part of the value. */
const SECTION = /^\[([^\]\n]+)\][ \t]*(?:[#;][^\n]*)?\r?$/m;

/** Whether a text is one: a section with a location. */
export function isRepoFile(text: string): boolean {
  return SECTION.test(text) && /^(?:baseurl|mirrorlist|metalink)[ \t]*[=:]/m.test(text);
}

export function readRepoFile(text: string, found: FoundContent): void {
  found.formats.push("dnf repository file");
  for (const section of sectionsOf(text, found)) readSection(section, found);
}

function sectionsOf(text: string, found: FoundContent): Section[] {
  const sections: Section[] = [];
  let last: { value: string; line: number } | undefined;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = index + 1;
    if (/^\s*(?:[#;]|$)/.test(raw)) continue;
    const id = SECTION.exec(raw)?.[1]?.trim();
    const [, key, value] = /^([A-Za-z_][\w.]*)\s*[=:]\s*(.*)$/.exec(raw) ?? [];
    if (id !== undefined) {
      sections.push({ id, line, options: new Map() });
      last = undefined;
    } else if (/^\s/.test(raw) && last !== undefined) last.value += `\n${raw.trim()}`;
    else if (key !== undefined && value !== undefined && sections.length > 0) {
      last = { value: value.trim(), line };
      sections.at(-1)?.options.set(key.toLowerCase(), last);
    } else skip(found, line, "a line outside of the format", "expected [id] or option=value");
  }
  return sections;
}

function readSection({ id, line, options }: Section, found: FoundContent): void {
  const text = (key: string) => options.get(key)?.value ?? "";
  const list = (...keys: string[]) => keys.flatMap((it) => text(it).split(/[\s,]+/)).filter((it) => it !== "");
  const isFalse = (key: string) => /^(?:0|no|false|off)$/i.test(text(key));
  const isTrue = (key: string) => /^(?:1|yes|true|on)$/i.test(text(key));
  const what = `[${shown(id, 80)}]`;
  if (id === "main") {
    skip(found, line, what, "options for all repositories: a manifest has none");
    return;
  }
  if (isFalse("enabled")) {
    skip(found, line, what, "it is disabled (enabled=0)");
    return;
  }
  const urls: string[] = [];
  for (const url of list("baseurl")) {
    if (/^https?:\/\//i.test(url)) urls.push(url);
    else skip(found, options.get("baseurl")?.line ?? line, `${what} baseurl=${url}`, notHttp(url));
  }
  const [metalink, mirrorlist] = [text("metalink"), text("mirrorlist")];
  const place =
    urls.length > 0
      ? urls.length === 1
        ? { url: urls[0] }
        : { urls }
      : /^https?:/i.test(metalink)
        ? { metalink }
        : /^https?:/i.test(mirrorlist)
          ? mirrorlist.includes("metalink")
            ? { metalink: mirrorlist }
            : { mirrorlist }
          : undefined;
  if (place === undefined) {
    skip(found, line, what, "it has no http or https location: give it path: in the manifest if it is here");
    return;
  }
  for (const [key, url] of Object.entries({ metalink, mirrorlist })) {
    if (url === "" || Object.values(place).includes(url)) continue;
    const why = `${Object.keys(place)[0]} of the same section is carried over: a manifest has one of them`;
    skip(found, options.get(key)?.line ?? line, `${what} ${key}`, why);
  }
  const exclude = list("excludepkgs", "exclude");
  for (const [key, { line: at }] of options) readOther(key, at, what, found);
  found.repositories.push({
    line,
    name: id,
    place,
    keys: list("gpgkey"),
    entry: {
      ...(isFalse("gpgcheck") && { gpgcheck: false }),
      ...(isTrue("repo_gpgcheck") && { repo_gpgcheck: true }),
      ...(isTrue("module_hotfixes") && { module_hotfixes: true }),
      ...(exclude.length > 0 && { exclude }),
    },
    only: list("includepkgs", "includepkg"),
  });
  for (const key of list("gpgkey")) {
    const release = /RPM-GPG-KEY-[A-Za-z]+-(\d+)$/.exec(key)?.[1];
    if (release !== undefined && !found.releases.includes(release)) found.releases.push(release);
  }
}

const READ = new Set(
  "baseurl metalink mirrorlist gpgkey gpgcheck repo_gpgcheck module_hotfixes excludepkgs exclude includepkgs includepkg".split(
    " ",
  ),
);

/** What an option means that no key of an entry has. Values are not shown: they may be secrets. */
function readOther(key: string, line: number, what: string, found: FoundContent): void {
  if (READ.has(key) || OF_CLIENTS.has(key)) return;
  const why = SECRETS.has(key)
    ? "logins are never copied: name variables under hosts: (username_env, password_env), proxies in HTTPS_PROXY"
    : TLS.has(key)
      ? "a file or setting of the target: name ca:, cert: and key: of the host under hosts:"
      : key === "priority"
        ? "repositories of a manifest have no priorities: leave out (exclude:) what must not come from one"
        : "the manifest has no such setting";
  skip(found, line, `${what} ${key}`, why);
}

function notHttp(url: string): string {
  return url.startsWith("file:")
    ? "a folder of the target: give its entry path: if it is on this host"
    : "expected an http or https URL";
}
