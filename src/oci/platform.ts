/** Platforms of images: `os/architecture[/variant]`, and which children of an index belong to the wanted ones. */
import type { Descriptor } from "./image-manifest.ts";

export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
  /** Windows only. */
  osVersion?: string;
}

/** Parses `linux/arm64/v8`. */
export function parsePlatform(text: string): Platform {
  const [os = "", architecture = "", variant] = text.split("/");
  return { os, architecture, ...(variant !== undefined && { variant }) };
}

/** Formats `linux/arm64/v8`; `unknown` where a part is missing. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  return `${os || "unknown"}/${architecture || "unknown"}${variant === undefined ? "" : `/${variant}`}`;
}

/** Tells whether an image's platform is the wanted one. A variant counts only when it was asked for; arm64 is v8. */
export function isPlatform(actual: Platform, wanted: Platform): boolean {
  if (actual.os !== wanted.os || actual.architecture !== wanted.architecture) return false;
  if (wanted.variant === undefined) return true;
  const variant = actual.variant ?? (actual.architecture === "arm64" ? "v8" : undefined);
  return variant === wanted.variant;
}

/** What BuildKit puts beside each platform: provenance and SBOM of one image, by annotation. */
export function attestedDigest(descriptor: Descriptor): string | undefined {
  return descriptor.annotations?.["vnd.docker.reference.type"] === "attestation-manifest"
    ? descriptor.annotations["vnd.docker.reference.digest"]
    : undefined;
}

/**
 * Which children of an index are wanted: all without `platforms`; else those of a wanted platform, the attestations of
 * these, and whatever has no platform at all (artifacts, nested indexes). `missing` are the wanted platforms it lacks.
 */
export function selectChildren(
  children: readonly Descriptor[],
  platforms: readonly string[] | undefined,
): { selected: Set<string>; missing: string[] } {
  if (platforms === undefined) return { selected: new Set(children.map((it) => it.digest)), missing: [] };
  const wanted = platforms.map(parsePlatform);
  const selected = new Set<string>();
  for (const child of children) {
    const { platform } = child;
    if (attestedDigest(child) !== undefined) continue;
    if (platform === undefined || wanted.some((it) => isPlatform(platform, it))) selected.add(child.digest);
  }
  for (const child of children) {
    const attested = attestedDigest(child);
    if (attested !== undefined && selected.has(attested)) selected.add(child.digest);
  }
  const hasPlatforms = children.some((it) => it.platform !== undefined && attestedDigest(it) === undefined);
  const missing = platforms.filter(
    (text, index) =>
      hasPlatforms && !children.some((it) => it.platform && isPlatform(it.platform, wanted[index] as Platform)) && text,
  );
  return { selected, missing };
}
