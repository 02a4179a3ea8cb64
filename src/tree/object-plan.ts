/**
 * A tree as the objects of a bucket: each URL of the site is a key, and what web servers are configured to say is
 * written on the objects. Every object has a step: a reader that follows what it has read finds all of it at any
 * instant, since what leads somewhere is written after what it leads to. docs/static.md.
 */
import { posix } from "node:path";
import { type Digest, EMPTY_DIGEST } from "../io/digest.ts";
import { isIndexType } from "../oci/media-types.ts";
import type { ObjectHeaders } from "../s3/sdk-client.ts";
import { contentTypeOf } from "../server/http/content-type.ts";
import { freshnessOf, IMMUTABLE, REVALIDATED } from "../server/http/freshness.ts";
import { BOM_PAGE_FILE, type Composed, PAGE_FILE } from "./compose.ts";
import type { Listing } from "./listing.ts";
import type { ObjectPool } from "./object-pool.ts";
import { MANIFEST_ENDINGS } from "./registry-places.ts";

/** The page of a folder, as hosts of buckets call it. */
export const INDEX_FILE = "index.html";
/** The folder of what is not part of the site. */
export const OWN_FOLDER = ".airferry/";

/** When an object is written; what is gone is removed at once from `index` on, and before that a generation later. */
export const STEPS = {
  /** What is only found through others: packages, layers, files, metadata that has its checksum in its name. */
  content: 0,
  /** What describes files: sidecars, `.treeinfo`, lists of checksums, keys, manifests; and files that are replaced. */
  companions: 1,
  /** Metadata of repositories under fixed names, indexes of manifests. */
  metadata: 2,
  /** `repomd.xml` and its signature. */
  index: 3,
  /** Tags, and lists of what refers to a manifest. */
  tags: 4,
  /** Lists of tags, the catalog, rendered configuration, pages. */
  pages: 5,
} as const;

/** An object as it is to be. */
export interface PlannedObject {
  key: string;
  digest: Digest;
  size: number;
  headers: ObjectHeaders;
  /** One of {@link STEPS}. */
  step: number;
}

/** All objects, and where a site sends whoever finds nothing below a folder: `s/one/files/` to `files/`. */
interface ObjectPlan {
  /** By steps, then keys. */
  objects: PlannedObject[];
  elsewhere: ReadonlyMap<string, string>;
}

const HTML = "text/html; charset=utf-8";
const XML = "application/xml";
const BYTES = "application/octet-stream";
const TYPES_OF_ENDINGS = new Map(Object.entries(MANIFEST_ENDINGS).map(([type, ending]) => [ending, type]));
const MANIFEST_TYPES = new Set(Object.keys(MANIFEST_ENDINGS));
/** Pages that are asked for without a slash at their end; nothing is below them. */
const LEAF_PAGE = /^(?:s\/[^/]+\/)?(?:registry|releases\/[^/]+)$/;
const REPOMD = /(?:^|\/)repodata\/repomd\.xml(?:\.asc|\.key)?$/;
/** Of S3, in UTF-8. */
const MAX_KEY_BYTES = 1024;
const MAX_MANIFEST_BYTES = 16 * 1024 * 1024;

/**
 * What the bucket of a composed tree has.
 * @param place `prefix`: what the storage has before each key; `isAws`: it reads a plus in a URL as a blank
 */
export async function planObjects(
  listing: Listing,
  composed: Composed,
  pool: ObjectPool,
  { prefix, isAws }: { prefix: string; isAws: boolean },
): Promise<ObjectPlan> {
  const planner = new Planner(listing, composed, pool, MAX_KEY_BYTES - prefix.length - 1);
  planner.addTree();
  await planner.addRegistry();
  planner.addPages();
  if (isAws) planner.addPlusNames();
  const objects = [...planner.objects.values()].sort((a, b) => a.step - b.step || (a.key < b.key ? -1 : 1));
  return { objects, elsewhere: planner.elsewhere };
}

class Planner {
  readonly objects = new Map<string, PlannedObject>();
  readonly elsewhere = new Map<string, string>();
  readonly #folders = new Set<string>();
  readonly #listing: Listing;
  readonly #composed: Composed;
  readonly #pool: ObjectPool;
  readonly #maxKeyBytes: number;

  constructor(listing: Listing, composed: Composed, pool: ObjectPool, maxKeyBytes: number) {
    this.#maxKeyBytes = maxKeyBytes;
    this.#listing = listing;
    this.#composed = composed;
    this.#pool = pool;
  }

  /** Entries and documents, without pages. */
  addTree(): void {
    const links: [path: string, to: string][] = [];
    for (const [place, what] of this.#listing.places) {
      if (!place.startsWith("tree/") || isPage(place)) continue;
      const path = place.slice("tree/".length);
      if (this.#isElsewhere(path)) continue;
      if ("link" in what) links.push([path, joined(path, what.link)]);
      else this.#add(path, what.digest, headersOf(path, what.digest, this.#composed.policies), stepOf(path));
    }
    for (const [path, to] of links) this.#expand(path, to);
  }

  addPages(): void {
    for (const [place, what] of this.#listing.places) {
      if (!place.startsWith("tree/") || !isPage(place) || "link" in what) continue;
      const folder = place.slice("tree/".length).slice(0, -PAGE_FILE.length).replace(/\/$/, "");
      const key = LEAF_PAGE.test(folder) ? folder : folder === "" ? INDEX_FILE : `${folder}/${INDEX_FILE}`;
      this.#add(key, what.digest, pageHeaders(this.#composed.policies.page), STEPS.pages);
    }
  }

  async addRegistry(): Promise<void> {
    for (const [place, what] of this.#listing.places) {
      const [top, scope = "", kind, ...rest] = place.split("/");
      if (top !== "registry") continue;
      if (rest.length === 0 && kind === undefined) this.#addAnswer(scope, what);
      else if (kind === "_catalog" && "digest" in what)
        this.#add(`${rootOf(scope)}v2/_catalog`, what.digest, documentHeaders("application/json"), STEPS.pages);
      else if (kind === "q" || kind === "b") await this.#addPlace(scope, kind, rest.join("/"), what);
    }
  }

  /** A plus is read as a blank there, so what clients ask for without escaping it is sent to the right name. */
  addPlusNames(): void {
    for (const { key } of [...this.objects.values()].filter((it) => it.key.includes("+")))
      this.#redirect(key.replaceAll("+", " "), `/${key.split("/").map(encodeURIComponent).join("/")}`);
  }

  #addAnswer(name: string, what: { digest: Digest } | { link: string }): void {
    if ("link" in what) return;
    const json = documentHeaders("application/json");
    if (name === "api.json") {
      // Of streams, and of the registries that a website sends `/ns/HOST/` to.
      const scopes = [...this.#listing.places.keys()].flatMap(
        (it) => /^registry\/([^/]+)\/_catalog$/.exec(it)?.[1] ?? [],
      );
      const roots = scopes.map((it) => `${rootOf(it)}v2/`);
      for (const it of new Set([...roots, ...[...this.#composed.registry.hosts.values()].map((it) => `v2/${it}/`)]))
        this.#add(`${it}${INDEX_FILE}`, what.digest, json, STEPS.pages);
    }
    if (name === "healthz") this.#add("healthz", what.digest, documentHeaders("text/plain"), STEPS.pages);
  }

  async #addPlace(scope: string, kind: string, path: string, what: { digest: Digest } | { link: string }) {
    const [, name, part, reference = ""] = /^(.+)\/@(m|r|list)(?:\/(.+))?$/.exec(path) ?? [];
    if (name === undefined) return;
    const root = `${rootOf(scope)}v2/${name}/`;
    if ("link" in what) {
      const from = joined(`registry/${scope}/${kind}/${path}`, what.link);
      for (const [place, it] of this.#listing.places)
        if (place.startsWith(`${from}/`) && "digest" in it)
          await this.#addPlace(scope, kind, `${path}/${place.slice(from.length + 1)}`, it);
      return;
    }
    if (part === "list") this.#add(`${root}tags/list`, what.digest, documentHeaders("application/json"), STEPS.pages);
    const [, id = "", ending = ""] = /^(.+)\.([a-z]{2})$/.exec(reference) ?? [];
    const type = TYPES_OF_ENDINGS.get(ending);
    if (type === undefined) return;
    if (part === "r") this.#add(`${root}referrers/${id}`, what.digest, documentHeaders(type), STEPS.tags);
    if (part !== "m") return;
    const isDigest = /^sha(?:256|512):/.test(id);
    const digest = isDigest ? id : (this.#composed.registry.tags.get(`${scope}/${kind}/${name}:${id}`) ?? what.digest);
    const headers = {
      contentType: type,
      cacheControl: isDigest ? IMMUTABLE : REVALIDATED,
      metadata: { "docker-content-digest": digest },
    };
    const step = isDigest ? (isIndexType(type) ? STEPS.metadata : STEPS.companions) : STEPS.tags;
    this.#add(`${root}manifests/${id}`, what.digest, headers, step);
    for (const it of await this.#blobsOf(what.digest)) this.#redirect(`${root}blobs/${it.name}`, it.target);
  }

  /** The blobs that a manifest names, as far as they are in the tree. */
  async #blobsOf(manifest: Digest): Promise<{ name: string; target: string }[]> {
    if (this.#pool.sizeOf(manifest) > MAX_MANIFEST_BYTES) return [];
    let parsed: unknown;
    try {
      parsed = JSON.parse(Buffer.from(await this.#pool.read(manifest)).toString("utf8"));
    } catch {
      return [];
    }
    const { config, layers, blobs } = parsed as { config?: unknown; layers?: unknown; blobs?: unknown };
    const all = [config, ...(Array.isArray(layers) ? layers : []), ...(Array.isArray(blobs) ? blobs : [])];
    return all.flatMap((it: unknown) => {
      const { digest, mediaType } = (it ?? {}) as { digest?: unknown; mediaType?: unknown };
      const [, algorithm, hex] = /^(sha256|sha512):([0-9a-f]{64,128})$/.exec(String(digest)) ?? [];
      if (hex === undefined || MANIFEST_TYPES.has(String(mediaType))) return [];
      const path = `images/blobs/${algorithm}/${hex}`;
      return this.objects.has(path) ? [{ name: `${algorithm}:${hex}`, target: `/${path}` }] : [];
    });
  }

  /** Whether the same is at another path, where whoever finds nothing here is sent to. */
  #isElsewhere(path: string): boolean {
    const [, own = "", top = ""] = /^((?:s\/[^/]+\/)?([^/]+)\/).+$/.exec(path) ?? [];
    const target = own === `${top}/` ? (top === "rpmrepo" ? "rpms/" : undefined) : `${top}/`;
    if (target === undefined || top === "config" || top === "s") return false;
    const other = target + path.slice(own.length);
    const [here, there] = [this.#listing.places.get(`tree/${path}`), this.#listing.places.get(`tree/${other}`)];
    if (here === undefined || there === undefined) return false;
    const isSame =
      "link" in here || "link" in there
        ? "link" in here && "link" in there && here.link === there.link
        : here.digest === there.digest;
    if (isSame) this.elsewhere.set(own, target);
    return isSame;
  }

  /** There are no links in a bucket: what is behind one is there twice. */
  #expand(path: string, to: string): void {
    if (`${path}/`.startsWith(`${to}/`)) {
      this.#listing.leaveOut(path, "it is a link to a folder that it is in");
      return;
    }
    for (const it of [...this.objects.values()].filter((it) => it.key.startsWith(`${to}/`)))
      this.#put({ ...it, key: `${path}${it.key.slice(to.length)}` });
  }

  #add(key: string, digest: Digest, headers: ObjectHeaders, step: number): void {
    this.#put({ key, digest, size: this.#pool.sizeOf(digest), headers, step });
  }

  #redirect(key: string, target: string): void {
    if (this.objects.has(key)) return;
    const headers = { contentType: BYTES, cacheControl: REVALIDATED, redirect: target };
    this.#put({ key, digest: EMPTY_DIGEST, size: 0, headers, step: STEPS.content });
  }

  /** Of two that want one key the first has it; storages over folders cannot have both `a` and `a/b`. */
  #put(object: PlannedObject): void {
    const { key } = object;
    if (Buffer.byteLength(key) > this.#maxKeyBytes) {
      this.#listing.leaveOut(key, `S3 has names of at most ${MAX_KEY_BYTES} bytes`);
      return;
    }
    const above: string[] = [];
    for (let end = key.lastIndexOf("/"); end > 0; end = key.lastIndexOf("/", end - 1)) above.push(key.slice(0, end));
    const taken = [key, ...above].find((it) => this.objects.has(it));
    if (taken !== undefined || this.#folders.has(key)) {
      this.#listing.leaveOut(
        key,
        taken === undefined ? "a folder has this name" : `another file has the name ${taken}`,
      );
      return;
    }
    this.objects.set(key, object);
    for (const it of above) this.#folders.add(it);
  }
}

function isPage(place: string): boolean {
  return place.endsWith(`/${PAGE_FILE}`);
}

function rootOf(scope: string): string {
  return scope === "@" ? "" : `s/${scope}/`;
}

/** Where a relative link leads, from the folder of its path. */
function joined(path: string, link: string): string {
  return posix.join(posix.dirname(path), link).replace(/\/$/, "");
}

function pageHeaders(policy: string | undefined): ObjectHeaders {
  return {
    contentType: HTML,
    cacheControl: REVALIDATED,
    ...(policy !== undefined && { metadata: { "content-security-policy": policy } }),
  };
}

function documentHeaders(contentType: string): ObjectHeaders {
  return { contentType, cacheControl: REVALIDATED };
}

function headersOf(path: string, digest: Digest, policies: Composed["policies"]): ObjectHeaders {
  const own = path.replace(/^s\/[^/]+\//, "");
  if (own === BOM_PAGE_FILE) return pageHeaders(policies.bom);
  if (own.startsWith("config/"))
    return documentHeaders(own.endsWith(".json") ? "application/json" : "text/plain; charset=utf-8");
  const isNamed = freshnessOf(own, digest) === IMMUTABLE;
  const type = contentTypeOf(own);
  // Browsers run scripts in XML, and a bucket's website sends no policy against that.
  return { contentType: type === XML ? BYTES : type, cacheControl: isNamed ? IMMUTABLE : REVALIDATED };
}

function stepOf(path: string): number {
  const own = path.replace(/^s\/[^/]+\//, "");
  if (REPOMD.test(own)) return STEPS.index;
  if (!own.includes("/") || own.startsWith("config/")) return STEPS.pages;
  if (freshnessOf(own) !== REVALIDATED) return STEPS.content;
  return own.includes("/repodata/") ? STEPS.metadata : STEPS.companions;
}
