/**
 * What the push of an image would change at a registry: asked by HEAD alone (and GET, of manifests whose digest a
 * registry does not tell), so that nothing is written there.
 */
import { eachLimited, throwIfAborted } from "../io/limit.ts";
import { artifactTypeOf } from "../oci/image-manifest.ts";
import type { OciDigest } from "../oci/oci-digest.ts";
import type { PackedManifest } from "../store/packed-images.ts";
import { type ImagePush, packedBlobs } from "./image-push.ts";
import type { SiteRegistry } from "./site-registry.ts";

/**
 * One blob of an image. `would mount`: another repository of the registry (`from`) has it, or will by then; registries
 * that cannot mount get its bytes. `would come`: an image that is published before brings it to the same repository.
 */
interface PlannedBlob {
  digest: OciDigest;
  /** Bytes. */
  size: number;
  done: "present" | "would upload" | "would mount" | "would come";
  from?: string;
}

interface PlannedManifest {
  digest: OciDigest;
  /** Bytes. */
  size: number;
  /** What is about the image, by its artifact type, else its media type: a signature, attestation, SBOM, … */
  about?: string;
  done: "present" | "would push";
}

/** A name that the image, or something about it, would have. `was`: the digest that it has until then. */
interface PlannedTag {
  tag: string;
  digest: OciDigest;
  done: "present" | "would push" | "would replace";
  was?: OciDigest;
}

/** The push of one image, had it been done. */
export interface PlannedImage {
  reference: string;
  /** `host/prefix/path:tag` or with the digest. */
  target: string;
  digest: OciDigest;
  /** The index would be stripped: the digest is not the packed one. */
  stripped?: true;
  tags: PlannedTag[];
  manifests: PlannedManifest[];
  blobs: PlannedBlob[];
  bytesToUpload: number;
  bytesToMount: number;
}

const CONCURRENCY = 4;

/** Asks for one image after the other, and remembers which blobs those before would bring. */
export class ImageLook {
  readonly #registry: SiteRegistry;
  /** Of each blob: the repositories that would have it, and whether each has it now. */
  readonly #holders = new Map<OciDigest, Map<string, boolean>>();

  constructor(registry: SiteRegistry) {
    this.#registry = registry;
  }

  /**
   * @param at called with each blob that was asked for
   * @throws {AirferryError} ERR_PUBLISH when the registry refuses an answer
   */
  async plan(
    { image, repository, root, isStripped, own, about, tags }: ImagePush,
    target: string,
    at: (digest: OciDigest, size: number) => void,
  ): Promise<PlannedImage> {
    const all = [...own, ...about];
    const packed = new Map(all.flatMap((it) => packedBlobs(image, it)).map(({ digest, size }) => [digest, size]));
    const isThere = new Map<OciDigest, boolean>();
    await eachLimited(packed, CONCURRENCY, async ([digest, size]) => {
      throwIfAborted();
      const isKnown = this.#holders.get(digest)?.has(repository) === true;
      if (!isKnown) isThere.set(digest, await this.#registry.hasBlob(repository, digest));
      at(digest, size);
    });
    const blobs = [...packed].map(([digest, size]) => this.#plannedBlob(repository, digest, size, isThere.get(digest)));
    const present = new Map<OciDigest, boolean>();
    await eachLimited(all, CONCURRENCY, async ({ digest }) => {
      present.set(digest, (await this.#registry.digestAt(repository, digest)) === digest);
    });
    const isOwn = new Set(own);
    const { tag } = image.reference;
    const names: [string, PackedManifest][] = tag === undefined ? tags : [...tags, [tag, root]];
    const planned: PlannedTag[] = [];
    for (const [name, { digest }] of names) planned.push(await this.#plannedTag(repository, name, digest));
    const bytesOf = (done: PlannedBlob["done"]) => blobs.reduce((sum, it) => sum + (it.done === done ? it.size : 0), 0);
    return {
      reference: image.catalog.reference,
      target,
      digest: root.digest,
      ...(isStripped && { stripped: true as const }),
      tags: planned,
      manifests: all.map((it) => ({
        digest: it.digest,
        size: it.bytes.length,
        ...(!isOwn.has(it) && { about: artifactTypeOf(it.manifest) ?? it.manifest.mediaType }),
        done: present.get(it.digest) === true ? "present" : "would push",
      })),
      blobs,
      bytesToUpload: bytesOf("would upload"),
      bytesToMount: bytesOf("would mount"),
    };
  }

  #plannedBlob(repository: string, digest: OciDigest, size: number, isThere: boolean | undefined): PlannedBlob {
    const holders = this.#holders.get(digest) ?? new Map<string, boolean>();
    this.#holders.set(digest, holders);
    if (isThere === undefined) return { digest, size, done: holders.get(repository) ? "present" : "would come" };
    const from = [...holders.keys()].at(-1);
    holders.set(repository, isThere);
    if (isThere) return { digest, size, done: "present" };
    return from === undefined ? { digest, size, done: "would upload" } : { digest, size, done: "would mount", from };
  }

  async #plannedTag(repository: string, tag: string, digest: OciDigest): Promise<PlannedTag> {
    const was = await this.#registry.digestAt(repository, tag);
    if (was === undefined) return { tag, digest, done: "would push" };
    return was === digest ? { tag, digest, done: "present" } : { tag, digest, done: "would replace", was };
  }
}
