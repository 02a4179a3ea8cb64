/**
 * The registry as files. A repository's names have slashes, and `manifests`, `blobs` and `tags` are names as well, so
 * what a repository has is in folders whose names no repository can have:
 *
 * ```
 * registry/SCOPE/                     @, or a stream
 *   _catalog
 *   q/HOST/PATH/@m/TAG.oi             a manifest; its ending is its media type
 *   q/HOST/PATH/@m/sha256:HEX.oi
 *   q/HOST/PATH/@r/sha256:HEX.oi      the list of referrers, where there are any
 *   q/HOST/PATH/@list                 the tags
 *   b/PATH/…                          the same by bare names, where they are not ambiguous
 * ```
 * Blobs are those of the tree, at `images/blobs/`.
 */
import { AirferryError } from "../errors.ts";
import type { Digest } from "../io/digest.ts";
import { OCI_INDEX, OCI_MANIFEST } from "../oci/media-types.ts";
import { isOciDigest } from "../oci/oci-digest.ts";
import {
  canonicalHost,
  DOCKER_HUB_HOSTS,
  digestTag,
  isRepositoryPath,
  isTag,
  parseReference,
  servedHost,
} from "../oci/reference.ts";
import type { SilentSite } from "../server/process/silent-site.ts";
import { RegistryIndex } from "../server/registry/repositories.ts";
import type { Listing } from "./listing.ts";
import type { TreeContents } from "./types.ts";

/** Endings of manifests, by media type. */
export const MANIFEST_ENDINGS: Readonly<Record<string, string>> = {
  [OCI_INDEX]: "oi",
  [OCI_MANIFEST]: "om",
  "application/vnd.docker.distribution.manifest.list.v2+json": "dl",
  "application/vnd.docker.distribution.manifest.v2+json": "dm",
  "application/vnd.oci.artifact.manifest.v1+json": "oa",
};

/** The folder of what is unqualified: no stream has this name. */
const ALL_STREAMS = "@";
/** The list of referrers of what has none. */
const NO_REFERRERS = "registry/no-referrers.oi";
/** The answer to `/v2/`. */
const API_ANSWER = "registry/api.json";
/** The answer to `/healthz` of servers that cannot make one up. */
const HEALTH_ANSWER = "registry/healthz";

/** A tag by one of the names of its repository: `SCOPE/q/NAME:TAG` or `SCOPE/b/NAME:TAG`. */
type TagDigests = Map<string, string>;

/** The names of a repository: by host, and bare. */
interface Names {
  qualified: string[];
  bare: string[];
}

export class RegistryPlaces {
  readonly #site: SilentSite;
  readonly #pool: TreeContents;
  readonly #listing: Listing;
  readonly tags: TagDigests = new Map();
  /** Hosts that clients may name in `?ns=`, in lower case, with the name that they are served under. */
  readonly hosts = new Map<string, string>();

  constructor(site: SilentSite, pool: TreeContents, listing: Listing) {
    this.#site = site;
    this.#pool = pool;
    this.#listing = listing;
  }

  /** Adds everything that clients can pull, of one stream or of all. */
  async add(stream: string | undefined): Promise<void> {
    const { view } = this.#site;
    const releases = view.releases.filter((it) => stream === undefined || it.stream === stream);
    const index = new RegistryIndex(releases);
    for (const { inventory } of releases) for (const it of inventory.catalog.images) this.#noteHost(it.reference);
    const root = `${stream === undefined ? "" : `/s/${stream}`}/v2/`;
    const scope = stream ?? ALL_STREAMS;
    await this.#document(`registry/${scope}/`, "_catalog", `${root}_catalog`);
    const none = await this.#pool.addBytes(Buffer.from(EMPTY_LIST));
    if (!this.#listing.places.has(NO_REFERRERS)) {
      this.#listing.add("", NO_REFERRERS, { digest: none });
      await this.#document("", API_ANSWER, "/v2/");
      this.#listing.add("", HEALTH_ANSWER, { digest: await this.#pool.addBytes(Buffer.from("ok\n")) });
    }
    for (const name of index.names()) await this.#repository(index, name, scope, root);
  }

  #noteHost(reference: string): void {
    const { host } = parseReference(reference);
    const served = servedHost(host);
    for (const it of [host, served, ...(served === "docker.io" ? DOCKER_HUB_HOSTS : [])]) this.hosts.set(it, served);
  }

  async #repository(index: RegistryIndex, name: string, scope: string, root: string): Promise<void> {
    const found = index.find(name, undefined);
    if (!("repository" in found) || !isRepositoryPath(name)) return;
    const { manifests } = found.repository;
    const [qualified = name, ...others] = namesOf(index, name).qualified;
    const folder = `registry/${scope}/q/${qualified}/`;
    const tags = await this.#tags(`${root}${name}/tags/list`);
    const digests = new Map<string, string>();
    for (const tag of tags) {
      const digest = await this.#manifest(folder, `${root}${name}/manifests/`, tag);
      if (digest === undefined) continue;
      digests.set(tag, digest);
      // An index of what is here is made: nothing in the catalog has its digest.
      await this.#manifest(folder, `${root}${name}/manifests/`, digest);
    }
    for (const digest of manifests) {
      await this.#manifest(folder, `${root}${name}/manifests/`, digest);
      const list = await this.#site.ask(`${root}${name}/referrers/${digest}`);
      if (list.status !== 200 || list.body.equals(Buffer.from(EMPTY_LIST))) continue;
      this.#listing.add(`${folder}@r/`, `${digest}.oi`, { digest: await this.#pool.addBytes(list.body) });
      // What registries without that interface have in its place.
      const fallback = digestTag(digest);
      const at = await this.#manifest(folder, `${root}${name}/manifests/`, fallback);
      if (at === undefined) continue;
      digests.set(fallback, at);
      await this.#manifest(folder, `${root}${name}/manifests/`, at);
    }
    await this.#document(folder, "@list", `${root}${name}/tags/list`);
    const { bare } = namesOf(index, name);
    this.#noteTags(`${scope}/q/${qualified}`, digests);
    for (const it of others) await this.#alias(`registry/${scope}/q/`, it, folder, root, digests);
    for (const it of bare) await this.#alias(`registry/${scope}/b/`, it, folder, root, digests);
  }

  /** Another name: its list of tags says it, all else is a link. */
  async #alias(
    root: string,
    name: string,
    of: string,
    url: string,
    digests: ReadonlyMap<string, string>,
  ): Promise<void> {
    const up = "../".repeat(root.split("/").length + name.split("/").length - 1);
    for (const part of ["@m", "@r"]) {
      const has = this.#listing.folders.has(`${of}${part}`);
      if (has) this.#listing.add(root, `${name}/${part}`, { link: `${up}${of}${part}` });
    }
    await this.#document(`${root}${name}/`, "@list", `${url}${name}/tags/list`);
    this.#noteTags(`${root.slice("registry/".length)}${name}`, digests);
  }

  #noteTags(name: string, digests: ReadonlyMap<string, string>): void {
    for (const [tag, digest] of digests) this.tags.set(`${name}:${tag}`, digest);
  }

  /** The tags in a list of tags; only such. */
  async #tags(url: string): Promise<string[]> {
    const { status, body } = await this.#site.ask(url);
    if (status !== 200) return [];
    const { tags } = JSON.parse(body.toString("utf8")) as { tags: string[] };
    return tags.filter(isTag);
  }

  async #document(folder: string, name: string, url: string): Promise<void> {
    const { status, body } = await this.#site.ask(url);
    if (status === 200) this.#listing.add(folder, name, { digest: await this.#pool.addBytes(body) });
  }

  /** Adds one manifest; returns its digest, as clients get it. */
  async #manifest(folder: string, url: string, reference: string): Promise<string | undefined> {
    const { status, headers, body } = await this.#site.ask(`${url}${reference}`);
    const ending = MANIFEST_ENDINGS[headers.get("content-type") ?? ""];
    const digest = headers.get("docker-content-digest");
    if (status !== 200 || !isOciDigest(digest)) return undefined;
    if (ending === undefined)
      throw new AirferryError("ERR_STORE_INVALID", `cannot export ${reference}: its media type is not a manifest's`);
    const name = `${reference}.${ending}`;
    if (!this.#listing.places.has(`${folder}@m/${name}`)) {
      const place: { digest: Digest } = { digest: await this.#pool.addBytes(body) };
      this.#listing.add(`${folder}@m/`, name, place);
    }
    return digest;
  }
}

const EMPTY_LIST = JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] });

/** The names that lead to a repository: those that a client may use, and that the index finds it by. */
function namesOf(index: RegistryIndex, name: string): Names {
  const host = name.slice(0, name.indexOf("/"));
  const path = name.slice(host.length + 1);
  const isHub = canonicalHost(host) === "docker.io";
  const paths = new Set([path]);
  if (isHub && path.startsWith("library/")) paths.add(path.slice("library/".length));
  // As kubeadm asks for it; see RegistryIndex.find().
  if (/(?:^|\/)coredns\/coredns$/.test(path)) paths.add(path.slice(0, -"/coredns".length));
  else if (/(?:^|\/)coredns$/.test(path)) paths.add(`${path}/coredns`);
  const hosts = isHub ? [host, ...[...DOCKER_HUB_HOSTS].filter((it) => it !== host)] : [host];
  const leadsHere = (it: string): boolean => {
    const found = isRepositoryPath(it) ? index.find(it, undefined) : undefined;
    return found !== undefined && "repository" in found && found.repository.name === name;
  };
  const qualified = hosts.flatMap((it) => [...paths].map((path) => `${it}/${path}`)).filter(leadsHere);
  return { qualified, bare: [...paths].filter(leadsHere) };
}
