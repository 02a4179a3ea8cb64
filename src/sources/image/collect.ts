/**
 * Walks an image: index, children, configs, layers of the wanted platforms, then signatures, attestations and SBOMs,
 * and theirs. The bytes of every manifest and config are included, also for unwanted platforms, so that every original
 * digest resolves inside the gap; only layers of unwanted platforms are omitted. See OCI image-spec v1.1 and
 * distribution-spec v1.1.
 */

import { AirferryError } from "../../errors.ts";
import { reachOf, stepFault } from "../../http/named.ts";
import { digestOf } from "../../io/digest.ts";
import { plural } from "../../io/format.ts";
import { parseJson } from "../../io/json.ts";
import { mapLimited } from "../../io/limit.ts";
import type { Established } from "../../io/types.ts";
import { MAX_COSIGN_BYTES } from "../../oci/cosign.ts";
import {
  artifactTypeOf,
  attestedDigest,
  type Descriptor,
  type ImageManifest,
  MAX_IMAGE_MANIFEST_BYTES,
  parseImageManifest,
  platformOf,
  TOO_LARGE_HINT,
} from "../../oci/image-manifest.ts";
import {
  isForeignLayerType,
  isImageConfigType,
  isImageLayerType,
  isManifestType,
  SIGSTORE_BUNDLE,
  SIMPLE_SIGNING,
} from "../../oci/media-types.ts";
import { blobPath, type OciDigest } from "../../oci/oci-digest.ts";
import { formatPlatform, isKnownPlatform, isPlatform, type Platform, parsePlatform } from "../../oci/platform.ts";
import { digestTag } from "../../oci/reference.ts";
import type { LockedArtifact } from "../locked-artifact.ts";
import type { LockBlobs } from "../types.ts";
import type { LockedImage } from "./image-detail.ts";
import type { BlobPlace, ImageOrigin, OriginManifest } from "./origin.ts";

interface CollectOptions {
  reference: string;
  platforms?: readonly string[] | undefined;
  referrers: boolean;
  foreignLayers: boolean;
  /** The registry, if it is one: URLs in its manifests may lead no further than its redirects. */
  registry?: URL | undefined;
  established: Established;
  /** An archive may lack layers of platforms that were not requested by name. */
  allowMissing: boolean;
  /** Hint for a malformed image. */
  hint: string;
  kept: LockBlobs;
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

/** A manifest of the image, or one that refers to it. */
interface Node {
  digest: OciDigest;
  size: number;
  manifest: ImageManifest;
  /** The platform according to its config. */
  own?: Platform;
  /** Number of uncompressed layers in its config: `rootfs.diff_ids`. */
  diffs?: number;
  /** Bytes of the manifest, its config and its signatures, until they are stored. */
  small: Map<OciDigest, Buffer>;
}

class Collector {
  readonly #origin: ImageOrigin;
  readonly #o: CollectOptions;
  readonly #wanted: readonly Platform[] | undefined;
  readonly #artifacts = new Map<string, LockedArtifact>();
  /** Everything visited, in the order found. */
  readonly #nodes = new Map<OciDigest, Node>();
  /** What is included whole, with its platforms: of the image, then of what refers to it. */
  readonly #selected = new Map<OciDigest, Set<string>>();
  /** Wanted children of indexes that are not manifests. */
  readonly #loose: Descriptor[] = [];
  /** Wanted platforms that exist, and unwanted ones. */
  readonly #found: Platform[] = [];
  readonly #others = new Set<string>();
  /** Set when an index names platforms: it then must name all. */
  #listsPlatforms = false;
  /** Layers were omitted although all platforms were requested. */
  #left = false;
  readonly #platforms = new Set<string>();
  readonly #referrers: LockedImage["referrers"] = [];
  readonly #tags: Record<string, OciDigest> = {};

  constructor(origin: ImageOrigin, options: CollectOptions) {
    this.#origin = origin;
    this.#o = options;
    this.#wanted = options.platforms?.map(parsePlatform);
  }

  async run(found: OriginManifest): Promise<Collected> {
    const root = await this.#load(found, found.contentType);
    await this.#walk(root, 0);
    const { digest, size, manifest } = root;
    // What is wanted is known only at the end: one index may list a manifest as wanted, another as unwanted.
    this.#choose({ mediaType: manifest.mediaType, digest, size });
    this.#chooseTied();
    this.#requirePlatforms();
    for (const chosen of this.#selected.keys()) await this.#takeContent(this.#nodes.get(chosen) as Node, false);
    for (const blob of this.#loose) await this.#blob(blob);
    if (this.#left && this.#platforms.size === 0) throw this.#fault("no platform of it has all of its layers");
    if (this.#o.referrers) await this.#takeReferrers();
    const image: LockedImage = {
      reference: this.#o.reference,
      digest,
      mediaType: manifest.mediaType,
      manifestSize: size,
      platforms: this.#o.platforms === undefined && !this.#left ? [] : [...this.#platforms].sort(),
      manifests: [...this.#nodes.keys()],
      referrers: this.#referrers,
      tags: this.#tags,
      paths: [...this.#artifacts.keys()],
    };
    return { image, artifacts: [...this.#artifacts.values()] };
  }

  /** Looks at a manifest: its config, and the signatures in it, which are small. */
  async #load(found: OriginManifest, contentType: string | undefined): Promise<Node> {
    const { digest, bytes } = found;
    const manifest = parseImageManifest(bytes, this.#name(digest), contentType, this.#o.hint);
    const small = new Map([[digest, bytes]]);
    const { config } = manifest;
    const looked = manifest.layers.filter((it) => isSignature(it) && it.size <= MAX_COSIGN_BYTES);
    if (config !== undefined && config.size <= MAX_IMAGE_MANIFEST_BYTES) looked.push(config);
    for (const descriptor of looked) {
      const content = await this.#small(descriptor);
      if (content !== undefined) small.set(descriptor.digest, content);
      else if (!this.#o.allowMissing) {
        throw this.#fault(`its ${descriptor === config ? "config" : "blob"} ${descriptor.digest} is missing`);
      }
    }
    const image = config && this.#imageConfig(config, small.get(config.digest));
    return { digest, size: bytes.length, manifest, small, ...image };
  }

  /** What an image's config says: platform and number of layers. */
  #imageConfig(config: Descriptor, bytes: Buffer | undefined): Pick<Node, "own" | "diffs"> {
    if (bytes === undefined || !isImageConfigType(config.mediaType)) return {};
    // Artifacts are pushed with an image config type and any content, for registries that accept no other.
    let value: unknown;
    try {
      value = parseJson(bytes.toString("utf8"));
    } catch {
      return {};
    }
    if (typeof value !== "object" || value === null) return {};
    const own = platformOf(value as Record<string, unknown>);
    const diffs: unknown = (value as { rootfs?: { diff_ids?: unknown } }).rootfs?.diff_ids;
    return { ...(own && { own }), ...(Array.isArray(diffs) && { diffs: diffs.length }) };
  }

  /** Stores a manifest, its config, and all manifests and configs below. */
  async #walk(node: Node, depth: number): Promise<void> {
    const { digest, manifest, small } = node;
    if (this.#nodes.has(digest)) return;
    if (this.#nodes.size >= MAX_MANIFESTS) throw this.#fault(`it has more than ${MAX_MANIFESTS} manifests`);
    this.#nodes.set(digest, node);
    await this.#keepSmall(node, digest);
    if (manifest.config !== undefined) {
      if (small.has(manifest.config.digest)) await this.#keepSmall(node, manifest.config.digest);
      else if (manifest.config.size > MAX_IMAGE_MANIFEST_BYTES) await this.#blob(manifest.config);
    }
    if (manifest.kind === "manifest") return;
    if (depth >= MAX_INDEX_DEPTH) throw this.#fault(`its indexes are nested deeper than ${MAX_INDEX_DEPTH}`);
    const children = manifest.manifests.filter((it) => isManifestType(it.mediaType));
    const below = await mapLimited(children, CONCURRENCY, (child) => this.#child(child));
    for (const [index, it] of below.entries()) {
      if (it !== undefined) await this.#walk(it, depth + 1);
      else this.#o.report(`${this.#origin.name}: ${nameOf(children[index] as Descriptor)} is missing, only listed`);
    }
  }

  async #child(child: Descriptor): Promise<Node | undefined> {
    const known = this.#nodes.get(child.digest);
    const found = known === undefined ? await this.#manifest(child) : undefined;
    const size = known?.size ?? found?.bytes.length;
    if (size !== undefined && size !== child.size) throw this.#disagreement(child, size);
    if (known !== undefined || found === undefined) return known;
    // Plain file servers send manifests as bytes or text; a server that names another kind is at fault.
    const said = found.contentType?.split(";")[0]?.trim().toLowerCase();
    if (said !== undefined && isManifestType(said) && said !== child.mediaType) {
      throw this.#fault(`media types of ${child.digest} disagree: expected ${child.mediaType}, got ${said}`);
    }
    return this.#load(found, child.mediaType);
  }

  /** Selects what a descriptor leads to, for the wanted platforms. */
  #choose(descriptor: Descriptor): void {
    const { digest, mediaType } = descriptor;
    const node = this.#nodes.get(digest);
    if (isKnownPlatform(descriptor.platform)) this.#listsPlatforms = true;
    const platform = [descriptor.platform, node?.own].find(isKnownPlatform);
    if (platform !== undefined && !this.#isWanted(platform)) {
      this.#others.add(formatPlatform(platform));
      return;
    }
    if (platform !== undefined) this.#found.push(platform);
    if (node === undefined) {
      if (!isManifestType(mediaType)) this.#loose.push(descriptor);
      else if (!this.#o.allowMissing || (this.#wanted !== undefined && platform !== undefined)) {
        throw this.#fault(`its index lists ${nameOf(descriptor)}, which is missing`);
      } else this.#left = true;
      return;
    }
    const earlier = this.#selected.get(digest);
    const names = earlier ?? new Set();
    this.#selected.set(digest, names);
    if (node.manifest.kind === "manifest") {
      if (platform !== undefined) names.add(formatPlatform(platform));
    } else if (earlier === undefined) {
      for (const child of node.manifest.manifests) {
        // BuildKit's attestations have no platform.
        if (this.#wanted === undefined || (attestedDigest(child) === undefined && child.platform?.os !== "unknown"))
          this.#choose(child);
      }
    }
  }

  /**
   * Selects entries of an index that refer to an image, by annotation or by subject: they are included with the image.
   */
  #chooseTied(): void {
    for (let before = -1; before !== this.#selected.size; ) {
      before = this.#selected.size;
      for (const { manifest } of [...this.#nodes.values()]) {
        for (const child of manifest.manifests) {
          const { digest, mediaType, size } = child;
          if (this.#selected.has(digest)) continue;
          const about = attestedDigest(child) ?? this.#nodes.get(digest)?.manifest.subject?.digest;
          if (about !== undefined && this.#selected.has(about as OciDigest)) this.#choose({ mediaType, digest, size });
        }
      }
    }
  }

  #requirePlatforms(): void {
    const missing = this.#wanted?.filter((wanted) => !this.#found.some((it) => isPlatform(it, wanted))) ?? [];
    const there = [...new Set([...this.#found.map(formatPlatform), ...this.#others])].sort();
    // Artifacts have no platform: `platforms:` may be set for all images of a site.
    if (missing.length === 0 || there.length === 0) return;
    const fault = `it has no ${missing.map(formatPlatform).join(", ")}`;
    if (this.#listsPlatforms || this.#found.length === 0) {
      throw new AirferryError(
        "ERR_MANIFEST_INVALID",
        `cannot lock image "${this.#origin.name}": ${fault}: expected one of ${there.join(", ")}`,
        { path: this.#origin.name, hint: "correct platforms: in the manifest, or remove it" },
      );
    }
    this.#o.report(`${this.#origin.name}: ${fault}, only ${there.join(", ")}`);
  }

  #isWanted(platform: Platform): boolean {
    return this.#wanted?.some((it) => isPlatform(platform, it)) ?? true;
  }

  /** Adds the blobs of a selected manifest: layers, signatures, an SBOM. */
  async #takeContent(node: Node, isReferrer: boolean): Promise<void> {
    const { digest, small } = node;
    const { layers } = node.manifest;
    if (
      node.diffs !== undefined &&
      node.diffs !== layers.length &&
      layers.every((it) => isImageLayerType(it.mediaType))
    ) {
      throw this.#fault(
        `its manifest ${digest} and its config disagree: expected ${plural(node.diffs, "layer")} (diff_ids), got ${layers.length}`,
        "some clients accept such an image and others refuse it: have it built or saved again",
      );
    }
    const names = [...(this.#selected.get(digest) as Set<string>)];
    const places = await mapLimited(layers, CONCURRENCY, async (it) =>
      small.has(it.digest) ? { urls: [] } : this.#locate(it),
    );
    const missing = layers.filter((_, index) => places[index] === undefined);
    if (missing.length > 0) {
      const what = `${missing.length} of ${layers.length} layers (${(missing[0] as Descriptor).digest})`;
      if (!this.#o.allowMissing || isReferrer || (this.#wanted !== undefined && names.length > 0)) {
        throw this.#fault(`${names.join(", ") || (isReferrer ? `its referrer ${digest}` : "it")} lacks ${what}`);
      }
      this.#left = true;
      this.#o.report(`${this.#origin.name}: omitted ${names.join(", ") || "a part"}: it lacks ${what}`);
      return;
    }
    for (const [index, layer] of layers.entries()) {
      if (small.has(layer.digest)) await this.#keepSmall(node, layer.digest);
      else await this.#blob(layer, places[index]);
    }
    for (const name of names) this.#platforms.add(name);
  }

  async #manifest(descriptor: Descriptor): Promise<OriginManifest | undefined> {
    if (descriptor.size <= MAX_IMAGE_MANIFEST_BYTES) return this.#origin.manifest(descriptor);
    throw new AirferryError(
      "ERR_UPSTREAM_SIZE",
      `cannot lock image "${this.#origin.name}": ${nameOf(descriptor)} is too large: expected at most ${MAX_IMAGE_MANIFEST_BYTES} bytes, got ${descriptor.size}`,
      { path: this.#origin.name, hint: TOO_LARGE_HINT },
    );
  }

  async #small(descriptor: Descriptor): Promise<Buffer | undefined> {
    const empty = Buffer.from("{}");
    const bytes =
      descriptor.digest === digestOf(empty, descriptor.digest) ? empty : await this.#origin.blob(descriptor);
    if (bytes !== undefined && bytes.length !== descriptor.size) throw this.#disagreement(descriptor, bytes.length);
    return bytes;
  }

  /** What refers to the image and its parts, then what refers to that, level by level. */
  async #takeReferrers(): Promise<void> {
    let subjects = [...this.#selected.keys()];
    for (let depth = 0; depth < MAX_REFERRER_DEPTH && subjects.length > 0; depth++) {
      const found = (await mapLimited(subjects, CONCURRENCY, (it) => this.#referrersOf(it))).flat();
      subjects = [];
      for (const { node, subject, tag } of found) {
        if (tag !== undefined) this.#tags[tag] = node.digest;
        if (this.#selected.has(node.digest)) continue;
        await this.#walk(node, 0);
        await this.#takeWhole(node);
        const { digest, size, manifest } = node;
        const artifactType = artifactTypeOf(manifest);
        this.#referrers.push({
          digest,
          mediaType: manifest.mediaType,
          size,
          ...(subject && { subject }),
          ...(artifactType !== undefined && { artifactType }),
        });
        subjects.push(digest);
      }
    }
  }

  /** Confirmed referrers that the registry lists for a manifest, then what older tools store under tags. */
  async #referrersOf(subject: OciDigest): Promise<{ node: Node; subject?: OciDigest; tag?: string }[]> {
    // Requested together: each is a round trip to a registry that may be far away.
    const [listed, ...isTagged] = await Promise.all([
      this.#origin.referrers(subject),
      ...LEGACY_SUFFIXES.map((suffix) => this.#origin.hasTag(digestTag(subject, suffix))),
    ]);
    const manifests = listed.filter((it) => isManifestType(it.mediaType) && !this.#selected.has(it.digest));
    const about = await mapLimited(manifests, CONCURRENCY, async (descriptor) => {
      const found = await this.#manifest(descriptor);
      if (found === undefined) {
        this.#o.report(`${this.#origin.name}: the referrer ${descriptor.digest} is listed but missing`);
        return [];
      }
      const node = await this.#load(found, found.contentType);
      // A fallback tag may list anything; only the manifest's own subject counts.
      return node.manifest.subject?.digest === subject ? [{ node, subject }] : [];
    });
    const tags = LEGACY_SUFFIXES.filter((_, index) => isTagged[index]).map((suffix) => digestTag(subject, suffix));
    const tagged = await mapLimited(tags, CONCURRENCY, async (tag) => {
      const found = await this.#origin.manifest({ tag });
      return found === undefined ? [] : [{ node: await this.#load(found, found.contentType), tag }];
    });
    return [...about.flat(), ...tagged.flat()];
  }

  /** Adds everything in a referrer, and below it if it is an index; platforms do not matter. */
  async #takeWhole(node: Node): Promise<void> {
    if (this.#selected.has(node.digest)) return;
    this.#selected.set(node.digest, new Set());
    await this.#takeContent(node, true);
    for (const child of node.manifest.manifests) {
      const below = this.#nodes.get(child.digest);
      if (below !== undefined) await this.#takeWhole(below);
      else if (!isManifestType(child.mediaType)) await this.#blob(child);
      else throw this.#fault(`its referrer ${node.digest} lists ${child.digest}, which is missing`);
    }
  }

  async #locate(layer: Descriptor): Promise<BlobPlace | undefined> {
    if (this.#artifacts.has(blobPath(layer.digest))) return { urls: [] };
    if (!isForeignLayerType(layer.mediaType)) return this.#origin.place(layer);
    this.#o.report(
      `${this.#origin.name}: layer ${layer.digest} names URLs (${layer.urls?.[0] ?? "none"}): clients inside the gap may try those first`,
    );
    if (await this.#origin.hasBlob(layer)) return this.#origin.place(layer);
    if (!this.#o.foreignLayers) {
      throw this.#fault(
        `its foreign layer ${layer.digest} is not in the registry`,
        "to fetch it from the URLs that it names, set foreign_layers: true",
      );
    }
    const urls: string[] = [];
    for (const it of layer.urls ?? []) if (await this.#mayFetch(it)) urls.push(it);
    if (urls.length > 0) return { urls };
    throw this.#fault(
      `its foreign layer ${layer.digest} is not in the registry, and no URL that it names may be fetched: ${layer.urls?.join(", ") || "it names none"}`,
      "push the layer to the registry; URLs in private networks are not followed if the registry is public",
    );
  }

  /** A manifest must not be able to direct requests into the site's own network. */
  async #mayFetch(text: string): Promise<boolean> {
    if (!URL.canParse(text)) return false;
    const url = new URL(text);
    if (url.username !== "" || url.password !== "") return false;
    const from = this.#o.registry;
    const reach = from ? reachOf(from, from.hostname) : () => Promise.resolve(0);
    return (await stepFault(from, url, reach)) === undefined;
  }

  /** Records a blob that pack reads from its origin. */
  async #blob(descriptor: Descriptor, known?: BlobPlace): Promise<void> {
    const path = blobPath(descriptor.digest);
    const earlier = this.#artifacts.get(path);
    if (earlier !== undefined) {
      if (earlier.size !== descriptor.size) throw this.#disagreement(descriptor, earlier.size as number);
      return;
    }
    const place = known ?? (await this.#origin.place(descriptor));
    if (place === undefined) throw this.#fault(`its blob ${descriptor.digest} is missing`);
    this.#artifacts.set(path, {
      path,
      ...place,
      size: descriptor.size,
      integrity: descriptor.digest,
      established: this.#o.established,
    });
  }

  /** Stores the bytes of a loaded manifest and releases them: an image may have thousands of manifests. */
  async #keepSmall({ small }: Node, digest: OciDigest): Promise<void> {
    const bytes = small.get(digest) as Buffer;
    small.delete(digest);
    const path = blobPath(digest);
    const earlier = this.#artifacts.get(path);
    if (earlier !== undefined && earlier.size !== bytes.length) {
      throw this.#disagreement({ digest, size: earlier.size as number }, bytes.length);
    }
    this.#artifacts.set(path, {
      path,
      kept: await this.#o.kept.put(bytes),
      size: bytes.length,
      integrity: digest,
      established: this.#o.established,
    });
  }

  #name(digest: OciDigest): string {
    return `${this.#origin.name} (${digest})`;
  }

  #disagreement({ digest, size }: Pick<Descriptor, "digest" | "size">, actual: number): AirferryError {
    return this.#fault(`descriptors and bytes of ${digest} disagree about its size: expected ${size}, got ${actual}`);
  }

  #fault(fault: string, hint?: string): AirferryError {
    return new AirferryError("ERR_UPSTREAM_INVALID", `cannot lock image "${this.#origin.name}": ${fault}`, {
      path: this.#origin.name,
      hint: hint ?? this.#o.hint,
    });
  }
}

/** A child of an index, for messages. */
function nameOf({ platform, digest }: Descriptor): string {
  return `${platform ? formatPlatform(platform) : "the manifest"} (${digest})`;
}

function isSignature({ mediaType }: Descriptor): boolean {
  return mediaType === SIMPLE_SIGNING || mediaType === SIGSTORE_BUNDLE;
}
