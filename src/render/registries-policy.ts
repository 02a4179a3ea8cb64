/**
 * A `policy.json` that takes images from mirrored registries only with a cosign signature by keys that the site puts beside it.
 * See containers-policy.json(5), "sigstoreSigned".
 */
import { mirroredRegistries, registryAddress } from "./registries-view.ts";
import type { RenderInput } from "./types.ts";

/** Where the site keeps the public key of the images' signer. */
const IMAGE_KEY_PATH = "/etc/containers/airferry-images.pub";

/** Renders the policy: everything else is refused. */
export function renderImagePolicy(input: RenderInput): string {
  const { authority } = registryAddress(input);
  const docker: Record<string, object[]> = {};
  for (const { host, served } of mirroredRegistries(input)) {
    const signed = { type: "sigstoreSigned", keyPath: IMAGE_KEY_PATH };
    docker[host] = [{ ...signed, signedIdentity: { type: "matchRepository" } }];
    docker[`${authority}/${served}`] = [
      {
        ...signed,
        // The signature names the original place.
        signedIdentity: { type: "remapIdentity", prefix: `${authority}/${served}`, signedPrefix: host },
      },
    ];
  }
  const archives = [{ type: "insecureAcceptAnything" }];
  const policy = {
    default: [{ type: "reject" }],
    transports: { docker, "docker-archive": { "": archives }, "oci-archive": { "": archives }, oci: { "": archives } },
  };
  return `${JSON.stringify(policy, null, 2)}\n`;
}

/** Renders the drop-in that makes podman look for cosign's signatures in registries: `/etc/containers/registries.d/`. */
export function renderRegistriesD(input: RenderInput): string {
  const { authority } = registryAddress(input);
  const places = [authority, ...mirroredRegistries(input).map((it) => it.host)];
  return `docker:\n${[...new Set(places)].map((it) => `  ${JSON.stringify(it)}:\n    use-sigstore-attachments: true\n`).join("")}`;
}
