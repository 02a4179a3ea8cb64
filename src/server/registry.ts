/**
 * `/v2/…`: a read-only registry over the packed images. Manifests and blobs go out byte for byte under their stored media
 * types; nothing is converted, negotiated or proxied. See OCI distribution-spec v1.1, "Pull" and "Content Discovery".
 */
import { blobPath, isOciDigest, type OciDigest } from "../oci/digest.ts";
import { OCI_INDEX } from "../oci/media-types.ts";
import { digestTag, isRepositoryPath, isTag } from "../oci/reference.ts";
import { sendBlob } from "./blob.ts";
import type { Found, Mount, Request, ServeContext, TreeView } from "./context.ts";
import type { Htpasswd } from "./registry-auth.ts";
import { RegistryIndex, type Repository } from "./registry-index.ts";
import { RegistryManifests } from "./registry-manifests.ts";

/** Error codes of the specification. */
type WireCode =
  | "BLOB_UNKNOWN"
  | "DIGEST_INVALID"
  | "MANIFEST_UNKNOWN"
  | "NAME_INVALID"
  | "NAME_UNKNOWN"
  | "PAGINATION_NUMBER_INVALID"
  | "UNAUTHORIZED"
  | "UNSUPPORTED";

const API_HEADERS = { "Docker-Distribution-Api-Version": "registry/2.0" };
const ROUTE = /^\/v2\/(.+)\/(manifests|blobs|referrers|tags)\/([^/]+)$/;
const FALLBACK_TAG = /^(sha256-[0-9a-f]{64}|sha512-[0-9a-f]{64})$/;

interface Registry {
  index: RegistryIndex;
  manifests: Map<string, Promise<RegistryManifests>>;
}

export interface RegistryOptions {
  /** Who may read; everybody when absent. */
  htpasswd?: Htpasswd | undefined;
}

/** Makes the handler of `/v2`. Answers every method, so that writes get a refusal that clients can read. */
export function registryMount(options: RegistryOptions = {}): Mount {
  // One index for each view and stream; old views are collected with what was made for them.
  const registries = new WeakMap<TreeView, Map<string, Registry>>();
  const registryOf = (view: TreeView, stream: string | undefined): Registry => {
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
  return {
    prefix: "/v2",
    anyMethod: true,
    async handle(request, context) {
      if (options.htpasswd && !(await options.htpasswd.admits(request.req.headers.authorization))) {
        sendError(request, 401, "UNAUTHORIZED", "a login is needed: docker login, podman login", {
          "WWW-Authenticate": 'Basic realm="airferry", charset="UTF-8"',
        });
        return true;
      }
      const view = await context.view();
      await new Exchange(request, context, view, registryOf(view, request.stream), options).answer();
      return true;
    },
  };
}

/** One request and all it is answered from. */
class Exchange {
  readonly #request: Request;
  readonly #context: ServeContext;
  readonly #view: TreeView;
  readonly #registry: Registry;
  readonly #isOpen: boolean;

  constructor(request: Request, context: ServeContext, view: TreeView, registry: Registry, options: RegistryOptions) {
    this.#request = request;
    this.#context = context;
    this.#view = view;
    this.#registry = registry;
    this.#isOpen = options.htpasswd === undefined;
  }

  async answer(): Promise<void> {
    const { req, head, path } = this.#request;
    if (req.method !== "GET" && !head) return refuseWrite(this.#request);
    if (path === "/v2" || path === "/v2/") return sendJson(this.#request, 200, "application/json", {});
    if (path === "/v2/_catalog") {
      return this.#sendPage(this.#registry.index.names(), "/v2/_catalog", (repositories) => ({ repositories }));
    }
    const [, name, kind, last] = ROUTE.exec(path) ?? [];
    if (name === undefined || (kind === "tags" && last !== "list")) {
      return this.#fail(404, "UNSUPPORTED", `there is no such endpoint: ${path}`);
    }
    if (!isRepositoryPath(name)) return this.#fail(404, "NAME_INVALID", `"${name}" is not a repository name`);
    const reference = last as string;
    if (kind !== "manifests" && kind !== "tags" && !isOciDigest(reference)) {
      return this.#fail(400, "DIGEST_INVALID", `"${reference}" is not a digest: expected sha256: and 64 hex digits`);
    }
    const ns = this.#request.query.get("ns") ?? undefined;
    const found = this.#registry.index.find(name, ns);
    if ("candidates" in found) {
      // The specification wants an empty list rather than an error for what nobody refers to.
      if (kind === "referrers") return this.#sendReferrers([], undefined);
      return this.#unknownName(name, ns, found.candidates);
    }
    const { repository } = found;
    switch (kind) {
      case "tags":
        return this.#sendPage([...repository.tags.keys()], `/v2/${name}/tags/list`, (tags) => ({ name, tags }));
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

  #manifests(repository: Repository): Promise<RegistryManifests> {
    const { manifests } = this.#registry;
    let reading = manifests.get(repository.name);
    if (reading === undefined) {
      reading = RegistryManifests.read(repository, this.#view, this.#context.store);
      manifests.set(repository.name, reading);
      // A store that could not be read is tried again with the next request.
      reading.catch(() => manifests.delete(repository.name));
    }
    return reading;
  }

  async #sendManifest(repository: Repository, reference: string): Promise<void> {
    if (reference.includes(":") && !isOciDigest(reference)) {
      return this.#fail(400, "DIGEST_INVALID", `"${reference}" is not a digest: expected sha256: and 64 hex digits`);
    }
    const manifests = await this.#manifests(repository);
    const digest = isOciDigest(reference) ? reference : repository.tags.get(reference);
    const stored = digest && manifests.get(digest);
    if (stored !== undefined) return this.#sendStored(stored.entry, stored.digest, stored.manifest.mediaType);
    if (FALLBACK_TAG.test(reference)) {
      const subject = [...repository.manifests].find((it) => digestTag(it) === reference);
      const referrers = subject === undefined ? [] : manifests.referrers(subject);
      if (referrers.length > 0) return this.#sendReferrers(referrers, undefined);
    }
    if (isOciDigest(reference)) {
      const platform = manifests.platformOf(reference);
      const why = platform === undefined ? "" : `: platform ${platform} was not packed`;
      return this.#fail(404, "MANIFEST_UNKNOWN", `${repository.name} has no manifest ${reference}${why}`);
    }
    if (!isTag(reference)) return this.#fail(404, "MANIFEST_UNKNOWN", `"${reference}" is not a tag`);
    const tags = [...repository.tags.keys()].slice(0, 20).join(", ") || "none, only digests";
    return this.#fail(404, "MANIFEST_UNKNOWN", `${repository.name} has no tag "${reference}"; packed: ${tags}`);
  }

  async #sendBlob(repository: Repository, digest: OciDigest): Promise<void> {
    const found = this.#view.find(blobPath(digest), this.#request.stream);
    if (found !== undefined && !("conflict" in found)) {
      return this.#sendStored(found.entry, digest, "application/octet-stream");
    }
    const manifests = await this.#manifests(repository);
    const platform = manifests.platformOf(digest);
    const why = platform === undefined ? "" : `: platform ${platform} was not packed`;
    return this.#fail(404, "BLOB_UNKNOWN", `${repository.name} has no blob ${digest}${why}`);
  }

  async #sendStored(entry: Found["entry"], digest: OciDigest, contentType: string): Promise<void> {
    const answer = await sendBlob(this.#request, {
      file: this.#context.store.blobPath(entry.sha256),
      size: entry.size,
      digest,
      contentType,
      headers: { "Docker-Content-Digest": digest, ...API_HEADERS },
    });
    if (answer !== undefined && this.#isOpen) this.#context.hot.put(this.#request.req.url as string, answer);
  }

  #sendReferrers(manifests: object[], artifactType: string | undefined): void {
    const filtered = artifactType === undefined ? {} : { "OCI-Filters-Applied": "artifactType" };
    sendJson(this.#request, 200, OCI_INDEX, { schemaVersion: 2, mediaType: OCI_INDEX, manifests }, filtered);
  }

  /** @see distribution-spec v1.1, "Listing Tags": ASCII order, `n`, `last`, `Link` */
  async #sendPage(all: readonly string[], path: string, body: (page: string[]) => object): Promise<void> {
    const { query } = this.#request;
    const wanted = query.get("n");
    if (wanted !== null && !/^\d{1,9}$/.test(wanted)) {
      return this.#fail(400, "PAGINATION_NUMBER_INVALID", `n must be a whole number, got "${wanted}"`);
    }
    const last = query.get("last");
    const rest = last === null ? all : all.filter((it) => it > last);
    const n = wanted === null ? rest.length : Number(wanted);
    const page = rest.slice(0, n);
    const more = n > 0 && rest.length > n;
    const base = this.#request.stream === undefined ? "" : `/s/${encodeURIComponent(this.#request.stream)}`;
    const next = `${base}${path}?n=${n}&last=${encodeURIComponent(page.at(-1) ?? "")}`;
    sendJson(this.#request, 200, "application/json", body(page), more ? { Link: `<${next}>; rel="next"` } : {});
  }

  #unknownName(name: string, ns: string | undefined, candidates: readonly string[]): void {
    const from = ns === undefined ? "" : ` of ${ns}`;
    const message =
      candidates.length > 1
        ? `"${name}" is packed from several registries: ask for ${candidates.join(" or ")}`
        : `"${name}"${from} was not packed; see /v2/_catalog for what was`;
    this.#fail(404, "NAME_UNKNOWN", message);
  }

  #fail(status: number, code: WireCode, message: string): void {
    sendError(this.#request, status, code, message);
  }
}

function refuseWrite(request: Request): void {
  const { req } = request;
  const hasBody = req.headers["transfer-encoding"] !== undefined || Number(req.headers["content-length"] ?? 0) > 0;
  sendError(
    request,
    405,
    "UNSUPPORTED",
    "read-only registry: images come here with airferry unpack, nothing can be pushed or deleted",
    {
      Allow: "GET, HEAD",
      // What the client still sends is not worth reading: the connection ends with this answer.
      ...(hasBody && { Connection: "close" }),
    },
  );
}

function sendError(
  request: Request,
  status: number,
  code: WireCode,
  message: string,
  headers: Record<string, string> = {},
): void {
  sendJson(request, status, "application/json", { errors: [{ code, message, detail: null }] }, headers);
}

/** Raw headers: any `charset` would make clients take the manifest for something else. */
function sendJson(
  request: Request,
  status: number,
  contentType: string,
  value: object,
  headers: Record<string, string> = {},
): void {
  const body = Buffer.from(JSON.stringify(value));
  request.sent = request.head ? 0 : body.length;
  request.res.writeHead(status, {
    "Content-Type": contentType,
    "Content-Length": body.length,
    "X-Content-Type-Options": "nosniff",
    ...API_HEADERS,
    ...headers,
  });
  request.res.end(request.head ? undefined : body);
}
