/**
 * OpenShift's mirror sets: ImageDigestMirrorSet for pulls by digest, ImageTagMirrorSet for pulls by tag. The cluster
 * writes registries.conf for all its nodes from them. See config.openshift.io/v1.
 */
import { containersView } from "./registries-view.ts";
import type { RenderInput } from "./types.ts";

/** Kinds, and the member with each one's list. */
const SETS = [
  ["ImageDigestMirrorSet", "imageDigestMirrors"],
  ["ImageTagMirrorSet", "imageTagMirrors"],
] as const;

/**
 * Renders both sets as one YAML file for `oc apply -f`.
 * @throws {AirferryError} ERR_RENDER when the server's address is IPv6
 */
export function renderOpenshiftMirrors(input: RenderInput): string {
  const { authority, tls, registries, unnamed } = containersView(input, "openshift-mirrors");
  const documents = SETS.map(([kind, member]) =>
    [
      "apiVersion: config.openshift.io/v1",
      `kind: ${kind}`,
      "metadata:",
      "  name: airferry",
      "spec:",
      `  ${member}:`,
      ...registries.flatMap(({ host, served }) => [
        `    - source: ${host}`,
        "      mirrors:",
        `        - ${authority}/${served}`,
        "      mirrorSourcePolicy: NeverContactSource",
      ]),
    ].join("\n"),
  );
  return `${[head(input, authority, tls), ...unnamed.map(noIpv6)].join("\n")}\n${documents.join("\n---\n")}\n`;
}

function head({ privateCa }: RenderInput, authority: string, tls: boolean): string {
  const lines = ["# written by airferry render openshift-mirrors; for OpenShift 4.13 or later: oc apply -f FILE"];
  if (!tls) {
    lines.push(
      "# This server uses plain HTTP, which must be allowed on the nodes:",
      `# oc patch image.config.openshift.io/cluster --type merge -p '{"spec":{"registrySources":{"insecureRegistries":["${authority}"]}}}'`,
    );
  } else if (privateCa) {
    lines.push(
      "# The nodes must trust the server's CA; compare its fingerprint with the one that airferry serve printed:",
      `# oc create configmap airferry-ca -n openshift-config --from-file='${authority.replace(":", "..")}'=ca.crt`,
      `# oc patch image.config.openshift.io/cluster --type merge -p '{"spec":{"additionalTrustedCA":{"name":"airferry-ca"}}}'`,
    );
  }
  return lines.join("\n");
}

function noIpv6(host: string): string {
  return `# ${host} was packed too, but no rule can name an IPv6 address`;
}
