/**
 * A `policy.json` that accepts images from mirrored registries only with a cosign signature by keys that the site
 * provides. See containers-policy.json(5), "sigstoreSigned".
 */
import { containersView } from "./registries-view.ts";
import type { RenderInput } from "./types.ts";

/** Path of the public key of the images' signer. */
const IMAGE_KEY_PATH = "/etc/containers/airferry-images.pub";

/** Local transports: their images were checked when pulled, or built here. */
const LOCAL_TRANSPORTS = [
  "containers-storage",
  "docker-daemon",
  "docker-archive",
  "oci-archive",
  "oci",
  "dir",
  "tarball",
];

/**
 * Renders the policy: images from other registries are refused.
 * @throws {AirferryError} ERR_RENDER when the server's address is IPv6
 */
export function renderImagePolicy(input: RenderInput): string {
  const { authority, registries } = containersView(input, "image-policy");
  const docker: Record<string, object[]> = {};
  for (const { host, served } of registries) {
    const signed = { type: "sigstoreSigned", keyPath: IMAGE_KEY_PATH };
    docker[host] = [{ ...signed, signedIdentity: { type: "matchRepository" } }];
    docker[`${authority}/${served}`] = [
      {
        ...signed,
        // The signature names the original location.
        signedIdentity: { type: "remapIdentity", prefix: `${authority}/${served}`, signedPrefix: host },
      },
    ];
  }
  const local = LOCAL_TRANSPORTS.map((it) => [it, { "": [{ type: "insecureAcceptAnything" }] }]);
  const policy = { default: [{ type: "reject" }], transports: { docker, ...Object.fromEntries(local) } };
  return `${JSON.stringify(policy, null, 2)}\n`;
}

/**
 * Renders the drop-in that makes podman look for cosign's signatures in registries: `/etc/containers/registries.d/`.
 * @throws {AirferryError} ERR_RENDER when the server's address is IPv6
 */
export function renderRegistriesD(input: RenderInput): string {
  const { authority, registries } = containersView(input, "image-policy");
  const places = [authority, ...registries.map((it) => it.host)];
  return `docker:\n${[...new Set(places)].map((it) => `  ${JSON.stringify(it)}:\n    use-sigstore-attachments: true\n`).join("")}`;
}
