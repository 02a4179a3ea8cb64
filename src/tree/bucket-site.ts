/**
 * What goes with a tree in a bucket: nginx's configuration for a site in front of it, the website configuration and
 * the policy of the bucket itself, and what to do with them. Nothing in nginx's depends on the content of the tree, so
 * it is installed once: digests of tags and the policies of pages are metadata of the objects.
 */
import { resolve } from "node:path";
import { AirferryError } from "../errors.ts";
import { shellWord } from "../io/shell.ts";
import { OCI_INDEX } from "../oci/media-types.ts";
import { placeName, type S3Target } from "../s3/s3-target.ts";
import { CONTENT_POLICY } from "../server/http/text-responses.ts";
import { INDEX_FILE, OWN_FOLDER } from "./object-plan.ts";
import { ownNames, siteAddress, UNKNOWN_JSON, writtenForms } from "./web-site.ts";

/** S3 has no more in a website's configuration. */
const MAX_RULES = 50;
const HIDDEN = [
  "x-amz-request-id",
  "x-amz-id-2",
  "x-amz-version-id",
  "x-amz-server-side-encryption",
  "x-amz-website-redirect-location",
  "x-amz-meta-docker-content-digest",
  "x-amz-meta-content-security-policy",
  "Set-Cookie",
];

interface BucketSite {
  target: S3Target;
  /** Where the tree is served; undefined where nobody said it. */
  base: string | undefined;
  /** Where whoever finds nothing below a folder is sent: `s/one/files/` to `files/`. */
  elsewhere: ReadonlyMap<string, string>;
  /** Registries that clients may name. */
  hosts: ReadonlyMap<string, string>;
}

/** The command of AWS for a bucket, up to what it does. */
function awsFor({ endpoint, ca }: S3Target): string {
  if (endpoint === undefined) return "aws";
  return `aws --endpoint-url ${shellWord(endpoint)}${ca === undefined ? "" : ` --ca-bundle ${shellWord(resolve(ca))}`}`;
}

/** The command that shows what to do with a tree. */
export function showCommand(target: S3Target): string {
  return `${awsFor(target)} s3 cp ${placeName(target)}/${OWN_FOLDER}README.txt -`;
}

/** The files, by their names; and how many rules of redirection a website has no room for. */
export function bucketSite(site: BucketSite): { files: [name: string, text: string][]; rulesLeftOut: number } {
  const rules = websiteRules(site);
  const files: [string, string][] = [
    ["nginx.conf", nginxFile(site)],
    ["policy.json", `${JSON.stringify(policy(site.target), null, 2)}\n`],
    ["README.txt", readme(site)],
  ];
  if (site.target.prefix === "") {
    const website = { IndexDocument: { Suffix: INDEX_FILE }, RoutingRules: rules.slice(0, MAX_RULES) };
    files.push(["website.json", `${JSON.stringify(website, null, 2)}\n`]);
  }
  const rulesLeftOut = site.target.prefix === "" ? Math.max(0, rules.length - MAX_RULES) : 0;
  return { files, rulesLeftOut };
}

function websiteRules({ elsewhere, hosts }: BucketSite) {
  const named = [...new Set([...hosts].map(([host, served]) => [`ns/${host}/v2/`, `v2/${served}/`] as const))];
  return [
    ...[...elsewhere].map(([from, to]) => ({
      Condition: { HttpErrorCodeReturnedEquals: "404", KeyPrefixEquals: from },
      Redirect: { HttpRedirectCode: "302", ReplaceKeyPrefixWith: to },
    })),
    ...named.map(([from, to]) => ({
      Condition: { KeyPrefixEquals: from },
      Redirect: { HttpRedirectCode: "302", ReplaceKeyPrefixWith: to },
    })),
  ];
}

/** Everybody may read; and to whoever may list, the storage says 404 of what is missing, not 403. */
function policy({ bucket, prefix }: S3Target) {
  const arn = `arn:aws:s3:::${bucket}`;
  const allow = (Sid: string, Action: string, Resource: string) => ({
    Sid,
    Effect: "Allow",
    Principal: "*",
    Action: [Action],
    Resource: [Resource],
  });
  return {
    Version: "2012-10-17",
    Statement: [
      allow("AirferryTreeRead", "s3:GetObject", `${arn}/${prefix === "" ? "" : `${prefix}/`}*`),
      ...(prefix === "" ? [allow("AirferryTreeMissing", "s3:ListBucket", arn)] : []),
    ],
  };
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** Where the bucket answers, and the path of the tree there. */
function originOf({ endpoint, region, bucket, prefix }: S3Target): { origin: URL; root: string } {
  const below = prefix === "" ? "" : `/${prefix}`;
  if (endpoint !== undefined) return { origin: new URL(endpoint), root: `/${bucket}${below}` };
  return { origin: new URL(`https://${bucket}.s3.${region ?? "us-east-1"}.amazonaws.com`), root: below };
}

function nginxFile(site: BucketSite): string {
  const { target, base } = site;
  const { origin, root } = originOf(target);
  const { host, port, tls } = siteAddress(base);
  const isTls = origin.protocol === "https:";
  const listen = `${port}${tls ? " ssl" : ""}`;
  const own = ownNames({ base }).flatMap(writtenForms);
  const pass = `proxy_pass ${origin.protocol}//airferry_bucket;`;
  const none = `/${OWN_FOLDER}none`;
  const upstreamTls = `  proxy_ssl_server_name on;
  proxy_ssl_name ${quoted(origin.hostname)};
  proxy_ssl_verify on;
  proxy_ssl_verify_depth 4;
  proxy_ssl_trusted_certificate ${quoted(resolve(target.ca ?? "/etc/ssl/certs/ca-certificates.crt"))};
`;
  return `# nginx: ${base ?? "a written tree of airferry"}, in front of the bucket ${target.bucket}
# In http { }. It stays right with every export: nothing here depends on the content. For a cache of nginx's own add
# proxy_cache to the server: answers say how long they may be kept.
upstream airferry_bucket { server ${quoted(`${origin.hostname}:${Number(origin.port) || (isTls ? 443 : 80)}`)}; keepalive 16; }
# The registry that a client believes it is using: ?ns=HOST, or /ns/HOST/v2/.
map $airferry_path $airferry_ns { "~^(?:/s/[^/]+)?/ns/(?<airferry_ns_path>[^/]+)/v2/" $airferry_ns_path; default $arg_ns; }
map $airferry_ns $airferry_host {
  "" "";
${own.map((it) => `  ${quoted(it)} "";\n`).join("")}  "~^(?<airferry_name>[a-z0-9][a-z0-9.-]*)$" "$airferry_name/";
  "~^(?<airferry_name_of>[a-z0-9][a-z0-9.-]*)(?::|%3A)(?<airferry_port>[0-9]+)$" "$airferry_name_of:$airferry_port/";
  default "none/";
}
map "$airferry_host $airferry_rest" $airferry_plain { "~^ " "none"; "~^[^ ]+ (?<airferry_qualified>[^/]+[.:][^/]*/.+)$" $airferry_qualified; default "none"; }
# Where the rest of /s/STREAM/ and /rpmrepo/ is.
map $airferry_path $airferry_index { "~/$" ${quoted(INDEX_FILE)}; default ""; }
map $airferry_path $airferry_other { "~^/s/[^/]+/[.]airferry/" ${quoted(none)}; "~^/s/[^/]+(?<airferry_a>/.*)$" $airferry_a; "~^/rpmrepo(?<airferry_b>/.*)$" "/rpms$airferry_b"; default ${quoted(none)}; }
map $airferry_other $airferry_third { "~^/rpmrepo(?<airferry_c>/.*)$" "/rpms$airferry_c"; default ${quoted(none)}; }
map $airferry_path $airferry_digest { "~/blobs/(?<airferry_blob>sha(?:256|512):[0-9a-f]+)$" $airferry_blob; default $upstream_http_x_amz_meta_docker_content_digest; }
map $airferry_path $airferry_api { "~^(?:/s/[^/]+)?(?:/ns/[^/]+)?/v2(?:/|$)" "registry/2.0"; default ""; }
map $upstream_http_x_amz_meta_content_security_policy $airferry_policy { "" ${quoted(CONTENT_POLICY)}; default $upstream_http_x_amz_meta_content_security_policy; }
server {
  listen ${listen};
  listen [::]:${listen};
  server_name ${quoted(host.replace(/^\[|\]$/g, ""))};
${tls ? '  # The certificate is yours to make and to name:\n  ssl_certificate "/etc/ssl/airferry/server.crt";\n  ssl_certificate_key "/etc/ssl/airferry/server.key";\n' : ""}  if ($request_method !~ "^(?:GET|HEAD)$") { return 405; }
  set $airferry_path $uri;
  gzip off;
  proxy_http_version 1.1;
  proxy_set_header Host ${quoted(origin.host)};
  proxy_set_header Connection "";
  proxy_set_header Authorization "";
  proxy_set_header Cookie "";
  proxy_max_temp_file_size 0;
  proxy_intercept_errors on;
  recursive_error_pages on;
${isTls ? upstreamTls : ""}${HIDDEN.map((it) => `  proxy_hide_header ${it};\n`).join("")}  add_header X-Content-Type-Options nosniff;
  add_header Content-Security-Policy $airferry_policy;
  add_header Docker-Content-Digest $airferry_digest;
  add_header Docker-Distribution-Api-Version $airferry_api;

  # The registry. Streams have their own below /s/STREAM/.
  location ~ "^(?:/s/[^/]+)?(?:/ns/[^/]+)?/v2/?$" {
    rewrite ^ ${root}/v2/${INDEX_FILE}? break;
    ${pass}
  }
  location ~ "^(?:/s/[^/]+)?(?:/ns/[^/]+)?/v2/.+/blobs/(?<airferry_algorithm>sha(?:256|512)):(?<airferry_hex>[0-9a-f]+)$" {
    rewrite ^ ${root}/images/blobs/$airferry_algorithm/$airferry_hex? break;
    ${pass} error_page 403 404 = @airferry_unknown;
  }
  location ~ "^(?<airferry_scope>/s/[^/]+)?(?:/ns/[^/]+)?/v2/(?<airferry_rest>.+/referrers/[^/]+)$" {
    rewrite ^ ${root}$airferry_scope/v2/$airferry_host$airferry_rest? break;
    ${pass} error_page 403 404 = @airferry_unreferred;
  }
  location ~ "^(?<airferry_scope>/s/[^/]+)?(?:/ns/[^/]+)?/v2/(?<airferry_rest>.+)$" {
    rewrite ^ ${root}$airferry_scope/v2/$airferry_host$airferry_rest? break;
    ${pass} error_page 403 404 = @airferry_qualified;
  }
  location @airferry_qualified {
    rewrite ^ ${root}$airferry_scope/v2/$airferry_plain? break;
    ${pass} error_page 403 404 = @airferry_unknown;
  }
  location @airferry_unknown { types { } default_type application/json; return 404 ${quoted(UNKNOWN_JSON)}; }
  location @airferry_unreferred {
    types { } default_type ${OCI_INDEX};
    return 200 ${quoted(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] }))};
  }

  # To whoever may not list, a storage says 403 of what is missing. Below /s/STREAM/ and /rpmrepo/ is what differs.
  location ~ /$ {
    rewrite ^ ${root}\${airferry_path}${INDEX_FILE}? break;
    ${pass} error_page 403 404 = @airferry_other;
  }
  location / {
    rewrite ^ ${root}$airferry_path? break;
    ${pass} error_page 403 404 = @airferry_other;
  }
  location @airferry_other {
    rewrite ^ ${root}$airferry_other$airferry_index? break;
    ${pass} error_page 403 404 = @airferry_third;
  }
  location @airferry_third {
    rewrite ^ ${root}$airferry_third? break;
    ${pass} error_page 403 404 = @airferry_page;
  }
  location @airferry_page {
    rewrite ^ ${root}$airferry_path/${INDEX_FILE}? break;
    ${pass} error_page 403 404 = @airferry_missing;
  }
  location @airferry_missing { types { } default_type text/plain; return 404 "404: it is not here\\n"; }
  location ^~ /${OWN_FOLDER} { types { } default_type text/plain; return 404 "404: it is not here\\n"; }
}
`;
}

function readme({ target, base }: BucketSite): string {
  const { bucket, prefix } = target;
  const [aws, place] = [awsFor(target), `${placeName(target)}/`];
  const parts = [
    `This was written by airferry export tree: everything at ${place} is for its next run to change. What clients are
served is there by its URL; nothing below ${OWN_FOLDER} is for them.`,
    base === undefined
      ? "It was written without --base URL: it has no rendered configuration (/config/)."
      : `It is to be served at ${base}: rendered configuration has this address.`,
    `Get these files: ${aws} s3 cp --recursive ${place}${OWN_FOLDER} airferry-site --exclude 'lists/*' --exclude 'isos/*'`,
    `Reading:  ${aws} s3api put-bucket-policy --bucket ${bucket} --policy file://airferry-site/policy.json
          replaces the bucket's policy: add its statements to one that is there.`,
    `nginx:    cp airferry-site/nginx.conf /etc/nginx/conf.d/airferry.conf && nginx -t && nginx -s reload
          once. It stays right with every export, as long as bucket and --base stay.`,
    prefix === ""
      ? `Website:  ${aws} s3api put-bucket-website --bucket ${bucket} --website-configuration file://airferry-site/website.json
          again when an export has streams or registries that are new.`
      : `Website:  a bucket's own website serves the bucket from its root: export to a bucket of its own, without a prefix.`,
  ];
  return `${parts.join("\n\n")}\n`;
}

/** @throws {AirferryError} ERR_USAGE for a `ca` whose path nginx's configuration cannot name safely */
export function checkSiteTarget({ ca, name }: S3Target): void {
  if (ca === undefined || /^[\p{L}\p{N} ._+@=,:~/-]+$/u.test(resolve(ca))) return;
  throw new AirferryError(
    "ERR_USAGE",
    `cannot write a tree into "${name}": ca= has characters that web servers interpret`,
    {
      path: ca,
      expected: "letters, digits, spaces and ._+@=,:~-",
      hint: "give a copy of the file under another name",
    },
  );
}
