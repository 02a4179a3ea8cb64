/**
 * Which parts of a packed image to push, and in which order: blobs before the manifest that names them, children before
 * their index, an image before its referrers. Decided before anything is sent. See OCI distribution-spec v1.1, "Push".
 */

import { AirferryError } from "../errors.ts";
import { digestOf } from "../io/digest.ts";
import { parseImageManifest } from "../oci/image-manifest.ts";
import type { OciDigest } from "../oci/oci-digest.ts";
import { digestTag } from "../oci/reference.ts";
import { shortIndex } from "../oci/short-index.ts";
import type { PackedBlob } from "../store/packed-blob.ts";
import {
  blobsOf,
  heldOf,
  isComplete,
  ownManifests,
  type PackedImage,
  type PackedManifest,
} from "../store/packed-images.ts";

/** The push of one image to one repository. */
export interface ImagePush {
  image: PackedImage;
  /** Path at the registry, without its host. */
  repository: string;
  /** The target of the image's name: the packed manifest or index, or a shorter index derived from it. */
  root: PackedManifest;
  isStripped: boolean;
  /** The image's own manifests, `root` last. */
  own: PackedManifest[];
  /** Signatures, attestations, SBOMs, …, each after its subject. */
  about: PackedManifest[];
  /** Tags of older cosigns. */
  tags: [tag: string, manifest: PackedManifest][];
}

const LEGACY_SUFFIXES = [".sig", ".att", ".sbom"];

/**
 * Plans one image. Registries refuse an index whose children lack layers; a shorter index is another image, with
 * another digest, and created only on request (`strip`).
 * @throws {AirferryError} ERR_PUBLISH when no platform was packed completely
 */
export function planPush(image: PackedImage, repository: string): ImagePush {
  const isStripped = !isComplete(image, image.root);
  const children = ownManifests(image).filter((it) => it.digest !== image.root.digest && isComplete(image, it));
  const root = isStripped ? stripIndex(image) : image.root;
  const isOwn = new Set(ownManifests(image).map((it) => it.digest));
  const there = new Set([...children, root].map((it) => it.digest));
  const about = orderReferrers(
    [...image.manifests.values()].filter((it) => !isOwn.has(it.digest)),
    there,
    image,
  );
  const tags = Object.entries(image.catalog.tags ?? {}).flatMap(([tag, digest]): [string, PackedManifest][] => {
    const manifest = about.find((it) => it.digest === digest);
    return manifest === undefined ? [] : [[tag, manifest]];
  });
  return { image, repository, root, isStripped, own: [...children, root], about, tags };
}

/** The blobs of a manifest that were packed. */
export function packedBlobs(image: PackedImage, manifest: PackedManifest): PackedBlob[] {
  return blobsOf(manifest).flatMap(({ digest }) => image.blob(digest) ?? []);
}

/** An index of what was packed completely. The order and all other members are unchanged. */
function stripIndex(image: PackedImage): PackedManifest {
  const { root } = image;
  const bytes = shortIndex(root.bytes, heldOf(image));
  if (bytes === undefined) {
    throw new AirferryError(
      "ERR_PUBLISH",
      `cannot publish "${image.catalog.reference}": none of its platforms was packed completely`,
      { hint: "pack it again, with a platform that it has" },
    );
  }
  return {
    digest: digestOf(bytes),
    bytes,
    manifest: parseImageManifest(bytes, image.catalog.reference, root.manifest.mediaType),
  };
}

/** Referrers after their subjects, without those whose subject is missing. */
function orderReferrers(
  candidates: readonly PackedManifest[],
  there: Set<OciDigest>,
  image: PackedImage,
): PackedManifest[] {
  const legacySubjects = new Map<OciDigest, OciDigest>();
  for (const subject of image.manifests.keys()) {
    for (const suffix of LEGACY_SUFFIXES) {
      const artifact = image.catalog.tags?.[digestTag(subject, suffix)];
      if (artifact !== undefined) legacySubjects.set(artifact, subject);
    }
  }
  const subjectOf = (it: PackedManifest) => it.manifest.subject?.digest ?? legacySubjects.get(it.digest);
  const ordered: PackedManifest[] = [];
  let rest = [...candidates];
  for (;;) {
    const ready = rest.filter((it) => {
      const subject = subjectOf(it);
      return subject === undefined || there.has(subject);
    });
    if (ready.length === 0) return ordered;
    // Indexes after what they list.
    ready.sort((a, b) => Number(a.manifest.kind === "index") - Number(b.manifest.kind === "index"));
    for (const it of ready) {
      ordered.push(it);
      there.add(it.digest);
    }
    rest = rest.filter((it) => !ready.includes(it));
  }
}
