/**
 * `airferry publish`: copies packed images, with their signatures and other referrers, to the site's own registry; RPM
 * repositories and files to its repository manager. The only verb inside the gap, besides doctor, that opens
 * connections. See docs/images.md and docs/repositories.md.
 */

import { openSource, type SourceOptions } from "./cache/open-source.ts";
import { AirferryError } from "./errors.ts";
import { plural } from "./io/format.ts";
import { parseJson } from "./io/json.ts";
import { eachLimited, throwIfAborted } from "./io/limit.ts";
import { redactUrl } from "./io/redact.ts";
import { readSmall } from "./io/safe-open.ts";
import { referrerDescriptor } from "./oci/image-manifest.ts";
import { OCI_INDEX } from "./oci/media-types.ts";
import type { OciDigest } from "./oci/oci-digest.ts";
import { digestTag, isRepositoryPath, servedRepository } from "./oci/reference.ts";
import { ImageLook, type PlannedImage } from "./publish/image-look.ts";
import { type ImagePush, packedBlobs, planPush } from "./publish/image-push.ts";
import { type PushOptions, pushFiles } from "./publish/push-files.ts";
import { type FileKind, planRepository } from "./publish/repository-plan.ts";
import { SiteRegistry } from "./publish/site-registry.ts";
import { SiteRepository } from "./publish/site-repository.ts";
import {
  findImages,
  isComplete,
  type PackedImage,
  type PackedManifest,
  readPackedImage,
} from "./store/packed-images.ts";
import type { StoreReader } from "./store/types.ts";

interface PublishOptions extends SourceOptions {
  /** The store's folder, or its name in object storage. */
  store: string;
  /** `host[:port][/prefix]`. */
  registry: string;
  /** Names of packed images; empty: all. */
  references?: readonly string[] | undefined;
  /** Repository names below the prefix: with the source host (default), or without it. */
  names?: "qualified" | "bare" | undefined;
  /** If platforms were omitted, push an index that lists only what was packed, with a new digest. */
  stripIndexes?: boolean | undefined;
  /** Plain HTTP. */
  insecure?: boolean | undefined;
  /** PEM file with the registry's CA. */
  ca?: string | undefined;
  stream?: string | undefined;
  report?: ((line: string) => void) | undefined;
  /** Called with the number of uploaded bytes of all blobs of the images, and which image is being sent. */
  progress?: ((done: number, total: number, reference: string) => void) | undefined;
}

interface Published {
  reference: string;
  /** `host/prefix/path:tag` or with the digest. */
  target: string;
  digest: OciDigest;
  /** The index was stripped: the digest is not the packed one. */
  stripped?: true;
  pushedBlobs: number;
  pushedBytes: number;
}

interface PublishFilesOptions extends SourceOptions, Pick<PublishOptions, "store" | "insecure" | "ca" | "stream"> {
  kind: FileKind;
  /** `https://host/…/`: a repository, or a folder in it. */
  url: string;
  /** Of RPM repositories: what was packed (default), or what the site makes of the packages. */
  metadata?: "carried" | "site" | undefined;
  /** Ask what is there, and send nothing. */
  dryRun?: boolean | undefined;
  report?: PushOptions["report"];
  progress?: PushOptions["progress"];
  metadataWaitMs?: PushOptions["metadataWaitMs"];
  metadataLookMs?: PushOptions["metadataLookMs"];
  env?: NodeJS.ProcessEnv | undefined;
}

const CONCURRENCY = 4;
const MAX_CA_BYTES = 1024 * 1024;

/**
 * Publishes images, one after the other; what the registry already has is not sent again, so running it again resumes
 * an interrupted publish.
 * @throws {AirferryError} ERR_PUBLISH when the registry refuses something; ERR_NOT_FOUND; ERR_USAGE; ERR_STORE_INVALID
 */
export async function publish(options: PublishOptions): Promise<Published[]> {
  parseTarget(options.registry);
  const store = await openSource(options.store, options);
  try {
    return await publishFrom(store, options);
  } finally {
    await store.close();
  }
}

/**
 * What {@link publish} would send, and what the registry has already, for each image and blob. Nothing is written
 * there.
 * @throws {AirferryError} as {@link publish}, also for an answer that leaves open whether something is there
 */
export async function planPublish(options: PublishOptions): Promise<PlannedImage[]> {
  parseTarget(options.registry);
  const store = await openSource(options.store, options);
  try {
    const { registry, pushes, host } = await preparePushes(store, options);
    try {
      const [first] = pushes;
      if (first !== undefined) await registry.check(first.repository);
      const look = new ImageLook(registry);
      const count = countBytes(pushes, options.progress);
      const planned: PlannedImage[] = [];
      for (const push of pushes) {
        const { reference } = push.image.catalog;
        const at = (digest: OciDigest, size: number) => count.at(digest, size, reference);
        planned.push(await look.plan(push, targetOf(host, push), at));
      }
      return planned;
    } finally {
      registry.close();
    }
  } finally {
    await store.close();
  }
}

/** Everything that is refused before a registry is asked. The caller closes the registry. */
async function preparePushes(
  store: StoreReader,
  options: PublishOptions,
): Promise<{ registry: SiteRegistry; pushes: ImagePush[]; host: string }> {
  const { host, prefix } = parseTarget(options.registry);
  const releases = (await store.releases()).filter(
    (it) => options.stream === undefined || it.stream === options.stream,
  );
  const ca = options.ca === undefined ? undefined : (await readSmall(options.ca, MAX_CA_BYTES)).toString("utf8");
  const images: PackedImage[] = [];
  for (const { release, catalog } of findImages(releases, options.references ?? [])) {
    images.push(await readPackedImage(store, release, catalog));
  }
  refuseSparse(images, options.stripIndexes === true);
  const pushes = images.map((image) => {
    const name = options.names === "bare" ? image.reference.path : servedRepository(image.reference);
    return planPush(image, prefix === "" ? name : `${prefix}/${name}`);
  });
  refuseCollisions(pushes);
  return { registry: new SiteRegistry({ host, insecure: options.insecure === true, ca }), pushes, host };
}

function targetOf(host: string, { repository, image: { reference }, root }: ImagePush): string {
  return `${host}/${repository}${reference.tag === undefined ? `@${root.digest}` : `:${reference.tag}`}`;
}

async function publishFrom(store: StoreReader, options: PublishOptions): Promise<Published[]> {
  const { registry, pushes, host } = await preparePushes(store, options);
  const count = countBytes(pushes, options.progress);
  const published: Published[] = [];
  try {
    for (const push of pushes) {
      throwIfAborted();
      const { catalog } = push.image;
      const { digest } = push.root;
      const sent = await pushImage(registry, push, count);
      const target = targetOf(host, push);
      options.report?.(`${catalog.reference} → ${target} ${digest}${push.isStripped ? " (stripped index)" : ""}`);
      published.push({
        reference: catalog.reference,
        target,
        digest,
        ...(push.isStripped && { stripped: true as const }),
        ...sent,
      });
    }
    return published;
  } finally {
    registry.close();
  }
}

/**
 * Publishes RPM repositories or files by PUT; what the site has already, by its checksum, is not sent again.
 * @throws {AirferryError} as {@link publish}
 */
export async function publishFiles({ kind, ...options }: PublishFilesOptions): ReturnType<typeof pushFiles> {
  const url = parseRepositoryUrl(options.url, kind, options.insecure === true);
  const store = await openSource(options.store, options);
  try {
    return await pushFrom(store, url, { kind, ...options });
  } finally {
    await store.close();
  }
}

async function pushFrom(
  store: StoreReader,
  url: URL,
  { kind, ...options }: PublishFilesOptions,
): ReturnType<typeof pushFiles> {
  const releases = (await store.releases()).filter(
    (it) => options.stream === undefined || it.stream === options.stream,
  );
  const ca = options.ca === undefined ? undefined : (await readSmall(options.ca, MAX_CA_BYTES)).toString("utf8");
  const plan = planRepository(kind, releases, store, options.metadata === "site");
  const repository = new SiteRepository({ url, ca, env: options.env });
  try {
    return await pushFiles(repository, plan, { ...options, isDry: options.dryRun === true });
  } finally {
    repository.close();
  }
}

/** Where to put files. A login would go over plain HTTP for everybody to read. */
function parseRepositoryUrl(text: string, kind: FileKind, insecure: boolean): URL {
  const refuse = (fault: string, hint: string) =>
    new AirferryError("ERR_USAGE", `cannot publish to "${redactUrl(text)}": ${fault}`, { hint });
  const example = `airferry publish https://nexus.site.example/repository/airferry-${kind}/ --kind ${kind} --store DIR`;
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) {
    throw refuse("it is no URL: expected https://HOST/…", `for example: ${example}`);
  }
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") {
    throw refuse(
      "it has a login, which other users of this machine can see",
      `write it into ~/.netrc: machine ${url.hostname} login NAME password SECRET`,
    );
  }
  if (url.search !== "" || url.hash !== "") throw refuse("it has a query or a fragment", `for example: ${example}`);
  if (url.protocol === "http:" && !insecure) {
    throw refuse("it is plain HTTP, where logins can be read", "give https://…, or --insecure to send it nevertheless");
  }
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

function parseTarget(text: string): { host: string; prefix: string } {
  const bare = text.replace(/^https?:\/\//, "").replace(/\/+$/, "");
  const slash = bare.indexOf("/");
  const host = slash === -1 ? bare : bare.slice(0, slash);
  const prefix = slash === -1 ? "" : bare.slice(slash + 1);
  if (
    /^[A-Za-z0-9.\-[\]:]+$/.test(host) &&
    URL.canParse(`https://${host}`) &&
    (prefix === "" || isRepositoryPath(prefix))
  )
    return { host, prefix };
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
    `cannot publish ${plural(sparse.length, "image")} with all digests: only some platforms were packed: ${list.join("; ")}`,
    {
      hint: "pack all platforms, or give --strip-indexes: new indexes with new digests, which signatures of the index do not cover",
    },
  );
}

/** Two streams, or two hosts with bare names, may have different images of one name: the last would win silently. */
function refuseCollisions(pushes: readonly ImagePush[]): void {
  const taken = new Map<string, ImagePush>();
  for (const push of pushes) {
    const { tag } = push.image.reference;
    if (tag === undefined) continue;
    const target = `${push.repository}:${tag}`;
    const other = taken.get(target);
    if (other !== undefined && other.root.digest !== push.root.digest) {
      const [a, b] = [other, push].map((it) => `${it.image.catalog.reference} (${it.root.digest})`);
      throw new AirferryError("ERR_PUBLISH", `cannot publish "${target}": two images have this name: ${a} and ${b}`, {
        hint: "choose with --stream or --image, or omit --names bare",
      });
    }
    taken.set(target, push);
  }
}

/** Counts the bytes of all blobs, each once. The bytes of a failed upload are subtracted. */
function countBytes(pushes: readonly ImagePush[], progress: PublishOptions["progress"]) {
  const sizes = new Map<OciDigest, number>();
  for (const { image, own, about } of pushes) {
    for (const it of [...own, ...about]) for (const { digest, size } of packedBlobs(image, it)) sizes.set(digest, size);
  }
  const total = [...sizes.values()].reduce((sum, it) => sum + it, 0);
  const sentOf = new Map<OciDigest, number>();
  let done = 0;
  return {
    /** Reports how much of a blob the registry has. */
    at(digest: OciDigest, bytes: number, reference: string) {
      done += bytes - (sentOf.get(digest) ?? 0);
      sentOf.set(digest, bytes);
      progress?.(done, total, reference);
    },
  };
}

async function pushImage(
  registry: SiteRegistry,
  { image, repository, root, own, about, tags }: ImagePush,
  count: ReturnType<typeof countBytes>,
): Promise<{ pushedBlobs: number; pushedBytes: number }> {
  const pushed = { pushedBlobs: 0, pushedBytes: 0 };
  const pushBlobs = (manifest: PackedManifest) =>
    eachLimited(packedBlobs(image, manifest), CONCURRENCY, async (blob) => {
      const at = (bytes: number) => count.at(blob.digest, bytes, image.catalog.reference);
      if (await registry.pushBlob(repository, blob, at)) {
        pushed.pushedBlobs++;
        pushed.pushedBytes += blob.size;
      }
      at(blob.size);
    });
  for (const it of own) {
    await pushBlobs(it);
    await registry.pushManifest(repository, it.digest, it);
  }
  for (const it of about) {
    await pushBlobs(it);
    const { isListed } = await registry.pushManifest(repository, it.digest, it);
    if (it.manifest.subject !== undefined && !isListed) await listByTag(registry, repository, it);
  }
  for (const [tag, it] of tags) await registry.pushManifest(repository, tag, it);
  // The name comes last: once it is visible, the whole image and its signatures are available.
  const { tag } = image.reference;
  if (tag !== undefined) await registry.pushManifest(repository, tag, root);
  return pushed;
}

/**
 * A registry without the referrers API finds them by a tag. @see distribution-spec v1.1, "Unavailable Referrers API"
 */
async function listByTag(registry: SiteRegistry, repository: string, referrer: PackedManifest): Promise<void> {
  const tag = digestTag(referrer.manifest.subject?.digest as OciDigest);
  const present = await registry.manifest(repository, tag);
  type List = { manifests?: { digest: string }[] };
  const list = (present === undefined ? {} : (parseJson(present.toString("utf8")) as List)).manifests ?? [];
  if (list.some((it) => it.digest === referrer.digest)) return;
  const manifests = [...list, referrerDescriptor(referrer.manifest, referrer.digest, referrer.bytes.length)];
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  await registry.pushManifest(repository, tag, { manifest: { mediaType: OCI_INDEX }, bytes });
}
