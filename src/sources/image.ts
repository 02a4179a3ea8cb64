/**
 * `images:` of the manifest: from registries and from archives on disk, locked by digest with their signatures, packed as one
 * OCI layout in which images share blobs. See docs/images.md.
 */
import { basename, isAbsolute, resolve } from "node:path";
import type { CatalogImage } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import { isUnreachable } from "../fetch/fetcher.ts";
import type { Digest } from "../io/types.ts";
import { requestDigest } from "../manifest/load.ts";
import type { LockedArtifact, LockedEntry } from "../manifest/lock-types.ts";
import type { ImageEntry, Manifest } from "../manifest/schema.ts";
import { blobPath } from "../oci/digest.ts";
import { type Descriptor, MAX_IMAGE_MANIFEST_BYTES, TOO_LARGE_HINT } from "../oci/image-manifest.ts";
import { formatLayoutIndex, OCI_LAYOUT_BYTES, REF_NAME } from "../oci/layout.ts";
import { checkReference, formatReference, parseReference, type Reference, repositoryOf } from "../oci/reference.ts";
import { mapEntries, mapLimited } from "./each.ts";
import { type ArchivedImage, openImageArchive } from "./image/archive.ts";
import { type Collected, collectImage } from "./image/collect.ts";
import type { ImageDetail, LockedImage } from "./image/detail.ts";
import { RegistryOrigin, repositoryUrl } from "./image/registry.ts";
import { RegistryAuth } from "./image/registry-auth.ts";
import { readImageKeys, verifyImageSignatures } from "./image/signatures.ts";
import { SharedItems, verifyTogether } from "./image/together.ts";
import { askedUrls } from "./recorded-urls.ts";
import type { LockContext, PlanContext, PlanItem, SourceKind } from "./types.ts";

/** Tags that are looked at together. */
const DRIFT_CONCURRENCY = 8;

export const imageSource: SourceKind = {
  kind: "image",
  async lock(context) {
    const entries = context.manifest.images ?? [];
    const locked = await mapEntries("image", entries, nameOf, context, (entry) => lockImage(entry, context));
    verifyTogether(locked);
    const kept = locked.filter((it) => context.previous.get(it.name) === it);
    // pack asks nothing about what is locked: a rerun must not need upstream.
    if (context.pinFirstSight) for (const { message } of await movedTags(kept, context)) context.report(message);
    return locked;
  },
  drift: movedTags,
  plan: planImages,
};

/** What an entry goes by in the lock: the text that the manifest names it with. */
export function nameOf(entry: ImageEntry): string {
  return entry.as ?? entry.ref ?? (entry.archive as string);
}

/** Which tags upstream has moved since they were locked. It is a courtesy: no long waits, and nothing fails for it. */
async function movedTags(
  locked: readonly LockedEntry[],
  context: Pick<LockContext, "manifest" | "baseDir" | "fetcher" | "report">,
): Promise<{ name: string; message: string }[]> {
  /** Hosts that nobody answers at, and why: their other tags are not asked for. */
  const silent = new Map<string, string>();
  const unasked = new Map<string, { refs: string[]; reason: string }>();
  const moved = await mapLimited(locked, DRIFT_CONCURRENCY, async (taken) => {
    const entry = (context.manifest.images ?? []).find((it) => nameOf(it) === taken.name);
    if (entry?.ref === undefined) return [];
    const reference = parseReference(entry.ref);
    const { host, tag, digest } = reference;
    if (digest !== undefined || tag === undefined) return [];
    const origin = registryOf(reference, entry.insecure === true, context.manifest, {
      fetcher: context.fetcher,
      report: () => {},
      retries: 0,
    });
    const notAsked = (ref: string, reason: string) => {
      const group = unasked.get(host) ?? { refs: [], reason };
      group.refs.push(ref);
      unasked.set(host, group);
      return [];
    };
    const known = silent.get(host);
    if (known !== undefined) return notAsked(entry.ref, known);
    try {
      const now = await origin.digestOfTag(tag);
      const before = (taken.detail as ImageDetail).images[0]?.digest;
      if (now === undefined) context.report(`the tag ${entry.ref} is gone upstream; what is locked stays: ${before}`);
      if (now === undefined || now === before) return [];
      const message = `${entry.ref} moved upstream: locked ${before}, now ${now}; to follow it: airferry lock MANIFEST --update ${taken.name}`;
      return [{ name: taken.name, message }];
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      if (isUnreachable(error)) silent.set(host, error.message);
      return notAsked(entry.ref, error.message);
    }
  });
  for (const [host, { refs, reason }] of unasked) {
    const more = refs.length > 1 ? ` and ${refs.length - 1} more` : "";
    context.report(`could not ask ${host} whether ${refs[0]}${more} moved: ${reason}`);
  }
  return moved.flat();
}

async function lockImage(entry: ImageEntry, context: LockContext): Promise<LockedEntry> {
  // A key that cannot be read is told before hundreds of requests, not after.
  const keys = await readImageKeys(entry, nameOf(entry), context);
  const { collected, detail } =
    entry.ref === undefined ? await lockArchive(entry, context) : await lockRef(entry, context);
  const artifacts = new Map<string, LockedArtifact>();
  for (const it of collected) for (const artifact of it.artifacts) artifacts.set(artifact.path, artifact);
  const list = [...artifacts.values()];
  if (keys !== undefined) {
    for (const { image } of collected) {
      const signers = await verifyImageSignatures(image, list, keys, context.kept);
      for (const artifact of list) {
        if (!image.paths.includes(artifact.path)) continue;
        artifact.established = "upstream-signed";
        artifact.signedBy = signers;
      }
    }
  }
  return { kind: "image", name: nameOf(entry), request: requestDigest(entry), artifacts: list, detail };
}

async function lockRef(
  entry: ImageEntry,
  context: LockContext,
): Promise<{ collected: Collected[]; detail: ImageDetail }> {
  const reference = parseReference(entry.ref as string);
  const served = entry.as === undefined ? reference : parseReference(entry.as);
  const { host, path } = reference;
  const insecure = entry.insecure === true;
  const origin = registryOf(reference, insecure, context.manifest, context);
  const wanted = reference.digest ?? reference.tag;
  const root = await explained(origin.name, () =>
    origin.manifest(
      reference.digest !== undefined
        ? { digest: reference.digest, mediaType: "", size: 0 }
        : { tag: reference.tag as string },
    ),
  );
  if (root === undefined) {
    throw new AirferryError(
      "ERR_UPSTREAM",
      `cannot lock image "${entry.ref}": ${repositoryOf(reference)} has no ${wanted}`,
      {
        path: entry.ref,
        hint: "check the name and the tag in the manifest; some registries say this also for what needs a login",
      },
    );
  }
  context.report(`image ${formatReference(reference)} is ${root.digest}`);
  const one = await explained(origin.name, () =>
    collectImage(origin, root, {
      reference: formatReference(served),
      platforms: entry.platforms,
      referrers: entry.referrers !== false,
      foreignLayers: entry.foreign_layers === true,
      registry: new URL(repositoryUrl(reference, insecure)),
      established: reference.digest === undefined ? "first-sight" : "manifest",
      allowMissing: false,
      hint: `see what is there: skopeo inspect --raw docker://${formatReference(reference)}`,
      kept: context.kept,
      report: context.report,
    }),
  );
  return { collected: [one], detail: { images: [one.image], registry: { host, path, insecure } } };
}

async function lockArchive(
  entry: ImageEntry,
  context: LockContext,
): Promise<{ collected: Collected[]; detail: ImageDetail }> {
  const shown = entry.archive as string;
  await using archive = await openImageArchive(isAbsolute(shown) ? shown : resolve(context.baseDir, shown), shown);
  const collected: Collected[] = [];
  for (const { image, reference } of namedImages(archive.images, entry)) {
    const one = await collectImage(image.origin, image.root, {
      reference,
      platforms: entry.platforms,
      referrers: entry.referrers !== false,
      foreignLayers: entry.foreign_layers === true,
      established: "first-sight",
      allowMissing: true,
      hint: "copy the file again, or save the image again",
      kept: context.kept,
      report: context.report,
    });
    context.report(`image ${reference} is ${one.image.digest}`);
    collected.push(one);
  }
  return { collected, detail: { images: collected.map((it) => it.image) } };
}

const NAME_HINT = "name it: as: registry.example.com/name:tag";

/** Which images of an archive are taken, and under which names. */
function namedImages(
  images: readonly ArchivedImage[],
  entry: ImageEntry,
): { image: ArchivedImage; reference: string }[] {
  const fault = (what: string, hint: string) =>
    new AirferryError("ERR_MANIFEST_INVALID", `cannot lock image "${entry.archive}": ${what}`, {
      path: entry.archive,
      hint,
    });
  const all = images.flatMap((image) =>
    image.names.map((name) => {
      const wrong = checkReference(name);
      return { image, name, wrong, reference: wrong ? name : formatReference(parseReference(name)) };
    }),
  );
  if (entry.as !== undefined) {
    const wanted = formatReference(parseReference(entry.as));
    const same = all.find((it) => it.reference === wanted);
    const only = images.length === 1 ? images[0] : undefined;
    const image = same?.image ?? only;
    if (image === undefined) {
      throw fault(
        `it holds ${images.length} images and none is "${entry.as}": ${all.map((it) => it.reference).join(", ")}`,
        "leave out as: to take all of them, or name one of these",
      );
    }
    return [{ image, reference: wanted }];
  }
  const nameless = images.find((it) => it.names.length === 0);
  if (nameless !== undefined) {
    throw fault(`the image ${nameless.root.digest} in it has no name`, NAME_HINT);
  }
  const misnamed = all.find((it) => it.wrong);
  if (misnamed?.wrong)
    throw fault(`the name "${misnamed.name}" in it is no reference: ${misnamed.wrong.fault}`, NAME_HINT);
  return all;
}

/** Registry errors say which image they are about, and what to do about a refused login. */
async function explained<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AirferryError) || error.message.includes(`"${name}"`) || error.message.includes(`${name} (`))
      throw error;
    // Nobody knows the size of what a tag leads to: the limit is told by the fetch engine.
    const isTooLarge = error.expected === `at most ${MAX_IMAGE_MANIFEST_BYTES} bytes`;
    throw new AirferryError(error.code, `cannot lock image "${name}": ${error.message}`, {
      hint: isTooLarge ? TOO_LARGE_HINT : error.hint,
      path: error.path,
      expected: error.expected,
      actual: error.actual,
      cause: error.cause,
    });
  }
}

function registryOf(
  reference: Reference,
  insecure: boolean,
  manifest: Manifest,
  options: Pick<LockContext, "fetcher" | "report"> & { retries?: number },
): RegistryOrigin {
  const { fetcher, report, retries } = options;
  const auth = authFor(reference.host, reference.path, manifest, fetcher, retries);
  return new RegistryOrigin({ reference, insecure, fetcher, auth, name: formatReference(reference), report, retries });
}

function authFor(
  host: string,
  path: string,
  { hosts }: Manifest,
  fetcher: LockContext["fetcher"],
  retries?: number,
): RegistryAuth {
  return new RegistryAuth({ fetcher, host, path, hosts, retries });
}

async function planImages(
  entries: readonly LockedEntry[],
  context: PlanContext,
): Promise<{ items: PlanItem[]; catalog: { images: CatalogImage[] } }> {
  if (entries.length === 0) return { items: [], catalog: { images: [] } };
  verifyTogether(entries);
  const items = new SharedItems();
  const images: CatalogImage[] = [];
  const listed = new Map<string, Descriptor>();
  for (const entry of entries) {
    const detail = entry.detail as ImageDetail;
    await verifyAgain(entry, detail, context);
    const auth =
      detail.registry && authFor(detail.registry.host, detail.registry.path, context.manifest, context.fetcher);
    const base = detail.registry && repositoryUrl(detail.registry, detail.registry.insecure);
    const bytesAt = new Map(entry.artifacts.map((it) => [it.path, it.size ?? 0]));
    items.add(
      entry,
      entry.artifacts.map((artifact) => itemOf(artifact, context.baseDir, auth, base)),
    );
    for (const image of detail.images) {
      images.push(catalogImage(image, entry, sourceOf(entry, context.manifest), bytesAt));
      for (const descriptor of layoutEntries(image)) {
        listed.set(`${descriptor.digest} ${descriptor.annotations?.[REF_NAME] ?? ""}`, descriptor);
      }
    }
  }
  const index = formatLayoutIndex([...listed.values()]);
  return {
    items: [...items.list(), made("images/oci-layout", OCI_LAYOUT_BYTES), made("images/index.json", index)],
    catalog: { images },
  };
}

/** The lock's word is not enough: keys in the manifest's folder may have changed since. */
async function verifyAgain(entry: LockedEntry, detail: ImageDetail, context: PlanContext): Promise<void> {
  const wanted = context.manifest.images?.find((it) => nameOf(it) === entry.name);
  const keys = wanted && (await readImageKeys(wanted, entry.name, context));
  if (keys === undefined) return;
  for (const image of detail.images) await verifyImageSignatures(image, entry.artifacts, keys, context.kept);
}

function itemOf(
  artifact: LockedArtifact,
  baseDir: string,
  auth: RegistryAuth | undefined,
  base: string | undefined,
): PlanItem {
  const { path, size, integrity, established, signedBy, urls, file, offset, kept } = artifact;
  // Logins are for the registry alone, not for the places that foreign layers name.
  const isRegistry = base !== undefined && urls?.every((url) => url.startsWith(`${base}/`));
  return {
    path,
    kind: "image",
    mode: "0644",
    ...(size !== undefined && { size }),
    ...(integrity !== undefined && { integrity }),
    established,
    ...(signedBy && { signedBy }),
    source:
      kept !== undefined
        ? { from: "kept", digest: kept }
        : file !== undefined
          ? { from: "file", file: isAbsolute(file) ? file : resolve(baseDir, file), offset: offset ?? 0 }
          : {
              from: "url",
              ...askedUrls(urls ?? [], base === undefined ? [] : [base]),
              ...(auth && isRegistry && { auth }),
            },
  };
}

/** Where an entry came from, under the name it has there. */
function sourceOf(locked: LockedEntry, { images }: Manifest): string {
  const entry = images?.find((it) => nameOf(it) === locked.name);
  if (entry?.ref !== undefined) return formatReference(parseReference(entry.ref));
  return basename(entry?.archive ?? locked.name);
}

function catalogImage(
  image: LockedImage,
  entry: LockedEntry,
  source: string,
  bytesAt: ReadonlyMap<string, number>,
): CatalogImage {
  const { reference, digest, mediaType, platforms, manifests, referrers, tags, paths } = image;
  const root = entry.artifacts.find((it) => it.path === blobPath(digest));
  return {
    reference,
    digest: digest as Digest,
    mediaType,
    size: paths.reduce((sum, path) => sum + (bytesAt.get(path) ?? 0), 0),
    platforms,
    manifests: manifests as Digest[],
    ...(Object.keys(tags).length > 0 && { tags: tags as Record<string, Digest> }),
    source,
    ...(root && { established: root.established }),
    ...(root?.signedBy && { signedBy: root.signedBy }),
    attached: referrers.length,
  };
}

/** What the layout's index lists: the image by its reference, then what is about it. */
function layoutEntries(image: LockedImage): Descriptor[] {
  const { reference, digest, mediaType, manifestSize, referrers, tags } = image;
  const repository = repositoryOf(parseReference(reference));
  const tagOf = new Map(Object.entries(tags).map(([tag, it]) => [it, tag]));
  return [
    { mediaType, digest, size: manifestSize, annotations: { [REF_NAME]: reference } },
    ...referrers.map((it) => {
      const tag = tagOf.get(it.digest);
      return {
        mediaType: it.mediaType,
        digest: it.digest,
        size: it.size,
        ...(it.artifactType !== undefined && { artifactType: it.artifactType }),
        ...(tag !== undefined && { annotations: { [REF_NAME]: `${repository}:${tag}` } }),
      };
    }),
  ];
}

function made(path: string, bytes: Buffer): PlanItem {
  return {
    path,
    kind: "generated",
    mode: "0644",
    size: bytes.length,
    established: "manifest",
    source: { from: "made", make: () => bytes },
  };
}
