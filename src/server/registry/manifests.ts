/**
 * The manifests of one repository, read from the store once: their media types, their referrers, and the platform of
 * each layer that was not packed. See OCI distribution-spec v1.1, "Listing Referrers".
 */

import type { InventoryEntry } from "../../bundle/inventory-types.ts";
import { AirferryError } from "../../errors.ts";
import { digestOf } from "../../io/digest.ts";
import {
  attestedDigest,
  type ImageManifest,
  MAX_IMAGE_MANIFEST_BYTES,
  parseImageManifest,
  referrerDescriptor,
} from "../../oci/image-manifest.ts";
import { OCI_INDEX } from "../../oci/media-types.ts";
import { blobPath, type OciDigest } from "../../oci/oci-digest.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { digestTag } from "../../oci/reference.ts";
import { type HeldImage, isWhole, shortIndex } from "../../oci/short-index.ts";
import type { StoreReader } from "../../store/types.ts";
import type { TreeView } from "../http/context.ts";
import type { SharedFiles } from "../http/handles.ts";
import type { ChosenImage, ImageRepository } from "./repositories.ts";

/** A manifest with the location of its bytes. */
interface StoredManifest {
  manifest: ImageManifest;
  entry: InventoryEntry;
  digest: OciDigest;
}

/**
 * A manifest that was not packed: the fallback tag content of registries without the referrers API, or the index of
 * what is here.
 */
interface MadeManifest {
  digest: OciDigest;
  bytes: Buffer;
  mediaType: string;
}

/** Why something is not here: its platform was left out. */
interface LeftOut {
  platform: string;
  /** The platforms that were packed of the image. */
  packed: readonly string[];
  /** The tag of the index of what is here. */
  packedTag?: string;
}

export class RegistryManifests {
  readonly #byDigest = new Map<OciDigest, StoredManifest>();
  /** Damaged or missing manifests, with the reason. */
  readonly #faults = new Map<OciDigest, unknown>();
  readonly #referrers = new Map<OciDigest, StoredManifest[]>();
  readonly #platforms = new Map<OciDigest, string>();
  /** By tag, and by digest. */
  readonly #made = new Map<string, MadeManifest>();
  /** Tags of indexes of what is here, and their digests. */
  readonly #packedTags = new Map<string, OciDigest>();
  readonly #repository: ImageRepository;

  private constructor(repository: ImageRepository) {
    this.#repository = repository;
  }

  /**
   * Reads, checks and indexes all manifests of a repository. A damaged one does not prevent the others from being
   * served.
   */
  static async read(
    repository: ImageRepository,
    view: TreeView,
    store: StoreReader,
    files: SharedFiles,
  ): Promise<RegistryManifests> {
    const self = new RegistryManifests(repository);
    for (const digest of repository.manifests) {
      const found = view.find(blobPath(digest));
      if (found === undefined || "conflict" in found || found.entry.size > MAX_IMAGE_MANIFEST_BYTES) continue;
      try {
        const bytes = await files.readWhole(store.blobPath(found.entry.digest));
        if (digestOf(bytes, digest) !== digest) throw damaged(digest);
        const manifest = parseImageManifest(bytes, `${repository.name}@${digest}`, repository.mediaTypes.get(digest));
        self.#add({ manifest, entry: found.entry, digest });
      } catch (error) {
        self.#faults.set(digest, error);
      }
    }
    self.#notePlatforms();
    self.#listReferrers();
    for (const [tag, image] of repository.chosen) await self.#makeShortIndex(tag, image, store, files);
    return self;
  }

  #add(stored: StoredManifest): void {
    this.#byDigest.set(stored.digest, stored);
    const subject = stored.manifest.subject?.digest;
    if (subject !== undefined) this.#referrers.set(subject, [...(this.#referrers.get(subject) ?? []), stored]);
  }

  /** @throws why a manifest of the repository is unreadable: ERR_STORE_INVALID, or the system's error */
  get(digest: OciDigest): StoredManifest | undefined {
    if (this.#faults.has(digest)) throw this.#faults.get(digest);
    return this.#byDigest.get(digest);
  }

  /** A list of referrers under a fallback tag (`sha256-…`), or an index of what is here; also by their digests. */
  made(reference: string): MadeManifest | undefined {
    return this.#made.get(reference);
  }

  /** The tags of indexes of what is here; those that are complete as they were packed are those. */
  get packedTags(): ReadonlyMap<string, OciDigest> {
    return this.#packedTags;
  }

  /** Descriptors of everything that refers to a digest. */
  referrers(digest: OciDigest, artifactType?: string): object[] {
    const all = (this.#referrers.get(digest) ?? []).map((it) =>
      referrerDescriptor(it.manifest, it.digest, it.entry.size),
    );
    return artifactType === undefined
      ? all
      : all.filter((it) => (it as { artifactType?: string }).artifactType === artifactType);
  }

  /** Why a layer, config or manifest that an index of the repository names is not here. */
  leftOut(digest: OciDigest): LeftOut | undefined {
    const platform = this.#platforms.get(digest);
    if (platform === undefined) return undefined;
    for (const [packedTag, image] of this.#repository.chosen) {
      if (!this.#names(image.digest, digest)) continue;
      const { platforms: packed } = image;
      return this.#packedTags.has(packedTag) ? { platform, packed, packedTag } : { platform, packed };
    }
    return { platform, packed: [] };
  }

  /** Whether an index names a digest, itself or further below. */
  #names(index: OciDigest, digest: OciDigest): boolean {
    const { config, layers = [], manifests = [] } = this.#byDigest.get(index)?.manifest ?? {};
    if (config?.digest === digest || layers.some((it) => it.digest === digest)) return true;
    return manifests.some((it) => it.digest === digest || this.#names(it.digest, digest));
  }

  /** A root that cannot be read has no short index; requests for it say why. */
  async #makeShortIndex(
    tag: string,
    { digest, release }: ChosenImage,
    store: StoreReader,
    files: SharedFiles,
  ): Promise<void> {
    const root = this.#byDigest.get(digest);
    if (root === undefined) return;
    const held: HeldImage = {
      manifest: (it) => this.#byDigest.get(it)?.manifest,
      hasBlob: (it) => release.entries.has(blobPath(it)),
    };
    if (isWhole(root.manifest, held)) {
      this.#packedTags.set(tag, digest);
      return;
    }
    const bytes = shortIndex(await files.readWhole(store.blobPath(root.entry.digest)), held);
    if (bytes === undefined) return;
    const made = { digest: digestOf(bytes), bytes, mediaType: root.manifest.mediaType };
    for (const name of [tag, made.digest]) this.#made.set(name, made);
    this.#packedTags.set(tag, made.digest);
  }

  #notePlatforms(): void {
    const note = (digest: OciDigest, platform: string | undefined) => {
      if (platform === undefined) return;
      this.#platforms.set(digest, platform);
      const { config, layers = [] } = this.#byDigest.get(digest)?.manifest ?? {};
      for (const it of config === undefined ? layers : [config, ...layers]) {
        if (!this.#platforms.has(it.digest)) this.#platforms.set(it.digest, platform);
      }
    };
    const children = [...this.#byDigest.values()].flatMap((it) => it.manifest.manifests);
    for (const it of children) {
      if (it.platform !== undefined && attestedDigest(it) === undefined) note(it.digest, formatPlatform(it.platform));
    }
    // BuildKit's attestations have platform `unknown`; the real one is that of their subject.
    for (const it of children) {
      const attested = attestedDigest(it);
      if (attested !== undefined) note(it.digest, this.#platforms.get(attested as OciDigest));
    }
  }

  /** @see distribution-spec v1.1, "Referrers Tag Schema" */
  #listReferrers(): void {
    for (const subject of this.#referrers.keys()) {
      const list = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: this.referrers(subject) };
      const bytes = Buffer.from(JSON.stringify(list));
      const digest = digestOf(bytes);
      for (const name of [digestTag(subject), digest]) this.#made.set(name, { digest, bytes, mediaType: OCI_INDEX });
    }
  }
}

function damaged(digest: OciDigest): AirferryError {
  return new AirferryError("ERR_STORE_INVALID", `the manifest ${digest} is damaged in the store`, {
    hint: "check the disk, then remove its blob and unpack the bundle again",
  });
}
