/** What registry configuration is made from: the hosts that images were packed from, and how clients reach this server. */
import { canonicalHost, parseReference, servedHost } from "../oci/reference.ts";
import type { RenderInput } from "./types.ts";
import { addressOf, releasesOf } from "./view.ts";

export interface MirroredRegistry {
  /** As references name it: `docker.io`, `registry.example.com:5000`. */
  host: string;
  /** First segment of its names here. */
  served: string;
}

/** The registries that something was packed from, sorted. */
export function mirroredRegistries(input: RenderInput): MirroredRegistry[] {
  const hosts = releasesOf(input).flatMap((release) =>
    release.inventory.catalog.images.map((image) => parseReference(image.reference).host),
  );
  return [...new Set(hosts.map(canonicalHost))].sort().map((host) => ({ host, served: servedHost(host) }));
}

/** `host:port` of the server and whether it speaks TLS. A path in the base URL has no meaning to registry clients. */
export function registryAddress(input: RenderInput): { authority: string; tls: boolean } {
  const { authority, tls } = addressOf(input.baseUrl);
  return { authority, tls };
}
