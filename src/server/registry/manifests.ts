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
import type { StoreReader } from "../../store/types.ts";
import type { TreeView } from "../http/context.ts";
import type { SharedFiles } from "../http/handles.ts";
import type { ImageRepository } from "./repositories.ts";

/** A manifest with the location of its bytes. */
interface StoredManifest {
  manifest: ImageManifest;
  entry: InventoryEntry;
  digest: OciDigest;
}

/** The fallback tag content of registries without the referrers API. */
interface FallbackList {
  digest: OciDigest;
  bytes: Buffer;
}

export class RegistryManifests {
  readonly #byDigest = new Map<OciDigest, StoredManifest>();
  /** Damaged or missing manifests, with the reason. */
  readonly #faults = new Map<OciDigest, unknown>();
  readonly #referrers = new Map<OciDigest, StoredManifest[]>();
  readonly #platforms = new Map<OciDigest, string>();
  /** By fallback tag, and by the list's own digest. */
  readonly #lists = new Map<string, FallbackList>();

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
    const self = new RegistryManifests();
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

  /** The list of referrers under a fallback tag (`sha256-…`) or under its own digest. */
  fallbackList(reference: string): FallbackList | undefined {
    return this.#lists.get(reference);
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

  /** The platform of a layer or manifest, from the indexes of the repository. */
  platformOf(digest: OciDigest): string | undefined {
    return this.#platforms.get(digest);
  }

  #notePlatforms(): void {
    const note = (digest: OciDigest, platform: string | undefined) => {
      if (platform === undefined) return;
      this.#platforms.set(digest, platform);
      for (const layer of this.#byDigest.get(digest)?.manifest.layers ?? []) {
        if (!this.#platforms.has(layer.digest)) this.#platforms.set(layer.digest, platform);
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
      for (const name of [digestTag(subject), digest]) this.#lists.set(name, { digest, bytes });
    }
  }
}

function damaged(digest: OciDigest): AirferryError {
  return new AirferryError("ERR_STORE_INVALID", `the manifest ${digest} is damaged in the store`, {
    hint: "check the disk, then remove its blob and unpack the bundle again",
  });
}
