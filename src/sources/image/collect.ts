/**
 * Walks an image: index, children, configs, layers of the wanted platforms, then signatures, attestations and SBOMs, and
 * theirs. The bytes of every manifest and config are kept, those of unwanted platforms too, so that every original digest
 * resolves inside the gap; only layers of unwanted platforms are left out. See OCI image-spec v1.1 and distribution-spec v1.1.
 */
import { AirferryError } from "../../errors.ts";
import { networkRank } from "../../fetch/network-rank.ts";
import type { Established } from "../../io/types.ts";
import type { LockedArtifact } from "../../manifest/lock-types.ts";
import { MAX_COSIGN_BYTES } from "../../oci/cosign.ts";
import { blobPath, digestOf, digestSri, type OciDigest } from "../../oci/digest.ts";
import {
  artifactTypeOf,
  type Descriptor,
  type ImageManifest,
  MAX_IMAGE_MANIFEST_BYTES,
  parseImageManifest,
} from "../../oci/image-manifest.ts";
import {
  isForeignLayerType,
  isImageConfigType,
  isManifestType,
  SIGSTORE_BUNDLE,
  SIMPLE_SIGNING,
} from "../../oci/media-types.ts";
import {
  attestedDigest,
  formatPlatform,
  isPlatform,
  type Platform,
  parsePlatform,
  selectChildren,
} from "../../oci/platform.ts";
import { digestTag } from "../../oci/reference.ts";
import { mapLimited } from "../each.ts";
import type { KeptBlobs } from "../types.ts";
import type { LockedImage } from "./detail.ts";
import type { BlobPlace, ImageOrigin, OriginManifest } from "./origin.ts";

export interface CollectOptions {
  reference: string;
  platforms?: readonly string[] | undefined;
  referrers: boolean;
  foreignLayers: boolean;
  /** Host of the registry, when it is one: the URLs that its manifests name may not lead deeper into the site's network. */
  registryHost?: string | undefined;
  established: Established;
  /** An archive may lack layers of platforms that nobody asked for by name. */
  allowMissing: boolean;
  kept: KeptBlobs;
  report: (line: string) => void;
}

export interface Collected {
  image: LockedImage;
  artifacts: LockedArtifact[];
}

const MAX_INDEX_DEPTH = 4;
const MAX_REFERRER_DEPTH = 4;
const MAX_MANIFESTS = 20_000;
const CONCURRENCY = 8;
/** Tags that cosign used before registries had referrers. */
const LEGACY_SUFFIXES = [".sig", ".att", ".sbom"];

/** Collects one image, starting at its manifest. @throws {AirferryError} ERR_UPSTREAM*, ERR_UPSTREAM_INVALID */
export async function collectImage(
  origin: ImageOrigin,
  root: OriginManifest,
  options: CollectOptions,
): Promise<Collected> {
  return new Collector(origin, options).run(root);
}

class Collector {
  readonly #origin: ImageOrigin;
  readonly #o: CollectOptions;
  readonly #artifacts = new Map<string, LockedArtifact>();
  readonly #manifests = new Map<OciDigest, ImageManifest>();
  readonly #platforms = new Set<string>();
  readonly #referrers: LockedImage["referrers"] = [];
  readonly #tags: Record<string, OciDigest> = {};

  constructor(origin: ImageOrigin, options: CollectOptions) {
    this.#origin = origin;
    this.#o = options;
  }

  async run(root: OriginManifest): Promise<Collected> {
    const manifest = await this.#take(root, true, 0);
    // Artifacts have no platform; nothing but images of other platforms is a mistake.
    if (this.#others.size > 0 && this.#platforms.size === 0) {
      throw this.#fault(
        `it has nothing for ${this.#o.platforms?.join(", ")}: expected one of ${[...this.#others].sort().join(", ")}`,
        "correct platforms: in the manifest, or leave it out",
      );
    }
    const image: LockedImage = {
      reference: this.#o.reference,
      digest: root.digest,
      mediaType: manifest.mediaType,
      manifestSize: root.bytes.length,
      platforms: this.#o.platforms === undefined && !this.#left ? [] : [...this.#platforms].sort(),
      manifests: [...this.#manifests.keys()],
      referrers: this.#referrers,
      tags: this.#tags,
      paths: [...this.#artifacts.keys()],
    };
    return { image, artifacts: [...this.#artifacts.values()] };
  }

  /** Layers were left out although all platforms were asked for. */
  #left = false;
  /** Platforms that only the configs tell of, and nobody wanted. */
  readonly #others = new Set<string>();

  /** Takes in one manifest and all below and about it. */
  async #take(found: OriginManifest, selected: boolean, depth: number, platform?: Platform): Promise<ImageManifest> {
    const manifest = parseImageManifest(found.bytes, this.#name(found.digest), found.contentType);
    if (this.#manifests.has(found.digest)) return manifest;
    if (this.#manifests.size >= MAX_MANIFESTS) throw this.#fault(`it has more than ${MAX_MANIFESTS} manifests`);
    this.#manifests.set(found.digest, manifest);
    await this.#keep(found.digest, found.bytes);
    if (manifest.kind === "index") await this.#takeChildren(manifest, selected, depth);
    else await this.#takeContent(manifest, selected, platform);
    if (selected && this.#o.referrers) await this.#takeReferrers(found.digest, 0);
    return manifest;
  }

  async #takeChildren(index: ImageManifest, selected: boolean, depth: number): Promise<void> {
    if (depth >= MAX_INDEX_DEPTH) throw this.#fault(`its indexes are nested deeper than ${MAX_INDEX_DEPTH}`);
    const chosen = selectChildren(index.manifests, this.#o.platforms);
    if (selected && chosen.missing.length > 0) {
      const present = index.manifests.flatMap((it) =>
        it.platform && attestedDigest(it) === undefined ? [formatPlatform(it.platform)] : [],
      );
      throw this.#fault(
        `it has no ${chosen.missing.join(", ")}: expected one of ${[...new Set(present)].join(", ")}`,
        "correct platforms: in the manifest",
      );
    }
    const found = await mapLimited(index.manifests, CONCURRENCY, async (child) => {
      const wanted = selected && chosen.selected.has(child.digest);
      if (!isManifestType(child.mediaType)) {
        if (wanted) await this.#blob(child);
        return undefined;
      }
      return { child, wanted, manifest: await this.#origin.manifest(child) };
    });
    for (const it of found) {
      if (it === undefined) continue;
      const { child, wanted, manifest } = it;
      if (manifest === undefined) {
        const what = `${child.platform ? formatPlatform(child.platform) : "a child"} (${child.digest})`;
        if (wanted && !this.#o.allowMissing) throw this.#fault(`its index lists ${what}, which is not there`);
        if (wanted) this.#left = true;
        this.#o.report(`${this.#origin.name}: ${what} is not there, only listed`);
        continue;
      }
      await this.#take({ ...manifest, contentType: child.mediaType }, wanted, depth + 1, child.platform);
    }
  }

  async #takeContent(manifest: ImageManifest, selected: boolean, platform: Platform | undefined): Promise<void> {
    const own = await this.#takeConfig(manifest, platform);
    if (!selected) return;
    if (platform === undefined && own !== undefined && !this.#isWanted(own)) {
      this.#others.add(formatPlatform(own));
      return;
    }
    const places = await mapLimited(manifest.layers, CONCURRENCY, (layer) => this.#locate(layer));
    const missing = manifest.layers.filter((_, index) => places[index] === undefined);
    if (missing.length > 0) {
      const what = `${missing.length} of ${manifest.layers.length} layers (${(missing[0] as Descriptor).digest})`;
      if (!this.#o.allowMissing || (this.#o.platforms !== undefined && own !== undefined)) {
        throw this.#fault(`${own ? `${formatPlatform(own)} lacks` : "it lacks"} ${what}`);
      }
      this.#left = true;
      this.#o.report(`${this.#origin.name}: left out ${own ? formatPlatform(own) : "a part"}: it lacks ${what}`);
      return;
    }
    for (const [index, layer] of manifest.layers.entries()) await this.#blob(layer, places[index]);
    const shown = platform?.os && platform.os !== "unknown" ? platform : own;
    if (shown?.os) this.#platforms.add(formatPlatform(shown));
  }

  #isWanted(platform: Platform): boolean {
    return this.#o.platforms?.some((it) => isPlatform(platform, parsePlatform(it))) ?? true;
  }

  /** Keeps the config; returns the platform it speaks of, for images. */
  async #takeConfig({ config }: ImageManifest, platform: Platform | undefined): Promise<Platform | undefined> {
    if (config === undefined) return undefined;
    const isImage = isImageConfigType(config.mediaType);
    if (config.size > MAX_IMAGE_MANIFEST_BYTES) {
      await this.#blob(config);
      return platform;
    }
    const bytes = await this.#small(config);
    if (bytes === undefined) {
      if (this.#o.allowMissing) return platform;
      throw this.#fault(`its config ${config.digest} is not there`);
    }
    await this.#keep(config.digest, bytes);
    if (!isImage) return undefined;
    try {
      const { os, architecture, variant } = JSON.parse(bytes.toString("utf8")) as Record<string, unknown>;
      if (typeof os !== "string" || typeof architecture !== "string") return platform;
      return { os, architecture, ...(typeof variant === "string" && variant !== "" && { variant }) };
    } catch {
      throw this.#fault(`its config ${config.digest} is not JSON`);
    }
  }

  async #small(descriptor: Descriptor): Promise<Buffer | undefined> {
    const empty = Buffer.from("{}");
    if (descriptor.digest === digestOf(empty, descriptor.digest)) return empty;
    return this.#origin.blob(descriptor);
  }

  async #takeReferrers(subject: OciDigest, depth: number): Promise<void> {
    if (depth >= MAX_REFERRER_DEPTH) return;
    // Asked for together: each is a round trip to a registry that may be far away.
    const [listed, ...isTagged] = await Promise.all([
      this.#origin.referrers(subject),
      ...LEGACY_SUFFIXES.map((suffix) => this.#origin.hasTag(digestTag(subject, suffix))),
    ]);
    for (const descriptor of listed) {
      if (this.#manifests.has(descriptor.digest) || !isManifestType(descriptor.mediaType)) continue;
      const found = await this.#origin.manifest(descriptor);
      if (found === undefined) {
        this.#o.report(`${this.#origin.name}: the referrer ${descriptor.digest} is listed but not there`);
        continue;
      }
      const manifest = parseImageManifest(found.bytes, this.#name(found.digest), found.contentType);
      // A fallback tag may list anything; what counts is what the manifest itself says.
      if (manifest.subject?.digest !== subject) continue;
      await this.#takeReferrer(found, manifest, subject, depth);
    }
    for (const [index, suffix] of LEGACY_SUFFIXES.entries()) {
      if (!isTagged[index]) continue;
      const tag = digestTag(subject, suffix);
      const found = await this.#origin.manifest({ tag });
      if (found === undefined) continue;
      this.#tags[tag] = found.digest;
      if (this.#manifests.has(found.digest)) continue;
      const manifest = parseImageManifest(found.bytes, this.#name(found.digest), found.contentType);
      await this.#takeReferrer(found, manifest, undefined, depth);
    }
  }

  async #takeReferrer(
    found: OriginManifest,
    manifest: ImageManifest,
    subject: OciDigest | undefined,
    depth: number,
  ): Promise<void> {
    const artifactType = artifactTypeOf(manifest);
    this.#manifests.set(found.digest, manifest);
    await this.#keep(found.digest, found.bytes);
    this.#referrers.push({
      digest: found.digest,
      mediaType: manifest.mediaType,
      size: found.bytes.length,
      ...(subject && { subject }),
      ...(artifactType !== undefined && { artifactType }),
    });
    if (manifest.kind === "index") {
      for (const child of manifest.manifests) {
        const below = await this.#origin.manifest(child);
        if (below === undefined)
          throw this.#fault(`its referrer ${found.digest} lists ${child.digest}, which is not there`);
        const parsed = parseImageManifest(below.bytes, this.#name(below.digest), child.mediaType);
        if (parsed.kind === "index") continue;
        this.#manifests.set(below.digest, parsed);
        await this.#keep(below.digest, below.bytes);
        await this.#takeArtifactBlobs(parsed);
      }
    } else await this.#takeArtifactBlobs(manifest);
    await this.#takeReferrers(found.digest, depth + 1);
  }

  /** Blobs of a signature, attestation, SBOM, …: small ones that signatures are checked with are kept. */
  async #takeArtifactBlobs(manifest: ImageManifest): Promise<void> {
    await this.#takeConfig(manifest, undefined);
    for (const layer of manifest.layers) {
      const isSignature = layer.mediaType === SIMPLE_SIGNING || layer.mediaType === SIGSTORE_BUNDLE;
      const bytes = isSignature && layer.size <= MAX_COSIGN_BYTES ? await this.#small(layer) : undefined;
      if (bytes !== undefined) await this.#keep(layer.digest, bytes);
      else await this.#blob(layer);
    }
  }

  async #locate(layer: Descriptor): Promise<BlobPlace | undefined> {
    if (this.#artifacts.has(blobPath(layer.digest))) return { urls: [] };
    if (!isForeignLayerType(layer.mediaType)) return this.#origin.place(layer);
    this.#o.report(
      `${this.#origin.name}: layer ${layer.digest} names URLs of its own (${layer.urls?.[0] ?? "none"}): clients inside the gap may try those first`,
    );
    if (await this.#origin.hasBlob(layer)) return this.#origin.place(layer);
    if (!this.#o.foreignLayers) {
      throw this.#fault(
        `its foreign layer ${layer.digest} is not in the registry`,
        "to fetch it from the URLs it names: foreign_layers: true",
      );
    }
    const urls = (layer.urls ?? []).filter((it) => this.#mayFetch(it));
    if (urls.length > 0) return { urls };
    throw this.#fault(
      `its foreign layer ${layer.digest} is not in the registry, and no URL that it names may be fetched: ${layer.urls?.join(", ") || "it names none"}`,
      "push the layer to the registry; URLs in private networks are not followed, where the registry is a public one",
    );
  }

  /** A manifest must not be able to send us into the site's own network. */
  #mayFetch(text: string): boolean {
    if (!URL.canParse(text)) return false;
    const { protocol, hostname, username, password } = new URL(text);
    const allowed = networkRank(hostnameOf(this.#o.registryHost));
    return /^https?:$/.test(protocol) && username === "" && password === "" && networkRank(hostname) <= allowed;
  }

  /** Notes a blob that pack takes from its place. */
  async #blob(descriptor: Descriptor, known?: BlobPlace): Promise<void> {
    const path = blobPath(descriptor.digest);
    const earlier = this.#artifacts.get(path);
    if (earlier !== undefined) {
      if (earlier.size !== descriptor.size) {
        throw this.#fault(
          `two descriptors of ${descriptor.digest} disagree: ${earlier.size} and ${descriptor.size} bytes`,
        );
      }
      return;
    }
    const place = known ?? (await this.#origin.place(descriptor));
    if (place === undefined) throw this.#fault(`its blob ${descriptor.digest} is not there`);
    this.#artifacts.set(path, {
      path,
      ...place,
      size: descriptor.size,
      integrity: digestSri(descriptor.digest),
      established: this.#o.established,
    });
  }

  async #keep(digest: OciDigest, bytes: Buffer): Promise<void> {
    const path = blobPath(digest);
    this.#artifacts.set(path, {
      path,
      kept: await this.#o.kept.put(bytes),
      size: bytes.length,
      integrity: digestSri(digest),
      established: this.#o.established,
    });
  }

  #name(digest: OciDigest): string {
    return `${this.#origin.name} (${digest})`;
  }

  #fault(fault: string, hint?: string): AirferryError {
    return new AirferryError("ERR_UPSTREAM_INVALID", `cannot lock image "${this.#origin.name}": ${fault}`, {
      path: this.#origin.name,
      hint: hint ?? "see what is there, for example with: skopeo inspect --raw docker://…",
    });
  }
}

/** `registry.example` of `registry.example:5000`; an archive's is nowhere, as public as can be. */
function hostnameOf(host = "registry.invalid"): string {
  return new URL(`https://${host}`).hostname;
}
