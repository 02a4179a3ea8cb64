/**
 * What a site needs so that the names of upstream's servers lead to `serve --origins`: lines for resolvers and name
 * servers, variables for a proxy, and a script that installs the CA. docs/origins.md.
 */
import { isIP, isIPv4 } from "node:net";
import { AirferryError } from "../errors.ts";
import { hostsOf, originsOf } from "../origins/origin-hosts.ts";
import { isUnreached, listenFlag, portsOfOrigins } from "../origins/origin-ports.ts";
import { mirroredRegistries } from "./registries-view.ts";
import type { ConfigFile, RenderInput } from "./types.ts";
import { addressOf, releasesOf } from "./view.ts";

/** Of short answers: the site's own names may change soon. */
const TTL_SECONDS = 300;
const CA_NAME = "airferry-origins-ca.crt";

/** Lists the files; empty where the server does not answer for origins. */
export function originFiles(input: RenderInput): ConfigFile[] {
  const { origins } = input;
  if (origins === undefined) return [];
  const file = (path: string, summary: string, make: (address: string) => string): ConfigFile => ({
    name: "origins",
    path: `origins/${path}`,
    summary,
    make: async () => make(await serverAddress(input)),
  });
  const same = (path: string, summary: string, text: () => string): ConfigFile => ({
    ...file(path, summary, text),
    make: async () => text(),
  });
  const { proxyUrl } = origins;
  return [
    file("hosts", "upstream's names: lines for /etc/hosts", (address) => hostsFile(input, address)),
    file("dnsmasq.conf", "upstream's names: dnsmasq, as /etc/dnsmasq.d/airferry.conf", (address) =>
      dnsmasq(input, address),
    ),
    file("rpz.zone", "upstream's names: a response policy zone for BIND, Unbound, Knot and PowerDNS", (address) =>
      rpz(input, address),
    ),
    file("Corefile", "upstream's names: CoreDNS", (address) => corefile(input, address)),
    same("origins.txt", "what answers: scheme, host and port of each origin, and the ports", () => originList(input)),
    ...(proxyUrl === undefined
      ? []
      : [
          same("proxy.env", "a proxy instead of names: variables for a shell or EnvironmentFile=", () =>
            proxyEnv(proxyUrl),
          ),
        ]),
    same(
      "trust-origins.sh",
      "run as root: installs the CA of the origins (EL, SUSE, Debian, Alpine, Java, containers)",
      () => trustScript(input),
    ),
  ];
}

/** The ports, for a firewall; then the origins, each with what it lacks. */
function originList(input: RenderInput): string {
  const names = originsOf(releasesOf(input));
  const { http, https } = portsOfOrigins(names);
  const { ports } = input.origins ?? {};
  const lines = names.map((it) =>
    ports !== undefined && isUnreached(it, ports)
      ? `${it}  # nobody listens there: serve needs ${listenFlag(it)} too\n`
      : `${it}\n`,
  );
  const list = (of: readonly number[]) => (of.length === 0 ? "none" : of.join(", "));
  return `${heading(input, "#")}# TCP ports of their clients: http ${list(http)}; https ${list(https)}\n${lines.join("")}`;
}

function namesIn(input: RenderInput): string[] {
  return hostsOf(originsOf(releasesOf(input))).filter((it) => isIP(it) === 0);
}

/** @throws {AirferryError} ERR_RENDER when the server's address is not known */
async function serverAddress({ baseUrl, origins }: RenderInput): Promise<string> {
  const { host } = addressOf(baseUrl);
  const address = isIP(host) === 0 ? await origins?.address?.() : host;
  if (address !== undefined) return address;
  throw new AirferryError("ERR_RENDER", `cannot render "origins": the address of "${host}" is not known`, {
    expected: "an IP address, which is what a name has to lead to",
    actual: host,
    hint: "give the server's address: --url http://192.0.2.10:9000",
  });
}

function heading(input: RenderInput, sign: string): string {
  return `${sign} airferry: names of upstream's servers that ${input.baseUrl} answers for\n`;
}

function hostsFile(input: RenderInput, address: string): string {
  return (
    heading(input, "#") +
    namesIn(input)
      .map((it) => `${address} ${it}\n`)
      .join("")
  );
}

/** Exactly these names: `address=` would take all names below them too. */
function dnsmasq(input: RenderInput, address: string): string {
  return (
    heading(input, "#") +
    namesIn(input)
      .map((it) => `host-record=${it},${address},${TTL_SECONDS}\n`)
      .join("")
  );
}

function rpz(input: RenderInput, address: string): string {
  const type = isIPv4(address) ? "A" : "AAAA";
  const serial = Math.max(1, ...releasesOf(input).map((it) => Math.floor(Date.parse(it.inventory.created) / 1000)));
  const zone = `$TTL ${TTL_SECONDS}\n@ IN SOA localhost. root.localhost. (${serial} 3600 600 86400 ${TTL_SECONDS})\n@ IN NS localhost.\n`;
  return `${heading(input, ";")}; BIND: response-policy { zone "airferry.rpz"; };\n${zone}${namesIn(input)
    .map((it) => `${it} IN ${type} ${address}\n`)
    .join("")}`;
}

function corefile(input: RenderInput, address: string): string {
  const names = namesIn(input).map((it) => `        ${address} ${it}\n`);
  return `${heading(input, "#")}.:53 {\n    hosts {\n${names.join("")}        ttl ${TTL_SECONDS}\n        fallthrough\n    }\n    # what else the site resolves, such as: forward . /etc/resolv.conf\n}\n`;
}

function proxyEnv(url: string): string {
  const lines = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"].map((it) => `${it}=${url}\n`);
  const local = ["no_proxy", "NO_PROXY"].map((it) => `${it}=localhost,127.0.0.1,::1\n`);
  return [...lines, ...local].join("");
}

/** Registries whose clients have a folder of CAs for each; names with a colon are legal there. */
function registryHosts(input: RenderInput): string[] {
  return mirroredRegistries(input).flatMap(({ host }) =>
    host === "docker.io" ? ["docker.io", "registry-1.docker.io"] : host.startsWith("[") ? [] : [host],
  );
}

function trustScript(input: RenderInput): string {
  return `#!/bin/sh
# Makes this machine, or the container that this runs in, trust the CA of airferry's origins.
# Usage: sh trust-origins.sh [CA.crt]       (default: downloads it)
# AIRFERRY_CA_FINGERPRINT: the SHA-256 that \`airferry serve\` printed; anything else is refused.
set -eu
name=${CA_NAME}
url='${input.baseUrl}/config/origins/ca.crt'
registries='${registryHosts(input).join(" ")}'
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# -gt 0 ]; then cp "$1" "$work/given"
elif command -v curl >/dev/null; then curl -fsSk -o "$work/given" "$url"
else wget -q --no-check-certificate -O "$work/given" "$url"
fi
# The one certificate of which the fingerprint is shown: whatever else is in the file is not installed.
sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/{p;/^-----END/q;}' "$work/given" >"$work/ca.crt"
grep -q '^-----END CERTIFICATE-----' "$work/ca.crt" || { echo "no certificate in \${1:-$url}" >&2; exit 1; }
if command -v openssl >/dev/null; then
  print=$(openssl x509 -in "$work/ca.crt" -noout -fingerprint -sha256 | sed 's/.*=//')
  echo "CA fingerprint (SHA-256): $print"
  if [ -n "\${AIRFERRY_CA_FINGERPRINT:-}" ] && [ "$print" != "$AIRFERRY_CA_FINGERPRINT" ]; then
    echo "it is not the CA that was expected: nothing is installed" >&2; exit 1
  fi
elif [ -n "\${AIRFERRY_CA_FINGERPRINT:-}" ]; then
  echo "openssl is missing, so that the fingerprint cannot be checked: nothing is installed" >&2; exit 1
fi
place() { mkdir -p "$1" && cp "$work/ca.crt" "$1/$2" && chmod 0644 "$1/$2" && echo "installed $1/$2"; }
if command -v update-ca-trust >/dev/null; then
  place /etc/pki/ca-trust/source/anchors "$name"
  update-ca-trust
elif [ -d /etc/pki/trust/anchors ]; then
  place /etc/pki/trust/anchors "$name"
  update-ca-certificates
elif command -v update-ca-certificates >/dev/null; then
  place /usr/local/share/ca-certificates "$name"
  update-ca-certificates >/dev/null
else
  # An image without the tools: to the end of its bundle, once.
  for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
    [ -f "$bundle" ] || continue
    grep -qF "$(sed -n 2p "$work/ca.crt")" "$bundle" || cat "$work/ca.crt" >> "$bundle"
    echo "added to $bundle"
    added=yes
  done
  [ -n "\${added:-}" ] || { echo "this system has no bundle of CAs that is known here: nothing is installed" >&2; exit 1; }
fi
# Java: its own store, where that is not a link to the system's.
for keytool in "\${JAVA_HOME:-/nonexistent}/bin/keytool" /usr/lib/jvm/*/bin/keytool /opt/*/bin/keytool; do
  [ -x "$keytool" ] || continue
  store=$(dirname "$(dirname "$keytool")")/lib/security/cacerts
  [ -f "$store" ] || store=$(dirname "$(dirname "$keytool")")/jre/lib/security/cacerts
  [ -f "$store" ] && [ ! -L "$store" ] || continue
  "$keytool" -delete -alias airferry-origins -keystore "$store" -storepass changeit >/dev/null 2>&1 || true
  "$keytool" -importcert -noprompt -alias airferry-origins -file "$work/ca.crt" -keystore "$store" -storepass changeit >/dev/null 2>&1
  echo "installed in $store"
done
# Container clients read the system's bundle when they start, and these folders always.
for folder in /etc/docker /etc/containers; do
  [ -d "$folder" ] || continue
  for host in $registries; do place "$folder/certs.d/$host" "$name"; done
done
cat <<'TEXT'
Programs with a list of their own need a variable:
  pip before 24.2, Python requests:  PIP_CERT, REQUESTS_CA_BUNDLE=the system's bundle
  Node, npm:                         NODE_EXTRA_CA_CERTS=the CA's file, or NODE_USE_SYSTEM_CA=1
TEXT
`;
}
