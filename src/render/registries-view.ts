/** The input of registry configuration: the hosts of packed images, and how clients reach this server. */
import { AirferryError } from "../errors.ts";
import { canonicalHost, parseReference, servedHost } from "../oci/reference.ts";
import type { RenderInput } from "./types.ts";
import { addressOf, releasesOf } from "./view.ts";

interface MirroredRegistry {
  /** As references name it: `docker.io`, `registry.example.com:5000`. */
  host: string;
  /** First segment of its names here. */
  served: string;
}

/** The registries with packed images, sorted. */
export function mirroredRegistries(input: RenderInput): MirroredRegistry[] {
  const hosts = releasesOf(input).flatMap((release) =>
    release.inventory.catalog.images.map((image) => parseReference(image.reference).host),
  );
  return [...new Set(hosts.map(canonicalHost))].sort().map((host) => ({ host, served: servedHost(host) }));
}

/** Whether Docker Hub images were packed: the registry of names without a host. */
export function mirrorsHub(input: RenderInput): boolean {
  return mirroredRegistries(input).some((it) => it.host === "docker.io");
}

/** `host:port` of the server and whether it uses TLS. A path in the base URL has no meaning to registry clients. */
export function registryAddress(input: RenderInput): { authority: string; tls: boolean } {
  const { authority, tls } = addressOf(input.baseUrl);
  return { authority, tls };
}

/**
 * The registries that podman, skopeo, buildah and CRI-O support: {@link mirroredRegistries} without, and with
 * `unnamed`, IPv6 addresses.
 */
interface ContainersView {
  authority: string;
  tls: boolean;
  registries: MirroredRegistry[];
  unnamed: string[];
}

/**
 * The same for configuration of containers/image, whose references do not support IPv6 addresses: one in policy.json
 * invalidates all of it, and with one as mirror every pull fails.
 * @throws {AirferryError} ERR_RENDER when the server itself has such an address
 */
export function containersView(input: RenderInput, what: string): ContainersView {
  const { authority, tls } = registryAddress(input);
  if (isIpv6(authority)) {
    throw new AirferryError(
      "ERR_RENDER",
      `cannot render "${what}": podman, skopeo, buildah and CRI-O accept no IPv6 address as a registry`,
      {
        expected: "a host name or an IPv4 address",
        actual: authority,
        hint: `give the server a name: --url ${tls ? "https" : "http"}://HOST${authority.replace(/^.*\]/, "")}`,
      },
    );
  }
  const all = mirroredRegistries(input);
  return {
    authority,
    tls,
    registries: all.filter((it) => !isIpv6(it.host)),
    unnamed: all.filter((it) => isIpv6(it.host)).map((it) => it.host),
  };
}

function isIpv6(host: string): boolean {
  return host.startsWith("[");
}
