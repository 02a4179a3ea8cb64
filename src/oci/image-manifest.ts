/**
 * Manifests and indexes, OCI and docker: parsed with strict limits, never rewritten: the digest covers their bytes. See
 * OCI image-spec v1.1, manifest.md and image-index.md; distribution-spec v1.1 for the size.
 */

import { AirferryError } from "../errors.ts";
import { parseJson } from "../io/json.ts";
import { isIndexType, isManifestType, isSchema1Type, OCI_INDEX, OCI_MANIFEST } from "./media-types.ts";
import { isOciDigest, type OciDigest } from "./oci-digest.ts";
import type { Platform } from "./platform.ts";

/** The limit of registries and clients. */
export const MAX_IMAGE_MANIFEST_BYTES = 4 * 1024 * 1024;
/** The hint for larger ones. */
export const TOO_LARGE_HINT =
  "registries and clients accept no larger ones: have it pushed with fewer children or annotations";
/** Most children, layers or blobs of one manifest. */
const MAX_DESCRIPTORS = 50_000;

export interface Descriptor {
  mediaType: string;
  digest: OciDigest;
  size: number;
  platform?: Platform;
  annotations?: Record<string, string>;
  artifactType?: string;
  /** URLs of foreign layers. */
  urls?: string[];
}

/** The content of a manifest of any kind. */
export interface ImageManifest {
  mediaType: string;
  kind: "index" | "manifest";
  /** Children of an index. */
  manifests: Descriptor[];
  /** Absent in an index. */
  config?: Descriptor;
  /** Layers, or the blobs of a retired artifact manifest. */
  layers: Descriptor[];
  subject?: Descriptor;
  artifactType?: string;
  annotations?: Record<string, string>;
}

/** The hint for an unreadable manifest of a registry. */
const REGISTRY_HINT = "check the registry's response, for example with: skopeo inspect --raw docker://…";

/**
 * Parses the bytes of a manifest. `contentType` is the type given by the registry or the descriptor, `hint` the advice
 * for anything else: by default for manifests from registries.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID for anything that is not one, schema 1, or media types that disagree;
 * ERR_SIZE_LIMIT over {@link MAX_IMAGE_MANIFEST_BYTES}
 */
export function parseImageManifest(
  bytes: Uint8Array,
  name: string,
  contentType?: string,
  hint = REGISTRY_HINT,
): ImageManifest {
  try {
    return parse(bytes, name, contentType);
  } catch (error) {
    if (!(error instanceof AirferryError) || error.hint !== undefined) throw error;
    const { code, message, path, expected, actual } = error;
    throw new AirferryError(code, message, { path, expected, actual, hint });
  }
}

function parse(bytes: Uint8Array, name: string, contentType: string | undefined): ImageManifest {
  if (bytes.length > MAX_IMAGE_MANIFEST_BYTES) {
    throw new AirferryError(
      "ERR_SIZE_LIMIT",
      `cannot read manifest of "${name}": too large: expected at most ${MAX_IMAGE_MANIFEST_BYTES} bytes, got ${bytes.length}`,
      { path: name },
    );
  }
  const declared = contentType?.split(";")[0]?.trim().toLowerCase();
  if (declared !== undefined && isSchema1Type(declared)) throw schema1(name);
  let json: Record<string, unknown>;
  try {
    json = parseJson(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as Record<string, unknown>;
  } catch {
    throw invalid(name, "it is not JSON");
  }
  if (json === null || typeof json !== "object" || Array.isArray(json)) throw invalid(name, "it is not a JSON object");
  if (json.schemaVersion === 1) throw schema1(name);
  if (json.schemaVersion !== undefined && json.schemaVersion !== 2) throw invalid(name, "its schemaVersion is not 2");
  const mediaType = mediaTypeOf(json, declared, name);
  const kind = isIndexType(mediaType) ? "index" : "manifest";
  if (kind === "index" ? json.layers !== undefined || json.config !== undefined : json.manifests !== undefined) {
    // Two readings of the same bytes: CVE-2021-41190.
    throw invalid(name, `it has fields of an index and of a manifest, and its type is ${mediaType}`);
  }
  const subject = json.subject === undefined ? undefined : descriptor(json.subject, name, "subject");
  return {
    mediaType,
    kind,
    manifests: kind === "index" ? descriptors(json.manifests, name, "manifests") : [],
    ...(kind === "manifest" && json.config !== undefined && { config: descriptor(json.config, name, "config") }),
    layers: kind === "manifest" ? descriptors(json.layers ?? json.blobs, name, "layers") : [],
    ...(subject && { subject }),
    ...(typeof json.artifactType === "string" && { artifactType: json.artifactType }),
    ...(json.annotations !== undefined && { annotations: strings(json.annotations, name, "annotations") }),
  };
}

function mediaTypeOf(json: Record<string, unknown>, declared: string | undefined, name: string): string {
  const own = json.mediaType;
  if (own !== undefined && typeof own !== "string") throw invalid(name, "its mediaType is not text");
  if (own !== undefined && isSchema1Type(own)) throw schema1(name);
  const said = declared !== undefined && isManifestType(declared) ? declared : undefined;
  if (own !== undefined && said !== undefined && own !== said) {
    throw new AirferryError(
      "ERR_UPSTREAM_INVALID",
      `cannot read manifest of "${name}": media types disagree: expected ${said} (as announced), got ${own}`,
      { path: name, expected: said, actual: own },
    );
  }
  const mediaType = own ?? said;
  if (mediaType !== undefined) {
    if (!isManifestType(mediaType)) throw invalid(name, `unknown media type "${mediaType.slice(0, 200)}"`);
    return mediaType;
  }
  if (Array.isArray(json.manifests)) return OCI_INDEX;
  if (json.config !== undefined && Array.isArray(json.layers)) return OCI_MANIFEST;
  throw invalid(name, "it is neither a manifest nor an index");
}

function descriptors(value: unknown, name: string, field: string): Descriptor[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid(name, `${field} is not a list`);
  if (value.length > MAX_DESCRIPTORS) throw invalid(name, `${field} has more than ${MAX_DESCRIPTORS} entries`);
  return value.map((it, index) => descriptor(it, name, `${field}[${index}]`));
}

function descriptor(value: unknown, name: string, field: string): Descriptor {
  if (value === null || typeof value !== "object") throw invalid(name, `${field} is not a descriptor`);
  const raw = value as Record<string, unknown>;
  if (typeof raw.mediaType !== "string") throw invalid(name, `${field} has no mediaType`);
  if (!isOciDigest(raw.digest)) {
    throw invalid(
      name,
      `${field} has digest "${String(raw.digest).slice(0, 200)}": expected sha256 or sha512 in lower-case hex`,
    );
  }
  if (!Number.isSafeInteger(raw.size) || (raw.size as number) < 0) throw invalid(name, `${field} has no valid size`);
  const platform = raw.platform as Record<string, unknown> | undefined;
  return {
    mediaType: raw.mediaType,
    digest: raw.digest,
    size: raw.size as number,
    ...(platform !== undefined && platform !== null && { platform: platformOf(platform) }),
    ...(raw.annotations !== undefined && { annotations: strings(raw.annotations, name, `${field}.annotations`) }),
    ...(typeof raw.artifactType === "string" && { artifactType: raw.artifactType }),
    ...(Array.isArray(raw.urls) && {
      urls: raw.urls.filter((it): it is string => typeof it === "string").slice(0, 16),
    }),
  };
}

/** The platform that a descriptor of an index, or a config, has; empty if not specified. */
export function platformOf(raw: Record<string, unknown>): Platform {
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  return {
    os: text(raw.os),
    architecture: text(raw.architecture),
    ...(text(raw.variant) !== "" && { variant: text(raw.variant) }),
    ...(text(raw["os.version"]) !== "" && { osVersion: text(raw["os.version"]) }),
  };
}

function strings(value: unknown, name: string, field: string): Record<string, string> {
  if (value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw invalid(name, `${field} is not a map`);
  const entries = Object.entries(value as object);
  if (!entries.every(([, it]) => typeof it === "string")) throw invalid(name, `${field} has values that are not text`);
  return Object.fromEntries(entries);
}

/** `artifactType` as in the referrers API: the manifest's own, else its config's media type. */
export function artifactTypeOf(manifest: ImageManifest): string | undefined {
  return manifest.artifactType ?? (manifest.kind === "manifest" ? manifest.config?.mediaType : undefined);
}

/** The descriptor of a referrer in a response of the referrers API, derived from the manifest. */
export function referrerDescriptor(manifest: ImageManifest, digest: OciDigest, size: number): object {
  const artifactType = artifactTypeOf(manifest);
  return {
    mediaType: manifest.mediaType,
    digest,
    size,
    ...(artifactType !== undefined && { artifactType }),
    ...(manifest.annotations && { annotations: manifest.annotations }),
  };
}

function invalid(name: string, fault: string): AirferryError {
  return new AirferryError("ERR_UPSTREAM_INVALID", `cannot read manifest of "${name}": ${fault}`, { path: name });
}

function schema1(name: string): AirferryError {
  return new AirferryError(
    "ERR_UPSTREAM_INVALID",
    `cannot read manifest of "${name}": docker schema 1, which has no digest of its content: expected schema 2 or OCI`,
    { path: name, hint: "have the image pushed again with a current docker" },
  );
}

/** What BuildKit puts beside each platform: provenance and SBOM of one image, by annotation. */
export function attestedDigest({ annotations }: Descriptor): string | undefined {
  return annotations?.["vnd.docker.reference.type"] === "attestation-manifest"
    ? annotations["vnd.docker.reference.digest"]
    : undefined;
}
