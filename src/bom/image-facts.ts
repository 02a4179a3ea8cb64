/**
 * What the manifests of an image say of it: its licences, and the SBOMs that are carried with it. Those are attached in
 * every way in use: as referrers (OCI 1.1), under cosign's tags, and as buildkit's attestations inside of an index.
 */
import type { CatalogImage, InventoryEntry } from "../bundle/inventory-types.ts";
import { AirferryError } from "../errors.ts";
import {
  artifactTypeOf,
  type Descriptor,
  type ImageManifest,
  MAX_IMAGE_MANIFEST_BYTES,
  parseImageManifest,
} from "../oci/image-manifest.ts";
import { blobPath, type OciDigest } from "../oci/oci-digest.ts";
import type { ReadEntry } from "./repository-facts.ts";
import type { CarriedSbom } from "./types.ts";

/** What is known of one image. */
interface ImageFacts {
  sboms: CarriedSbom[];
  /** As its author annotated it; empty otherwise. */
  licence: string;
}

const FORMATS: readonly [pattern: RegExp, format: CarriedSbom["format"]][] = [
  [/^https:\/\/spdx\.dev\/Document|^(?:application\/(?:vnd\.)?spdx\b|text\/spdx)/i, "SPDX"],
  [/^https:\/\/cyclonedx\.org\/|^application\/(?:vnd\.)?cyclonedx\b/i, "CycloneDX"],
  [/^https:\/\/syft\.dev\/|^application\/vnd\.syft\b/i, "Syft"],
];

/** Annotations that say what an attestation states: cosign's, buildkit's, and that of Sigstore bundles. */
const PREDICATE_ANNOTATIONS = ["predicateType", "in-toto.io/predicate-type", "dev.sigstore.bundle.predicateType"];

const LICENCES = "org.opencontainers.image.licenses";
/** More of one image are not listed. */
const MAX_SBOMS = 1000;

/** The entry of a path. */
export type EntryAt = (path: string) => InventoryEntry | undefined;

/** Reads manifests, each once: images share them. */
export class ImageReader {
  readonly #entryAt: EntryAt;
  readonly #read: ReadEntry;
  readonly #manifests = new Map<OciDigest, Pick<ImageManifest, "annotations"> & { sboms: CarriedSbom[] }>();
  /** Why something could not be read. */
  readonly gaps: string[] = [];

  constructor(entryAt: EntryAt, read: ReadEntry) {
    this.#entryAt = entryAt;
    this.#read = read;
  }

  async factsOf(image: CatalogImage): Promise<ImageFacts> {
    const sboms = new Map<OciDigest, CarriedSbom>();
    let licence = "";
    for (const digest of new Set([image.digest, ...image.manifests])) {
      const found = await this.#manifest(digest);
      for (const it of found?.sboms ?? []) if (sboms.size < MAX_SBOMS) sboms.set(it.digest, it);
      // A referrer's annotations are about itself: only the image's own count, or those of its first platform.
      if (found?.sboms.length === 0) licence ||= found.annotations?.[LICENCES] ?? "";
    }
    return { sboms: [...sboms.values()], licence };
  }

  async #manifest(digest: OciDigest) {
    const known = this.#manifests.get(digest);
    if (known !== undefined) return known;
    const path = blobPath(digest);
    const entry = this.#entryAt(path);
    if (entry === undefined) return undefined;
    try {
      const manifest = parseImageManifest(await this.#read(entry, MAX_IMAGE_MANIFEST_BYTES), path);
      const sboms = manifest.layers.flatMap((layer) => this.#sbomIn(layer, manifest));
      const facts = { sboms, ...(manifest.annotations && { annotations: manifest.annotations }) };
      this.#manifests.set(digest, facts);
      return facts;
    } catch (error) {
      if (!(error instanceof AirferryError)) throw error;
      this.gaps.push(`${path}: ${error.message}`);
      return undefined;
    }
  }

  #sbomIn({ mediaType, digest, size, annotations }: Descriptor, manifest: ImageManifest): CarriedSbom[] {
    const path = blobPath(digest);
    if (this.#entryAt(path) === undefined) return [];
    const predicate = PREDICATE_ANNOTATIONS.map((it) => annotations?.[it] ?? manifest.annotations?.[it]).find(
      (it) => it !== undefined,
    );
    const declared = [predicate, mediaType, artifactTypeOf(manifest)];
    const format = declared.flatMap((it) => FORMATS.find(([pattern]) => pattern.test(it ?? ""))?.[1] ?? [])[0];
    return format === undefined ? [] : [{ format, digest, size, path, attestation: predicate !== undefined }];
  }
}
