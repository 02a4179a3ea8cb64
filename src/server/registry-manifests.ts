/**
 * The manifests of one repository, read from the store once: their media types, who refers to whom, and which platform a
 * layer that was not packed belongs to. See OCI distribution-spec v1.1, "Listing Referrers".
 */
import { readFile } from "node:fs/promises";
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import { blobPath, type OciDigest } from "../oci/digest.ts";
import {
  type ImageManifest,
  MAX_IMAGE_MANIFEST_BYTES,
  parseImageManifest,
  referrerDescriptor,
} from "../oci/image-manifest.ts";
import { formatPlatform } from "../oci/platform.ts";
import type { StoreReader } from "../store/types.ts";
import type { TreeView } from "./context.ts";
import type { Repository } from "./registry-index.ts";

/** A manifest with the place of its bytes. */
export interface StoredManifest {
  manifest: ImageManifest;
  entry: InventoryEntry;
  digest: OciDigest;
}

export class RegistryManifests {
  readonly #byDigest = new Map<OciDigest, StoredManifest>();
  readonly #referrers = new Map<OciDigest, StoredManifest[]>();
  readonly #platforms = new Map<OciDigest, string>();

  /** Reads and indexes all manifests of a repository. Their bytes were checked when they were unpacked. */
  static async read(repository: Repository, view: TreeView, store: StoreReader): Promise<RegistryManifests> {
    const self = new RegistryManifests();
    for (const digest of repository.manifests) {
      const found = view.find(blobPath(digest));
      if (found === undefined || "conflict" in found || found.entry.size > MAX_IMAGE_MANIFEST_BYTES) continue;
      const bytes = await readFile(store.blobPath(found.entry.sha256));
      const manifest = parseImageManifest(bytes, `${repository.name}@${digest}`, repository.mediaTypes.get(digest));
      const stored = { manifest, entry: found.entry, digest };
      self.#byDigest.set(digest, stored);
      const subject = manifest.subject?.digest;
      if (subject !== undefined) self.#referrers.set(subject, [...(self.#referrers.get(subject) ?? []), stored]);
    }
    self.#notePlatforms();
    return self;
  }

  get(digest: OciDigest): StoredManifest | undefined {
    return this.#byDigest.get(digest);
  }

  /** Descriptors of everything that is about a digest. */
  referrers(digest: OciDigest, artifactType?: string): object[] {
    const all = (this.#referrers.get(digest) ?? []).map((it) =>
      referrerDescriptor(it.manifest, it.digest, it.entry.size),
    );
    return artifactType === undefined
      ? all
      : all.filter((it) => (it as { artifactType?: string }).artifactType === artifactType);
  }

  /** The platform whose layer or manifest this is, by the indexes of the repository. */
  platformOf(digest: OciDigest): string | undefined {
    return this.#platforms.get(digest);
  }

  #notePlatforms(): void {
    for (const { manifest } of this.#byDigest.values()) {
      for (const child of manifest.manifests) {
        if (child.platform === undefined) continue;
        const platform = formatPlatform(child.platform);
        this.#platforms.set(child.digest, platform);
        for (const layer of this.#byDigest.get(child.digest)?.manifest.layers ?? []) {
          if (!this.#platforms.has(layer.digest)) this.#platforms.set(layer.digest, platform);
        }
      }
    }
  }
}
