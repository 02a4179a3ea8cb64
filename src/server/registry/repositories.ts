/**
 * Which images the current releases have, by the names that clients may use for them: host-qualified, by `?ns=`, or
 * bare if unambiguous. Computed once for each view. See docs/serve.md, "Registry".
 */
import type { CatalogImage } from "../../bundle/inventory-types.ts";
import type { OciDigest } from "../../oci/oci-digest.ts";
import { canonicalHost, parseReference, servedHost, servedRepository } from "../../oci/reference.ts";
import { packedTag } from "../../oci/short-index.ts";
import type { Release } from "../../store/types.ts";

/** One repository: everything packed from it, in all releases. */
export interface ImageRepository {
  /** `registry.k8s.io/pause`; a port is joined with `_`. */
  readonly name: string;
  /** Tags of images, sorted; legacy signature tags too. */
  readonly tags: ReadonlyMap<string, OciDigest>;
  /** Manifests reachable by digest. */
  readonly manifests: ReadonlySet<OciDigest>;
  /** The images' media types, as announced upstream. */
  readonly mediaTypes: ReadonlyMap<OciDigest, string>;
  /** By the tag of the index of what is here: images of which platforms were chosen. None of a tag of `tags`. */
  readonly chosen: ReadonlyMap<string, ChosenImage>;
}

/** An image of which platforms were chosen, so that others may not be here. */
export interface ChosenImage {
  readonly digest: OciDigest;
  readonly platforms: readonly string[];
  readonly release: Release;
}

export class RegistryIndex {
  readonly #repositories = new Map<string, ImageRepository>();
  /** Repository names by their path without the host. */
  readonly #byPath = new Map<string, string[]>();

  constructor(releases: readonly Release[]) {
    const building = new Map<string, Building>();
    // If two streams have a tag, the latest release wins.
    const ordered = [...releases].sort((a, b) =>
      a.importedAt < b.importedAt ? -1 : a.importedAt > b.importedAt ? 1 : 0,
    );
    for (const release of ordered) {
      for (const image of release.inventory.catalog.images) addImage(building, image, release);
    }
    for (const name of [...building.keys()].sort()) {
      const { tags, manifests, mediaTypes, chosen } = building.get(name) as Building;
      const sorted = new Map([...tags].sort(([a], [b]) => (a < b ? -1 : 1)));
      this.#repositories.set(name, { name, tags: sorted, manifests, mediaTypes, chosen });
      for (const tag of sorted.keys()) chosen.delete(tag);
      const path = name.slice(name.indexOf("/") + 1);
      this.#byPath.set(path, [...(this.#byPath.get(path) ?? []), name]);
    }
  }

  /** All repository names, sorted. */
  names(): string[] {
    return [...this.#repositories.keys()];
  }

  /**
   * Finds a repository by the client's name for it. `ns` is the registry that the client believes it is using; with it
   * a bare name means only that registry.
   */
  find(name: string, ns: string | undefined): { repository: ImageRepository } | { candidates: string[] } {
    const found = this.#lookUp(name, ns);
    if ("repository" in found || found.candidates.length > 0) return found;
    // kubeadm requests coredns/coredns or coredns, depending on whether its registry is the default one.
    const other = /(?:^|\/)coredns\/coredns$/.test(name)
      ? name.slice(0, -"/coredns".length)
      : /(?:^|\/)coredns$/.test(name)
        ? `${name}/coredns`
        : undefined;
    return other === undefined ? found : this.#lookUp(other, ns);
  }

  #lookUp(name: string, ns: string | undefined): { repository: ImageRepository } | { candidates: string[] } {
    const qualified = ns === undefined ? undefined : this.#ofHost(servedHost(ns), name);
    const repository = qualified ?? this.#qualified(name);
    if (repository !== undefined) return { repository };
    if (ns !== undefined) return { candidates: [] };
    const bare = [...(this.#byPath.get(name) ?? [])];
    const library = this.#ofHost("docker.io", name);
    if (library !== undefined) {
      // docker requests `library/x` from its mirrors, without naming the registry.
      if (name.startsWith("library/")) return { repository: library };
      if (!bare.includes(library.name)) bare.push(library.name);
    }
    if (bare.length !== 1) return { candidates: bare };
    return { repository: this.#repositories.get(bare[0] as string) as ImageRepository };
  }

  /** A name that starts with a source host, regardless of `ns`: some mirrors are configured like this. */
  #qualified(name: string): ImageRepository | undefined {
    const slash = name.indexOf("/");
    return slash === -1 ? undefined : this.#ofHost(canonicalHost(name.slice(0, slash)), name.slice(slash + 1));
  }

  #ofHost(host: string, path: string): ImageRepository | undefined {
    const exact = this.#repositories.get(`${host}/${path}`);
    return exact === undefined && host === "docker.io" && !path.includes("/")
      ? this.#repositories.get(`${host}/library/${path}`)
      : exact;
  }
}

interface Building {
  tags: Map<string, OciDigest>;
  manifests: Set<OciDigest>;
  mediaTypes: Map<OciDigest, string>;
  chosen: Map<string, ChosenImage>;
}

function addImage(building: Map<string, Building>, image: CatalogImage, release: Release): void {
  const reference = parseReference(image.reference);
  const name = servedRepository(reference);
  let repository = building.get(name);
  if (repository === undefined) {
    repository = { tags: new Map(), manifests: new Set(), mediaTypes: new Map(), chosen: new Map() };
    building.set(name, repository);
  }
  if (reference.tag !== undefined) repository.tags.set(reference.tag, image.digest);
  for (const [tag, digest] of Object.entries(image.tags ?? {})) repository.tags.set(tag, digest);
  repository.manifests.add(image.digest);
  for (const digest of image.manifests) repository.manifests.add(digest);
  repository.mediaTypes.set(image.digest, image.mediaType);
  const short = packedTag(image);
  if (short !== undefined) {
    repository.chosen.set(short, { digest: image.digest, platforms: image.platforms, release });
  } else if (reference.tag !== undefined) {
    // Another release's image of the tag, whose index this one replaces.
    repository.chosen.delete(`${reference.tag}-packed`);
  }
}
