/**
 * nginx's configuration for a written tree: a whole site, or its two parts for a site that is there already.
 * A manifest's media type is its file's ending. Tested with nginx 1.22; nothing here is newer than 1.11.2.
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

/** In a string nginx knows `\` and `"`; values with a `$` are never written. */
function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** A regular expression in quotes: as it is, since nginx only unescapes quotes. */
function pattern(source: string): string {
  return `"${source.replaceAll('"', '\\"')}"`;
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** The files, by their paths in a generation. */
export function nginxFiles(site: WebSite, generation: string): [path: string, text: string][] {
  return [
    ["nginx/airferry.conf", siteFile(site)],
    ["nginx/maps.conf", mapsFile(site, generation)],
    ["nginx/locations.conf", locationsFile(site)],
    ["nginx/tags.map", tagsFile(site, generation)],
  ];
}

function siteFile({ dir, base }: WebSite): string {
  const { host, port, tls } = siteAddress(base);
  const listen = `${port}${tls ? " ssl" : ""}`;
  return `# nginx: ${base ?? "a written tree of airferry"}
# Link it into the folder of sites, then test and reload:
#   ln -s ${quoted(`${dir}/current/nginx/airferry.conf`)} /etc/nginx/conf.d/airferry.conf
#   nginx -t && nginx -s reload
# After each export reload nginx as well: it reads the digests of tags when it starts. Until then a new tag is answered
# without the header Docker-Content-Digest, which only some clients need.
include ${quoted(`${dir}/current/nginx/maps.conf`)};
server {
  listen ${listen};
  listen [::]:${listen};
  server_name ${quoted(host.replace(/^\[|\]$/g, ""))};
${tls ? '  # The certificate is yours to make and to name:\n  ssl_certificate "/etc/ssl/airferry/server.crt";\n  ssl_certificate_key "/etc/ssl/airferry/server.key";\n' : ""}  include ${quoted(`${dir}/current/nginx/locations.conf`)};
}
`;
}

function mapsFile(site: WebSite, generation: string): string {
  const { dir, registry } = site;
  const own = ownNames(site).flatMap(writtenForms);
  const hosts = [...registry.hosts].flatMap(([host, served]) => writtenForms(host).map((it) => [it, served] as const));
  const others = [...new Map(hosts.map(([host, served]) => [host.toLowerCase(), served]))].filter(
    ([host]) => !own.includes(host),
  );
  const tags = `include ${quoted(`${dir}/current/nginx/tags.map`)};`;
  const digest = "sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})";
  const key = "$airferry_generation/$airferry_scope/";
  const size = 2 ** Math.ceil(Math.log2(Math.max(2048, 4 * registry.tags.size)));
  return `# In http { }. Take the first two lines out where they are set elsewhere, and keep the larger values.
map_hash_bucket_size 1024;
map_hash_max_size ${size};
# The registry that a client believes it is using: ?ns=HOST, or /ns/HOST/v2/.
map $airferry_ns_path $airferry_ns { "" $arg_ns; default $airferry_ns_path; }
map $airferry_ns $airferry_q {
  "" "q/";
${own.map((it) => `  ${quoted(it)} "q/";\n`).join("")}${others.map(([host, served]) => `  ${quoted(host)} ${quoted(`q/${served}/`)};\n`).join("")}  default "none/";
}
map $airferry_ns $airferry_b {
  "" "b/";
${own.map((it) => `  ${quoted(it)} "b/";\n`).join("")}  default "none/";
}
map $airferry_stream $airferry_scope { "" "@"; default $airferry_stream; }
map $airferry_stream $airferry_root { "" ""; default "/s/$airferry_stream"; }
# What was read from the list of tags counts as long as the generation is the same.
map $realpath_root $airferry_generation { ${pattern("~/generations/(?<airferry_number>[0-9]+)/")} $airferry_number; default "none"; }
map "${key}$airferry_q$airferry_repository:$airferry_reference" $airferry_digest_1 { default ""; ${tags} }
map "${key}q/$airferry_repository:$airferry_reference" $airferry_digest_2 { default ""; ${tags} }
map "${key}$airferry_b$airferry_repository:$airferry_reference" $airferry_digest_3 { default ""; ${tags} }
map "$airferry_reference,$airferry_digest_1,$airferry_digest_2,$airferry_digest_3" $airferry_digest {
  ${pattern(`~^(?<airferry_given>${digest}),`)} $airferry_given;
  ${pattern(`~^[^,]*,+(?<airferry_first>${digest})`)} $airferry_first;
  default "";
}
map $airferry_reference $airferry_cache { ${pattern(`~^${digest}$`)} ${quoted(IMMUTABLE)}; default "no-cache"; }
map $uri $airferry_path_cache { ${pattern(`~^/(?:s/[^/]+/)?${IMMUTABLE_PATHS}$`)} ${quoted(IMMUTABLE)}; default "no-cache"; }
# ${generation === "" ? "" : `Generation ${generation}, `}${registry.tags.size} names of tags.
`;
}

/** nginx compares strings without case, and tags have it: names that differ in nothing else become expressions. */
function tagsFile({ registry }: WebSite, generation: string): string {
  const seen = new Map<string, number>();
  for (const name of registry.tags.keys()) seen.set(name.toLowerCase(), (seen.get(name.toLowerCase()) ?? 0) + 1);
  const lines = [...registry.tags].map(([name, digest]) => {
    const key = `${generation}/${name}`;
    const isAlone = seen.get(name.toLowerCase()) === 1;
    return `${isAlone ? quoted(key) : pattern(`~^${literal(key)}$`)} ${quoted(digest)};`;
  });
  return `# Digests of tags, of generation ${generation}.\n${lines.join("\n")}\n`;
}

function headers(pairs: readonly (readonly [string, string])[], indent = "    "): string {
  return pairs
    .map(([name, value]) => `${indent}add_header ${name} ${value.startsWith("$") ? value : quoted(value)};\n`)
    .join("");
}

/** Times are no times: see content-pool.ts, timeOf(). */
const NO_TIME: readonly (readonly [string, string])[] = [["Last-Modified", ""]];

function locationsFile({ dir, policies }: WebSite): string {
  const byEnding = Map.groupBy(Object.keys(TYPES_BY_ENDING), (it) => TYPES_BY_ENDING[it] ?? "");
  const types = [...byEnding].map(([type, endings]) => `  ${quoted(type)} ${endings.join(" ")};\n`).join("");
  const byName = Map.groupBy(Object.keys(TYPES_BY_NAME), (it) => TYPES_BY_NAME[it] ?? "");
  const named = [...byName].map(
    ([
      type,
      names,
    ]) => `location ~ ${pattern(`/(?:${names.map(literal).join("|")}${type === TEXT_TYPE ? "|RPM-GPG-KEY[^/]*" : ""})$`)} {
  types { } default_type ${quoted(type)};
${content}}
`,
  );
  const api: readonly (readonly [string, string])[] = [["Docker-Distribution-Api-Version", "registry/2.0"]];
  const digested = [
    ...api,
    ["Docker-Content-Digest", "$airferry_digest"],
    ["Cache-Control", "$airferry_cache"],
  ] as const;
  const manifests = ["$airferry_q", "q/", "$airferry_b"].flatMap((it) =>
    Object.values(MANIFEST_ENDINGS).map(
      (ending) => `/$airferry_scope/${it}$airferry_repository/@m/$airferry_reference.${ending}`,
    ),
  );
  const each = (path: string) =>
    ["$airferry_q", "q/", "$airferry_b"].map((it) => `/$airferry_scope/${it}$airferry_repository/${path}`);
  const prefix = "^(?:/s/(?<airferry_stream>[A-Za-z0-9][A-Za-z0-9._-]*))?(?:/ns/(?<airferry_ns_path>[^/]+))?/v2/";
  const repository = "(?<airferry_repository>[a-z0-9._/-]+)";
  const registry = quoted(`${dir}/current/registry`);
  const page = (policy: string) =>
    headers(
      [
        ...NO_TIME,
        ["X-Content-Type-Options", "nosniff"],
        ["Content-Security-Policy", policy],
        ["Cache-Control", REVALIDATED],
      ],
      "  ",
    );
  return `# In server { }. It takes the whole site: there is room for other locations, but not for another "location /".
root ${quoted(`${dir}/current/tree`)};
gzip off; etag on; if_modified_since off;
types {
${types}}
default_type application/octet-stream;
location / {
${content}}
location @airferry_page {
  types { } default_type "text/html; charset=utf-8";
${page(policies.page ?? "default-src 'none'")}  try_files $uri/${PAGE_FILE} @airferry_missing;
}
location @airferry_missing { default_type text/plain; return 404 "404: it is not here\\n"; }
location ~ ${pattern(`/${literal(PAGE_FILE)}$`)} { default_type text/plain; return 404 "404: it is not here\\n"; }
location ~ ${pattern(`^/(?:s/[^/]+/)?${literal(BOM_PAGE_FILE)}$`)} {
  types { } default_type "text/html; charset=utf-8";
${page(policies.bom ?? "default-src 'none'")}}
location ~ ${pattern("^/(?:s/[^/]+/)?config/(?:.*[^/])$")} {
  types { application/json json; } default_type "text/plain; charset=utf-8";
${content}}
${named.join("")}location = /healthz { default_type text/plain; return 200 "ok\\n"; }

# The registry. Streams have their own below /s/STREAM/.
location ~ ${pattern(`${prefix}?$`)} {
  root ${registry}; types { } default_type application/json;
${headers([...NO_TIME, ...api], "  ")}  try_files /api.json =404;
}
location ~ ${pattern(`${prefix}_catalog$`)} {
  root ${registry}; types { } default_type application/json;
${headers([...NO_TIME, ...api, ["Cache-Control", REVALIDATED]], "  ")}  try_files /$airferry_scope/_catalog @airferry_unknown;
}
location ~ ${pattern(`${prefix}${repository}/tags/list$`)} {
  root ${registry}; types { } default_type application/json;
${headers([...NO_TIME, ...api, ["Cache-Control", REVALIDATED]], "  ")}  try_files ${each("@list").join(" ")} @airferry_unknown;
}
location ~ ${pattern(`${prefix}${repository}/manifests/(?<airferry_reference>[A-Za-z0-9_][A-Za-z0-9._:-]*)$`)} {
  root ${registry};
  types {
${Object.entries(MANIFEST_ENDINGS)
  .map(([type, ending]) => `    ${type} ${ending};\n`)
  .join("")}  }
${headers([...NO_TIME, ...digested], "  ")}  try_files ${manifests.join("\n    ")}\n    @airferry_unknown;
}
location ~ ${pattern(`${prefix}${repository}/referrers/(?<airferry_reference>sha(?:256|512):[0-9a-f]+)$`)} {
  root ${registry}; types { } default_type application/vnd.oci.image.index.v1+json;
${headers([...NO_TIME, ...api, ["Cache-Control", REVALIDATED]], "  ")}  try_files ${each("@r/$airferry_reference.oi").join(" ")} /no-referrers.oi =404;
}
location ~ ${pattern(`${prefix}[a-z0-9._/-]+/blobs/(?<airferry_reference>(?<airferry_algorithm>sha(?:256|512)):(?<airferry_hex>[0-9a-f]+))$`)} {
  types { } default_type application/octet-stream;
${headers([...NO_TIME, ...digested, ...CONTENT_HEADERS], "  ")}  try_files $airferry_root/images/blobs/$airferry_algorithm/$airferry_hex @airferry_unknown;
}
location ~ ${pattern(prefix)} {
  default_type application/json;
  return 404 ${quoted(UNKNOWN_JSON)};
}
location @airferry_unknown { default_type application/json; return 404 ${quoted(UNKNOWN_JSON)}; }
`;
}

const content = `${headers([...NO_TIME, ...CONTENT_HEADERS, ["Cache-Control", "$airferry_path_cache"]], "  ")}  try_files $uri @airferry_page;\n`;
