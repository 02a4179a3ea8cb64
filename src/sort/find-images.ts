/** Images in a recording: pulled from a registry by tag or digest, with the platforms whose layers are all there. */
import type { Digest } from "../io/digest.ts";
import { isDigest } from "../io/digest.ts";
import { readSmall } from "../io/safe-open.ts";
import { type ImageManifest, MAX_IMAGE_MANIFEST_BYTES, parseImageManifest } from "../oci/image-manifest.ts";
import { isManifestType } from "../oci/media-types.ts";
import { formatPlatform, isKnownPlatform } from "../oci/platform.ts";
import { checkReference, formatReference, parseReference } from "../oci/reference.ts";
import type { RecordedIndex } from "./recorded-index.ts";
import type { Candidate } from "./types.ts";

/** Images, and manifests that are looked at. */
const MAX_IMAGES = 10_000;
const MANIFEST_PATH = /^(https?):\/\/([^/]+)\/v2\/([a-z0-9._/-]+)\/manifests\/([^/?]+)$/;
/** Tags of signatures, attestations and SBOMs, which are no images. */
const DIGEST_TAG = /^sha256-[0-9a-f]{64}(?:\.[a-z]+)?$/;

interface Pulled {
  scheme: string;
  host: string;
  path: string;
  /** Manifests by tag. */
  tags: Map<string, Digest>;
  digests: Set<Digest>;
}

/** Looks for them. What is not whole is in `reasons`, by its reference. */
export async function findPulledImages(
  index: RecordedIndex,
): Promise<{ candidates: Candidate[]; reasons: Map<string, string> }> {
  const candidates: Candidate[] = [];
  const reasons = new Map<string, string>();
  const manifests = new Map<Digest, ImageManifest | undefined>();
  const read = async (digest: Digest) => {
    if (!manifests.has(digest)) manifests.set(digest, await manifestOf(index, digest));
    return manifests.get(digest);
  };
  for (const { scheme, host, path, tags, digests } of pulledFrom(index).values()) {
    const below = new Set<string>();
    for (const digest of new Set([...tags.values(), ...digests]))
      for (const it of (await read(digest))?.manifests ?? []) below.add(it.digest);
    const named = new Set(tags.values());
    const roots: [suffix: string, digest: Digest][] = [
      ...[...tags].map(([tag, digest]): [string, Digest] => [`:${tag}`, digest]),
      ...[...digests].filter((it) => !named.has(it) && !below.has(it)).map((it): [string, Digest] => [`@${it}`, it]),
    ];
    for (const [suffix, digest] of roots.sort()) {
      const text = `${host}/${path}${suffix}`;
      const manifest = await read(digest);
      if (manifest === undefined || manifest.subject !== undefined || checkReference(text) !== undefined) continue;
      const id = formatReference(parseReference(text));
      const platforms = manifest.kind === "index" ? await pulledPlatforms(manifest, index, read) : undefined;
      const isWhole = platforms === undefined ? hasLayers(manifest, index) : platforms.length > 0;
      if (!isWhole) reasons.set(id, "no platform has all of its layers in the recording");
      else if (candidates.length < MAX_IMAGES) {
        const content = {
          ...(platforms !== undefined && { platforms }),
          ...(scheme === "http" && { insecure: true }),
          referrers: false,
        };
        candidates.push({ key: "images", id, spellings: [{ ref: id }], variants: [content], comment: digest });
      }
    }
  }
  return { candidates, reasons };
}

function pulledFrom(index: RecordedIndex): Map<string, Pulled> {
  const all = new Map<string, Pulled>();
  for (const { url, method, status, headers, digest } of index.answers) {
    const [, scheme, host, path, reference] = status === 200 ? (MANIFEST_PATH.exec(url) ?? []) : [];
    if (scheme === undefined || host === undefined || path === undefined || reference === undefined) continue;
    const type = (headers["content-type"] ?? "").replace(/;.*$/s, "").trim();
    const body = method === "GET" ? digest : headers["docker-content-digest"];
    if (!isManifestType(type) || !isDigest(body) || DIGEST_TAG.test(reference)) continue;
    const at = `${scheme}://${host}/${path}`;
    const pulled = all.get(at) ?? { scheme, host, path, tags: new Map(), digests: new Set() };
    if (all.size >= MAX_IMAGES) break;
    all.set(at, pulled);
    if (reference.includes(":")) pulled.digests.add(body);
    else pulled.tags.set(reference, body);
  }
  return all;
}

/** Undefined where the recording does not have it, or it is none. */
async function manifestOf(index: RecordedIndex, digest: Digest): Promise<ImageManifest | undefined> {
  if (index.sizeOf(digest) === undefined) return undefined;
  try {
    return parseImageManifest(await readSmall(index.fileOf(digest), MAX_IMAGE_MANIFEST_BYTES), digest);
  } catch {
    return undefined;
  }
}

function hasLayers({ layers, config }: ImageManifest, index: RecordedIndex): boolean {
  return [...layers, ...(config ? [config] : [])].every(
    ({ digest, size }) => isDigest(digest) && index.sizeOf(digest) === size,
  );
}

async function pulledPlatforms(
  { manifests }: ImageManifest,
  index: RecordedIndex,
  read: (digest: Digest) => Promise<ImageManifest | undefined>,
): Promise<string[]> {
  const found = new Set<string>();
  for (const { digest, platform } of manifests) {
    if (!isDigest(digest) || !isKnownPlatform(platform)) continue;
    const manifest = await read(digest);
    if (manifest?.kind === "manifest" && hasLayers(manifest, index)) found.add(formatPlatform(platform));
  }
  return [...found].sort();
}
