/**
 * `airferry publish REGISTRY`: copies packed images, with their signatures and everything about them, to the site's own
 * registry. The only verb inside the gap, beside doctor, that opens connections. See docs/images.md.
 */
import { AirferryError } from "./errors.ts";
import {
  blobsOf,
  findImages,
  isComplete,
  ownManifests,
  type PackedImage,
  type PackedManifest,
  readPackedImage,
} from "./export/packed-images.ts";
import { eachLimited } from "./io/limit.ts";
import { readSmall } from "./io/safe-open.ts";
import { digestOf, type OciDigest } from "./oci/digest.ts";
import { parseImageManifest, referrerDescriptor } from "./oci/image-manifest.ts";
import { OCI_INDEX } from "./oci/media-types.ts";
import { digestTag, isRepositoryPath, servedRepository } from "./oci/reference.ts";
import { SiteRegistry } from "./publish/site-registry.ts";
import { openStore } from "./store/store.ts";

export interface PublishOptions {
  /** The store's folder. */
  store: string;
  /** `host[:port][/prefix]`. */
  registry: string;
  /** Names of packed images; empty: all. */
  references?: readonly string[] | undefined;
  /** Repository names below the prefix: with the source host (default), or without it. */
  names?: "qualified" | "bare" | undefined;
  /** Push an index that lists only what was packed, under a digest of its own, where platforms were left out. */
  stripIndexes?: boolean | undefined;
  /** Plain HTTP. */
  insecure?: boolean | undefined;
  /** PEM file with the registry's CA. */
  ca?: string | undefined;
  stream?: string | undefined;
  report?: ((line: string) => void) | undefined;
}

export interface Published {
  reference: string;
  /** `host/prefix/path:tag` or with the digest. */
  target: string;
  digest: OciDigest;
  /** The index was stripped: the digest is not the packed one. */
  stripped?: true;
  pushedBlobs: number;
  pushedBytes: number;
}

const CONCURRENCY = 4;
const MAX_CA_BYTES = 1024 * 1024;

/**
 * Publishes images, one after the other; what the registry has already is not sent again, so an interrupted publish is
 * continued by running it again.
 * @throws {AirferryError} ERR_PUBLISH for what the registry refuses; ERR_NOT_FOUND; ERR_USAGE
 */
export async function publish(options: PublishOptions): Promise<Published[]> {
  const { host, prefix } = parseTarget(options.registry);
  const store = await openStore(options.store);
  const releases = (await store.releases()).filter(
    (it) => options.stream === undefined || it.stream === options.stream,
  );
  const ca = options.ca === undefined ? undefined : (await readSmall(options.ca, MAX_CA_BYTES)).toString("utf8");
  const registry = new SiteRegistry({ host, insecure: options.insecure === true, ca });
  const images: PackedImage[] = [];
  for (const { release, catalog } of findImages(releases, options.references ?? [])) {
    images.push(await readPackedImage(store, release, catalog));
  }
  refuseSparse(images, options.stripIndexes === true);
  const published: Published[] = [];
  for (const image of images) {
    const name = options.names === "bare" ? image.reference.path : servedRepository(image.reference);
    const repository = prefix === "" ? name : `${prefix}/${name}`;
    const one = await publishImage(registry, repository, image);
    const { tag } = image.reference;
    const target = `${host}/${repository}${tag === undefined ? `@${one.digest}` : `:${tag}`}`;
    options.report?.(`${image.catalog.reference} → ${target} ${one.digest}${one.stripped ? " (stripped index)" : ""}`);
    published.push({ reference: image.catalog.reference, target, ...one });
  }
  return published;
}

function parseTarget(text: string): { host: string; prefix: string } {
  const bare = text.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  const slash = bare.indexOf("/");
  const host = slash === -1 ? bare : bare.slice(0, slash);
  const prefix = slash === -1 ? "" : bare.slice(slash + 1);
  if (/^[A-Za-z0-9.\-[\]:]+$/.test(host) && (prefix === "" || isRepositoryPath(prefix))) return { host, prefix };
  throw new AirferryError("ERR_USAGE", `cannot publish to "${text}": expected HOST[:PORT][/PREFIX]`, {
    hint: "for example: airferry publish harbor.site.example/airferry --store DIR",
  });
}

/** Registries refuse an index whose children lack layers; a shorter index is another image, with another digest. */
function refuseSparse(images: readonly PackedImage[], strip: boolean): void {
  if (strip) return;
  const sparse = images.filter((image) => !isComplete(image, image.root));
  if (sparse.length === 0) return;
  const list = sparse.map((it) => `${it.catalog.reference} (${it.catalog.platforms.join(", ") || "a part"})`);
  throw new AirferryError(
    "ERR_PUBLISH",
    `cannot publish ${sparse.length} images with their digests: only some platforms were packed: ${list.join("; ")}`,
    {
      hint: "pack all platforms, or give --strip-indexes: new indexes with new digests, which signatures of the index do not cover",
    },
  );
}

async function publishImage(
  registry: SiteRegistry,
  repository: string,
  image: PackedImage,
): Promise<Omit<Published, "reference" | "target">> {
  const own = ownManifests(image).filter((it) => isComplete(image, it));
  const rootIsWhole = isComplete(image, image.root);
  const root = rootIsWhole ? image.root : stripIndex(image);
  const isOwn = new Set(ownManifests(image).map((it) => it.digest));
  const published = new Set(own.map((it) => it.digest));
  const about = orderReferrers(
    [...image.manifests.values()].filter((it) => !isOwn.has(it.digest)),
    published,
    image,
  );
  let pushedBlobs = 0;
  let pushedBytes = 0;
  const pushBlobs = async (manifest: PackedManifest) => {
    await eachLimited(blobsOf(manifest), CONCURRENCY, async ({ digest }) => {
      const blob = image.blob(digest);
      if (blob === undefined) return;
      if (await registry.pushBlob(repository, digest, blob)) {
        pushedBlobs++;
        pushedBytes += blob.size;
      }
    });
  };
  for (const it of own) {
    await pushBlobs(it);
    await registry.pushManifest(repository, it.digest, it.manifest.mediaType, it.bytes);
  }
  const reference = image.reference.tag ?? root.digest;
  if (!rootIsWhole || image.reference.tag !== undefined) {
    await registry.pushManifest(repository, reference, root.manifest.mediaType, root.bytes);
  }
  for (const it of about) {
    await pushBlobs(it);
    const { listed } = await registry.pushManifest(repository, it.digest, it.manifest.mediaType, it.bytes);
    if (it.manifest.subject !== undefined && !listed) await listByTag(registry, repository, it);
  }
  for (const [tag, digest] of Object.entries(image.catalog.tags ?? {})) {
    const it = image.manifests.get(digest);
    if (it !== undefined && about.includes(it))
      await registry.pushManifest(repository, tag, it.manifest.mediaType, it.bytes);
  }
  return { digest: root.digest, ...(!rootIsWhole && { stripped: true as const }), pushedBlobs, pushedBytes };
}

/** An index of what was packed whole. The order and all other members stay. */
function stripIndex(image: PackedImage): PackedManifest {
  const { root } = image;
  const json = JSON.parse(root.bytes.toString("utf8")) as { manifests: { digest: OciDigest }[] };
  json.manifests = json.manifests.filter(({ digest }) => {
    const child = image.manifests.get(digest);
    return child !== undefined && isComplete(image, child);
  });
  if (json.manifests.length === 0) {
    throw new AirferryError(
      "ERR_PUBLISH",
      `cannot publish "${image.catalog.reference}": no platform of it was packed whole`,
    );
  }
  const bytes = Buffer.from(JSON.stringify(json));
  return {
    digest: digestOf(bytes),
    bytes,
    manifest: parseImageManifest(bytes, image.catalog.reference, root.manifest.mediaType),
  };
}

/** Referrers after what they are about, and none of what was not published. */
function orderReferrers(
  candidates: readonly PackedManifest[],
  published: Set<OciDigest>,
  image: PackedImage,
): PackedManifest[] {
  const tagged = new Set(Object.values(image.catalog.tags ?? {}));
  const ordered: PackedManifest[] = [];
  let rest = [...candidates];
  for (let found = true; found; ) {
    const ready = rest.filter((it) => it.manifest.subject === undefined || published.has(it.manifest.subject.digest));
    found = ready.length > 0;
    // Indexes after what they list.
    ready.sort((a, b) => Number(a.manifest.kind === "index") - Number(b.manifest.kind === "index"));
    for (const it of ready) {
      // A legacy signature of an index that was stripped signs something that is not there.
      const about = [...image.manifests.keys()].find((digest) => isTagOf(image, it.digest, digest));
      if (tagged.has(it.digest as never) && about !== undefined && !published.has(about)) continue;
      ordered.push(it);
      published.add(it.digest);
    }
    rest = rest.filter((it) => !ready.includes(it));
  }
  return ordered;
}

function isTagOf(image: PackedImage, artifact: OciDigest, subject: OciDigest): boolean {
  return [".sig", ".att", ".sbom"].some((suffix) => image.catalog.tags?.[digestTag(subject, suffix)] === artifact);
}

/** A registry without the referrers API finds them by a tag. @see distribution-spec v1.1, "Unavailable Referrers API" */
async function listByTag(
  registry: SiteRegistry,
  repository: string,
  { manifest, digest, bytes }: PackedManifest,
): Promise<void> {
  const tag = digestTag(manifest.subject?.digest as OciDigest);
  const present = await registry.manifest(repository, tag);
  const list = (present === undefined ? [] : (JSON.parse(present.toString("utf8")).manifests ?? [])) as {
    digest: string;
  }[];
  if (list.some((it) => it.digest === digest)) return;
  const manifests = [...list, referrerDescriptor(manifest, digest, bytes.length)];
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  await registry.pushManifest(repository, tag, OCI_INDEX, index);
}
