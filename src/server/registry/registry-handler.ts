/**
 * `/v2/…`: a read-only registry over the packed images. Manifests and blobs are sent byte for byte with their stored
 * media types; nothing is converted, negotiated or proxied. See OCI distribution-spec v1.1, "Pull" and "Content
 * Discovery".
 */
import { OCI_INDEX } from "../../oci/media-types.ts";
import { blobPath, isDigestTag, isOciDigest, type OciDigest } from "../../oci/oci-digest.ts";
import { isRepositoryPath, isTag } from "../../oci/reference.ts";
import { sendBlob } from "../http/blob.ts";
import type { Found, Mount, ServeContext, ServerRequest, TreeView } from "../http/context.ts";
import { IMMUTABLE, REVALIDATED } from "../http/freshness.ts";
import { authorityOf } from "../http/host-header.ts";
import { RegistryManifests } from "./manifests.ts";
import { API_HEADERS, refuseWrite, sendError, sendFault, sendJson, type WireCode } from "./registry-responses.ts";
import { type ImageRepository, RegistryIndex } from "./repositories.ts";

const ROUTE = /^\/v2\/(.+)\/(manifests|blobs|referrers|tags)\/([^/]+)$/;
/** `/ns/docker.io/v2/…` is `/v2/…?ns=docker.io`, for clients whose mirrors have a path and send no `ns`: docker. */
const NAMESPACE = /^\/ns\/([^/]+)(\/v2(?:\/.*)?)$/;
const MAX_PAGE = 1_000_000;
const MAX_NAMED_TAGS = 20;

interface Registry {
  index: RegistryIndex;
  manifests: Map<string, Promise<RegistryManifests>>;
}

/** Creates the handlers of `/v2` and `/ns`. They answer every method, so that writes get a readable refusal. */
export function registryMounts(): Mount[] {
  // One index for each view and stream; old views are garbage-collected with their indexes.
  const nothing: Registry = { index: new RegistryIndex([]), manifests: new Map() };
  const registries = new WeakMap<TreeView, Map<string, Registry>>();
  const registryOf = (view: TreeView, stream: string | undefined): Registry => {
    // Any name can be requested: only streams get an index.
    if (stream !== undefined && !view.releases.some((it) => it.stream === stream)) return nothing;
    const byStream = registries.get(view) ?? new Map<string, Registry>();
    registries.set(view, byStream);
    let registry = byStream.get(stream ?? "");
    if (registry === undefined) {
      const releases = stream === undefined ? view.releases : view.releases.filter((it) => it.stream === stream);
      registry = { index: new RegistryIndex(releases), manifests: new Map() };
      byStream.set(stream ?? "", registry);
    }
    return registry;
  };
  const answer = async (request: ServerRequest, context: ServeContext, path: string, ns: string | undefined) => {
    const view = await context.view();
    await new RegistryRequest(request, context, view, registryOf(view, request.stream), path, ns).answer();
    return true;
  };
  return [
    {
      prefix: "/v2",
      anyMethod: true,
      sendFault,
      handle: (request, context) => answer(request, context, request.path, namespaceOf(request, context)),
    },
    {
      prefix: "/ns",
      anyMethod: true,
      sendFault,
      handle(request, context) {
        const [, ns, path] = NAMESPACE.exec(request.path) ?? [];
        return path === undefined ? false : answer(request, context, path, ns);
      },
    },
  ];
}

/** The registry that a client believes it is using; undefined if that is this server. */
function namespaceOf({ req, query }: ServerRequest, context: ServeContext): string | undefined {
  const ns = query.get("ns")?.toLowerCase();
  const own = [authorityOf(req), new URL(context.baseUrl(req)).host];
  return ns === undefined || ns === "" || own.includes(ns) ? undefined : ns;
}

/** Tags move; digests do not. */
function cacheFor(reference: string): string {
  return isOciDigest(reference) ? IMMUTABLE : REVALIDATED;
}

/** One request with everything needed to answer it. */
class RegistryRequest {
  readonly #request: ServerRequest;
  readonly #context: ServeContext;
  readonly #view: TreeView;
  readonly #registry: Registry;
  /** `/v2/…` */
  readonly #path: string;
  readonly #ns: string | undefined;

  constructor(
    request: ServerRequest,
    context: ServeContext,
    view: TreeView,
    registry: Registry,
    path: string,
    ns: string | undefined,
  ) {
    this.#request = request;
    this.#context = context;
    this.#view = view;
    this.#registry = registry;
    this.#path = path;
    this.#ns = ns;
  }

  async answer(): Promise<void> {
    const { req, head } = this.#request;
    const path = this.#path;
    if (req.method !== "GET" && !head) return refuseWrite(this.#request);
    if (path === "/v2" || path === "/v2/") return sendJson(this.#request, 200, "application/json", {});
    if (path === "/v2/_catalog") {
      return this.#sendPage(this.#registry.index.names(), (repositories) => ({ repositories }));
    }
    const [, name, kind, last] = ROUTE.exec(path) ?? [];
    if (name === undefined || (kind === "tags" && last !== "list")) {
      return this.#fail(404, "UNSUPPORTED", `there is no such endpoint: ${path}`);
    }
    if (!isRepositoryPath(name)) return this.#fail(404, "NAME_INVALID", `"${name}" is not a repository name`);
    const reference = last as string;
    if (kind !== "manifests" && kind !== "tags" && !isOciDigest(reference)) {
      return this.#failDigest(reference);
    }
    const found = this.#registry.index.find(name, this.#ns);
    if ("candidates" in found) {
      // The specification requires an empty list rather than an error without referrers.
      if (kind === "referrers") return this.#sendReferrers([], undefined);
      return this.#unknownName(name, found.candidates);
    }
    const { repository } = found;
    switch (kind) {
      case "tags":
        return this.#sendPage(await this.#tags(repository), (tags) => ({ name, tags }));
      case "manifests":
        return this.#sendManifest(repository, reference);
      case "blobs":
        return this.#sendBlob(repository, reference as OciDigest);
      default: {
        const artifactType = this.#request.query.get("artifactType") || undefined;
        const manifests = await this.#manifests(repository);
        return this.#sendReferrers(manifests.referrers(reference as OciDigest, artifactType), artifactType);
      }
    }
  }

  #manifests(repository: ImageRepository): Promise<RegistryManifests> {
    const { manifests } = this.#registry;
    let reading = manifests.get(repository.name);
    if (reading === undefined) {
      reading = RegistryManifests.read(repository, this.#view, this.#context.store, this.#request.resources.files);
      manifests.set(repository.name, reading);
      // An unreadable store is retried with the next request.
      reading.catch(() => manifests.delete(repository.name));
    }
    return reading;
  }

  /** Those that were packed, and those of indexes of what is here. */
  async #tags(repository: ImageRepository): Promise<string[]> {
    const { tags, chosen } = repository;
    if (chosen.size === 0) return [...tags.keys()];
    const { packedTags } = await this.#manifests(repository);
    return [...tags.keys(), ...packedTags.keys()].sort();
  }

  async #sendManifest(repository: ImageRepository, reference: string): Promise<void> {
    if (reference.includes(":") && !isOciDigest(reference)) return this.#failDigest(reference);
    const manifests = await this.#manifests(repository);
    const digest = isOciDigest(reference)
      ? reference
      : (repository.tags.get(reference) ?? manifests.packedTags.get(reference));
    const stored = digest && manifests.get(digest);
    if (stored !== undefined) {
      return this.#sendStored(stored.entry, stored.digest, stored.manifest.mediaType, cacheFor(reference));
    }
    const made = manifests.made(reference);
    if (made !== undefined) {
      const { bytes, digest, mediaType } = made;
      const headers = { "Docker-Content-Digest": digest, ...API_HEADERS };
      const cache = cacheFor(reference);
      await sendBlob(this.#request, { bytes, size: bytes.length, digest, contentType: mediaType, cache, headers });
      return;
    }
    if (isOciDigest(reference)) {
      return this.#failAbsent("MANIFEST_UNKNOWN", repository, manifests, `manifest ${reference}`, reference);
    }
    if (!isTag(reference)) return this.#fail(404, "MANIFEST_UNKNOWN", `"${reference}" is not a tag`);
    const tags = [...repository.tags.keys()].filter((it) => !isDigestTag(it));
    const named = tags.slice(0, MAX_NAMED_TAGS).join(", ") + (tags.length > MAX_NAMED_TAGS ? ", …" : "");
    return this.#fail(
      404,
      "MANIFEST_UNKNOWN",
      `${repository.name} has no tag "${reference}"; packed: ${named || "none, only digests"}`,
    );
  }

  async #sendBlob(repository: ImageRepository, digest: OciDigest): Promise<void> {
    const found = this.#view.find(blobPath(digest), this.#request.stream);
    if (found !== undefined && !("conflict" in found)) {
      return this.#sendStored(found.entry, digest, "application/octet-stream", IMMUTABLE);
    }
    const manifests = await this.#manifests(repository);
    return this.#failAbsent("BLOB_UNKNOWN", repository, manifests, `blob ${digest}`, digest);
  }

  async #sendStored(entry: Found["entry"], digest: OciDigest, contentType: string, cache: string): Promise<void> {
    await sendBlob(this.#request, {
      file: this.#context.store.blobPath(entry.digest),
      size: entry.size,
      digest,
      contentType,
      cache,
      // Blobs, not manifests.
      mayRedirect: contentType === "application/octet-stream",
      headers: { "Docker-Content-Digest": digest, ...API_HEADERS },
    });
  }

  #sendReferrers(manifests: object[], artifactType: string | undefined): void {
    const filtered = artifactType === undefined ? {} : { "OCI-Filters-Applied": "artifactType" };
    sendJson(this.#request, 200, OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests }, filtered);
  }

  /** @see distribution-spec v1.1, "Listing Tags": ASCII order, `n`, `last`, `Link` */
  async #sendPage(all: readonly string[], body: (page: string[]) => object): Promise<void> {
    const { query, req } = this.#request;
    const wanted = query.get("n") || null;
    if (wanted !== null && !/^\d+$/.test(wanted)) {
      return this.#fail(400, "PAGINATION_NUMBER_INVALID", `n must be a whole number, got "${wanted}"`);
    }
    const last = query.get("last");
    const rest = last === null ? all : all.filter((it) => it > last);
    const n = wanted === null ? rest.length : Math.min(Number(wanted), MAX_PAGE);
    const page = rest.slice(0, n);
    const more = n > 0 && rest.length > n;
    const next = new URLSearchParams({ n: String(n), last: page.at(-1) ?? "" });
    const ns = query.get("ns");
    if (ns !== null) next.set("ns", ns);
    // The URL of this page, for any mount or stream.
    const path = (req.url ?? "").split("?", 1)[0];
    sendJson(this.#request, 200, "application/json", body(page), more ? { Link: `<${path}?${next}>; rel="next"` } : {});
  }

  #unknownName(name: string, candidates: readonly string[]): void {
    const from = this.#ns === undefined ? "" : ` of ${this.#ns}`;
    const message =
      candidates.length > 1
        ? `"${name}" is packed from several registries: request ${candidates.join(" or ")}`
        : `"${name}"${from} was not packed; /v2/_catalog lists what was`;
    this.#fail(404, "NAME_UNKNOWN", message);
  }

  /** Says by name when it is a platform that was left out, and what a client that wants all may take instead. */
  #failAbsent(
    code: WireCode,
    { name }: ImageRepository,
    manifests: RegistryManifests,
    what: string,
    digest: OciDigest,
  ): void {
    const leftOut = manifests.leftOut(digest);
    const only = leftOut?.packed.length ? `, only ${leftOut.packed.join(", ")}` : "";
    const instead =
      leftOut?.packedTag === undefined ? "" : `; to copy all that is here, use the tag ${leftOut.packedTag}`;
    const why = leftOut === undefined ? "" : `: platform ${leftOut.platform} was not packed${only}${instead}`;
    sendError(this.#request, 404, code, `${name} has no ${what}${why}`, {}, leftOut ?? null);
  }

  #failDigest(text: string): void {
    const expected = "sha256: and 64, or sha512: and 128 lower-case hex digits";
    this.#fail(400, "DIGEST_INVALID", `"${text}" is not a digest: expected ${expected}`);
  }

  #fail(status: number, code: WireCode, message: string): void {
    sendError(this.#request, status, code, message);
  }
}
