/**
 * Apache's configuration for a written tree: a virtual host, and what is in it. A manifest's media type is its file's
 * ending. Nothing that was packed is run or read by Apache: no handlers, no `.htaccess`, no encodings by name.
 */
import { TEXT_TYPE, TYPES_BY_ENDING, TYPES_BY_NAME } from "../server/http/content-type.ts";
import { IMMUTABLE, REVALIDATED } from "../server/http/freshness.ts";
import { BOM_PAGE_FILE, PAGE_FILE } from "./compose.ts";
import { MANIFEST_ENDINGS } from "./registry-places.ts";
import {
  CONTENT_HEADERS,
  IMMUTABLE_PATHS,
  ownNames,
  siteAddress,
  UNKNOWN_JSON,
  type WebSite,
  writtenForms,
} from "./web-site.ts";

const API_HEADER = 'Header always set Docker-Distribution-Api-Version "registry/2.0"';
const PREFIX = "^(?:/s/[A-Za-z0-9][A-Za-z0-9._-]*)?(?:/ns/[^/]+)?/v2/";
const REPOSITORY = "([a-z0-9._/-]+)";
const DIGEST = "sha(?:256|512):[0-9a-f]+";
const TAG = "[A-Za-z0-9_][A-Za-z0-9._-]*";

/** The files, by their paths in a generation. */
export function apacheFiles(site: WebSite): [path: string, text: string][] {
  return [
    ["apache/airferry.conf", hostFile(site)],
    ["apache/site.conf", siteFile(site)],
    ["apache/hosts.txt", hostsFile(site)],
    ["apache/tags.txt", tagsFile(site)],
  ];
}

function hostFile({ dir, base }: WebSite): string {
  const { host, port, tls } = siteAddress(base);
  return `# Apache: ${base ?? "a written tree of airferry"}
# On Debian: a2enmod rewrite headers${tls ? " ssl" : ""}; on all, link this into the folder of sites, test and reload:
#   ln -s "${dir}/current/apache/airferry.conf" /etc/apache2/sites-enabled/airferry.conf
#   apachectl configtest && apachectl graceful
# An export needs no reload. With SELinux: semanage fcontext -a -t httpd_sys_content_t "${dir}(/.*)?"; restorecon -R
# Take the next line out where this port is listened on already.
Listen ${port}
<VirtualHost *:${port}>
${host.startsWith("[") ? "" : `  ServerName ${host}\n`}${tls ? '  # The certificate is yours to make and to name:\n  SSLEngine on\n  SSLCertificateFile "/etc/ssl/airferry/server.crt"\n  SSLCertificateKeyFile "/etc/ssl/airferry/server.key"\n' : ""}  Include "${dir}/current/apache/site.conf"
</VirtualHost>
`;
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

function lines(all: readonly string[], indent = ""): string {
  return all.map((it) => `${indent}${it}\n`).join("");
}

function setHeaders(pairs: readonly (readonly [string, string])[]): string[] {
  return pairs.map(([name, value]) => `Header set ${name} "${value}"`);
}

function siteFile({ dir, policies }: WebSite): string {
  const byEnding = Map.groupBy(Object.keys(TYPES_BY_ENDING), (it) => TYPES_BY_ENDING[it] ?? "");
  const byName = Map.groupBy(Object.keys(TYPES_BY_NAME), (it) => TYPES_BY_NAME[it] ?? "");
  const typed = (pattern: string, type: string) =>
    `<FilesMatch "${pattern}">\n    ForceType "${type}"\n  </FilesMatch>`;
  const types = [
    ...[...byEnding].map(([type, endings]) => typed(`(?i)\\.(?:${endings.join("|")})$`, type)),
    ...[...byName].map(([type, names]) =>
      typed(`^(?:${names.map(literal).join("|")}${type === TEXT_TYPE ? "|RPM-GPG-KEY.*" : ""})$`, type),
    ),
  ];
  const manifestTypes = Object.entries(MANIFEST_ENDINGS).map(([type, ending]) => typed(`\\.${ending}$`, type));
  const registry = `${dir}/current/registry`;
  const html = '"text/html; charset=utf-8"';
  return `# In <VirtualHost>.
DocumentRoot "${dir}/current/tree"
AddDefaultCharset Off
DirectorySlash Off
DirectoryIndex ${PAGE_FILE}
FileETag MTime Size
SetEnv no-gzip 1
SetEnv no-brotli 1
RequestHeader unset If-Modified-Since
RequestHeader unset If-Unmodified-Since
<Directory "${dir}">
  Options FollowSymLinks
  AllowOverride None
  Require all denied
</Directory>
<Directory "${dir}/current/tree">
  Require all granted
  RemoveEncoding .gz .tgz .Z .bz2 .xz .zst .br
  ForceType "application/octet-stream"
${lines(types, "  ")}  <Files "${PAGE_FILE}">
    ForceType ${html}
  </Files>
  Header unset Last-Modified
${lines(setHeaders([...CONTENT_HEADERS, ["Cache-Control", REVALIDATED]]), "  ")}  <Files "${PAGE_FILE}">
    Header set Content-Security-Policy "${policies.page ?? "default-src 'none'"}"
  </Files>
</Directory>
<Directory "${registry}">
  Require all granted
  ForceType application/json
${lines(manifestTypes, "  ")}  Header unset Last-Modified
  Header set Cache-Control "${REVALIDATED}"
</Directory>
<Location "/">
  SetHandler default-handler
</Location>
<LocationMatch "^/(?:s/[^/]+/)?${literal(BOM_PAGE_FILE)}$">
  ForceType ${html}
  Header set Content-Security-Policy "${policies.bom ?? "default-src 'none'"}"
</LocationMatch>
<LocationMatch "^/(?:s/[^/]+/)?config/(?!(?:.*/)?${literal(PAGE_FILE)}$).*[^/]$">
  ForceType "text/plain; charset=utf-8"
</LocationMatch>
<LocationMatch "^/(?:s/[^/]+/)?config/.*\\.json$">
  ForceType application/json
</LocationMatch>
<LocationMatch "^/(?:s/[^/]+/)?${IMMUTABLE_PATHS}$">
  Header set Cache-Control "${IMMUTABLE}"
</LocationMatch>
<LocationMatch "${PREFIX}">
  ErrorDocument 404 '${UNKNOWN_JSON}'
  ${API_HEADER}
  Header set Docker-Content-Digest "%{AIRFERRY_DIGEST}e" env=AIRFERRY_DIGEST
  Header set Cache-Control "${IMMUTABLE}" env=AIRFERRY_IMMUTABLE
</LocationMatch>

# The registry. Streams have their own below /s/STREAM/; the registry that a client believes it is using is in ?ns=HOST,
# or in /ns/HOST/v2/.
RewriteEngine On
RewriteMap airferry-lower int:tolower
RewriteMap airferry-hosts "txt:${dir}/current/apache/hosts.txt"
RewriteMap airferry-tags "txt:${dir}/current/apache/tags.txt"
RewriteRule "^/healthz$" "${registry}/healthz" [L,T=text/plain]
RewriteCond "%{IS_SUBREQ}" "false"
RewriteRule "/${literal(PAGE_FILE)}$" - [R=404,L]
RewriteCond "${dir}/current/tree%{REQUEST_URI}/${PAGE_FILE}" -f
RewriteRule "[^/]$" "${dir}/current/tree%{REQUEST_URI}/${PAGE_FILE}" [L]
RewriteRule "!${PREFIX.slice(0, -1)}(?:/|$)" - [L]
RewriteRule "^" - [E=AIRFERRY_SCOPE:@,E=AIRFERRY_Q:q/,E=AIRFERRY_B:b/,E=AIRFERRY_ROOT:]
RewriteRule "^/s/([A-Za-z0-9][A-Za-z0-9._-]*)/" - [E=AIRFERRY_SCOPE:$1,E=AIRFERRY_ROOT:/s/$1]
RewriteCond "%{QUERY_STRING}" "(?:^|&)ns=([A-Za-z0-9._:%\\[\\]-]+)"
RewriteRule "^" - [E=AIRFERRY_NS:%1]
RewriteRule "^(?:/s/[^/]+)?/ns/([^/]+)/v2(?:/|$)" - [E=AIRFERRY_NS:$1]
RewriteCond "%{ENV:AIRFERRY_NS}" "."
RewriteRule "^" - [E=AIRFERRY_Q:\${airferry-hosts:q.\${airferry-lower:%{ENV:AIRFERRY_NS}}|none/},E=AIRFERRY_B:\${airferry-hosts:b.\${airferry-lower:%{ENV:AIRFERRY_NS}}|none/}]
RewriteRule "${PREFIX}?$" "${registry}/api.json" [L]
RewriteRule "${PREFIX}_catalog$" "${registry}/%{ENV:AIRFERRY_SCOPE}/_catalog" [L]
RewriteRule "${PREFIX}[a-z0-9._/-]+/blobs/((sha256|sha512):([0-9a-f]+))$" "${dir}/current/tree%{ENV:AIRFERRY_ROOT}/images/blobs/$2/$3" [L,E=AIRFERRY_DIGEST:$1,E=AIRFERRY_IMMUTABLE:1]
RewriteRule "${PREFIX}.+/manifests/${DIGEST}$" - [E=AIRFERRY_IMMUTABLE:1]
${lines(registryRules(registry))}RewriteRule "${PREFIX}${REPOSITORY}/referrers/${DIGEST}$" "${registry}/no-referrers.oi" [L]
RewriteRule "^" - [R=404,L]
`;
}

/** What is looked for under a name of a repository, in the order of its possible folders. */
function registryRules(registry: string): string[] {
  const rules: string[] = [];
  for (const it of ["%{ENV:AIRFERRY_Q}", "q/", "%{ENV:AIRFERRY_B}"]) {
    const folder = `%{ENV:AIRFERRY_SCOPE}/${it}$1`;
    const look = (last: string, file: string, flags = "") => {
      const path = `${registry}/${folder}/${file}`;
      rules.push(`RewriteCond "${path}" -f`, `RewriteRule "${PREFIX}${REPOSITORY}/${last}$" "${path}" [L${flags}]`);
    };
    for (const ending of Object.values(MANIFEST_ENDINGS)) {
      look(`manifests/(${DIGEST})`, `@m/$2.${ending}`, ",E=AIRFERRY_DIGEST:$2");
      look(`manifests/(${TAG})`, `@m/$2.${ending}`, `,E=AIRFERRY_DIGEST:\${airferry-tags:${folder}:$2}`);
    }
    look("tags/list", "@list");
    look(`referrers/(${DIGEST})`, "@r/$2.oi");
  }
  return rules;
}

/** Keys are what a client calls the registry; those that mean this server lead to bare names too. */
function hostsFile(site: WebSite): string {
  const own = ownNames(site).flatMap(writtenForms);
  const hosts = [...site.registry.hosts].flatMap(([host, served]) =>
    writtenForms(host).map((it) => [it.toLowerCase(), served] as const),
  );
  const others = [...new Map(hosts)].filter(([host]) => !own.includes(host));
  return lines([
    ...own.flatMap((it) => [`q.${it.toLowerCase()} q/`, `b.${it.toLowerCase()} b/`]),
    ...others.map(([host, served]) => `q.${host} q/${served}/`),
  ]);
}

function tagsFile({ registry }: WebSite): string {
  return lines([...registry.tags].map(([name, digest]) => `${name} ${digest}`));
}
