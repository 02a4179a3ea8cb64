/**
 * `images:` of the manifest: from registries and from archives on disk, locked by digest with their signatures, packed
 * as one OCI layout in which images share blobs. See docs/images.md.
 */

import { basename } from "node:path";
import type { CatalogImage } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import { isUnreachable } from "../http/failure.ts";
import type { Digest } from "../io/digest.ts";
import { mapLimited } from "../io/limit.ts";
import { redactUrl } from "../io/redact.ts";
import { shellWord } from "../io/shell.ts";
import { imageName } from "../manifest/entry-names.ts";
import { requestDigest } from "../manifest/request.ts";
import type { ImageEntry, Manifest } from "../manifest/schema.ts";
import { formatLayoutIndex, OCI_LAYOUT_BYTES, REF_NAME } from "../oci/image-layout.ts";
import type { Descriptor } from "../oci/image-manifest.ts";
import { blobPath } from "../oci/oci-digest.ts";
import { formatReference, parseReference, repositoryOf, repositoryUrl } from "../oci/reference.ts";
import { tagsNewestFirst } from "../oci/tag-order.ts";
import { generatedItem, itemOf } from "./artifact.ts";
import { readImageKeys, verifyImageSignatures } from "./image/check-signatures.ts";
import type { ImageDetail, LockedImage } from "./image/image-detail.ts";
import { lockContent } from "./image/lock-entry.ts";
import type { RegistryOrigin } from "./image/registry.ts";
import { authFor, registryOf } from "./image/registry-access.ts";
import { pickTags } from "./image/select-tags.ts";
import { SharedItems, verifyTogether } from "./image/shared-layout.ts";
import type { LockedImageEntry } from "./lock-document.ts";
import type { LockedArtifact } from "./locked-artifact.ts";
import { mapEntries } from "./map-entries.ts";
import { resolveHref } from "./rpm/location.ts";
import type { LockContext, PlanContext, PlanItem, SourceKind } from "./types.ts";

/** Tags checked at once. */
const DRIFT_CONCURRENCY = 8;
export const imageSource: SourceKind<"image"> = {
  kind: "image",
  async lock(context) {
    const entries = context.manifest.images ?? [];
    const locked = await mapEntries("image", entries, imageName, context, (entry) => lockImage(entry, context));
    verifyTogether(locked);
    const kept = locked.filter((it) => context.previous.get(it.name) === it);
    // pack makes no requests for locked content: a rerun must not need upstream.
    if (context.pinFirstSight) for (const { message } of await movedTags(kept, context)) context.report(message);
    return locked;
  },
  drift: movedTags,
  plan: planImages,
};

/**
 * Which tags moved upstream since they were locked. Informational only: no long waits, and nothing fails because of it.
 */
async function movedTags(
  locked: readonly LockedImageEntry[],
  context: Pick<LockContext, "manifest" | "baseDir" | "fetcher" | "report">,
): Promise<{ name: string; message: string }[]> {
  /** Hosts that do not answer, and why: their other tags are not requested. */
  const silent = new Map<string, string>();
  const unasked = new Map<string, { refs: string[]; reason: string }>();
  const moved = await mapLimited(locked, DRIFT_CONCURRENCY, async (taken) => {
    const entry = (context.manifest.images ?? []).find((it) => imageName(it) === taken.name);
    if (entry?.ref === undefined) return [];
    const { ref } = entry;
    const reference = parseReference(ref);
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
    if (known !== undefined) return notAsked(ref, known);
    try {
      if (entry.tags !== undefined) return await otherTags(taken, entry, origin);
      const now = await origin.digestOfTag(tag);
      const before = taken.detail.images[0]?.digest;
      if (now === undefined) context.report(`the tag ${ref} no longer exists upstream; still locked: ${before}`);
      if (now === undefined || now === before) return [];
      const message = `${ref} moved upstream: locked ${before}, now ${now}; to update: airferry lock MANIFEST --update ${shellWord(taken.name)}`;
      return [{ name: taken.name, message }];
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      if (isUnreachable(error)) silent.set(host, error.message);
      return notAsked(ref, error.message);
    }
  });
  for (const [host, { refs, reason }] of unasked) {
    const more = refs.length > 1 ? ` and ${refs.length - 1} more` : "";
    context.report(`could not ask ${host} whether ${refs[0]}${more} moved: ${reason}`);
  }
  return moved.flat();
}

/** Whether a pattern now matches other tags. */
async function otherTags(
  { name, detail }: LockedImageEntry,
  entry: ImageEntry,
  origin: RegistryOrigin,
): Promise<{ name: string; message: string }[]> {
  const now = await pickTags(origin, entry);
  const before = detail.images.map((it) => parseReference(it.reference).tag as string);
  if (now.join(" ") === tagsNewestFirst(before).join(" ")) return [];
  const message = `${entry.ref}: its tags: now match others: locked ${before.join(", ")}, now ${now.join(", ")}; to update: airferry lock MANIFEST --update ${shellWord(name)}`;
  return [{ name, message }];
}

async function lockImage(entry: ImageEntry, context: LockContext<"image">): Promise<LockedImageEntry> {
  // An unreadable key is reported before hundreds of requests, not after.
  const keys = await readImageKeys(entry, imageName(entry), context);
  const { collected, detail } = await lockContent(entry, context);
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
  return { kind: "image", name: imageName(entry), request: requestDigest(entry), artifacts: list, detail };
}

async function planImages(
  entries: readonly LockedImageEntry[],
  context: PlanContext,
): Promise<{ items: PlanItem[]; catalog: { images: CatalogImage[] } }> {
  if (entries.length === 0) return { items: [], catalog: { images: [] } };
  verifyTogether(entries);
  const items = new SharedItems();
  const images: CatalogImage[] = [];
  const listed = new Map<string, Descriptor>();
  const { baseDir, unpacked } = context;
  for (const entry of entries) {
    const detail = entry.detail;
    await verifyAgain(entry, detail, context);
    const registries = [...(detail.registry ? [detail.registry] : []), ...(detail.needed ?? [])].map((it) => ({
      auth: authFor(it.host, it.path, context.manifest, context.fetcher),
      base: repositoryUrl(it, it.insecure),
    }));
    const bytesAt = new Map(entry.artifacts.map((it) => [it.path, it.size ?? 0]));
    items.add(
      entry,
      entry.artifacts.map((artifact) => {
        // Logins are for the registry only, not for the URLs of foreign layers.
        const own = registries.find(({ base }) => artifact.urls?.every((url) => url.startsWith(`${base}/`)));
        const byUser = registries.map((it) => it.base);
        return itemOf("image", artifact, { baseDir, unpacked, byUser, auth: own?.auth });
      }),
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
    items: [
      ...items.list(),
      generatedItem("images/oci-layout", OCI_LAYOUT_BYTES),
      generatedItem("images/index.json", index),
    ],
    catalog: { images },
  };
}

/** The lock alone is not enough: keys in the manifest's folder may have changed since. */
async function verifyAgain(entry: LockedImageEntry, detail: ImageDetail, context: PlanContext): Promise<void> {
  const wanted = context.manifest.images?.find((it) => imageName(it) === entry.name);
  const keys = wanted && (await readImageKeys(wanted, entry.name, context));
  if (keys === undefined) return;
  for (const image of detail.images) await verifyImageSignatures(image, entry.artifacts, keys, context.kept);
}

/** Where an entry came from, and its name there. */
function sourceOf(locked: LockedImageEntry, { images }: Manifest): string {
  const entry = images?.find((it) => imageName(it) === locked.name);
  if (entry?.ref !== undefined) return formatReference(parseReference(entry.ref));
  if (entry?.chart !== undefined) return redactUrl(resolveHref(entry.chart, entry.repo as string));
  return basename(entry?.archive ?? locked.name);
}

function catalogImage(
  image: LockedImage,
  entry: LockedImageEntry,
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
    source: image.source ?? source,
    ...(root && { established: root.established }),
    ...(root?.signedBy && { signedBy: root.signedBy }),
    attached: referrers.length,
    ...(isInsecure(reference, entry.detail) && { insecure: true as const }),
  };
}

/** Whether it is a registry over plain HTTP that the reference names: with `as:` it is another one. */
function isInsecure(reference: string, { registry, needed = [] }: ImageDetail): boolean {
  const { host } = parseReference(reference);
  return [...(registry ? [registry] : []), ...needed].some((it) => it.insecure && it.host === host);
}

/** What the layout's index lists: the image by its reference, then what refers to it. */
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
