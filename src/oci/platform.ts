/**
 * Platforms of images: `os/architecture[/variant]`, for Windows `windows(10.0.17763)/amd64`. Spelled and compared as in
 * containerd, which most clients inside the gap use. See github.com/containerd/platforms.
 */

/** What an image runs on. */
export interface Platform {
  os: string;
  architecture: string;
  variant?: string;
  /** Windows only. */
  osVersion?: string;
}

/** Platforms as text: what {@link parsePlatform} reads. */
export const PLATFORM = /^([a-z0-9]+)(?:\(([0-9]+(?:\.[0-9]+){2,3})\))?\/([a-z0-9_]+)(?:\/([a-z0-9_.]+))?$/;

/** Parses `linux/arm64/v8` or `windows(10.0.17763)/amd64`. */
export function parsePlatform(text: string): Platform {
  const [, os = "", osVersion, architecture = "", variant] = PLATFORM.exec(text) ?? [];
  return { os, architecture, ...(variant !== undefined && { variant }), ...(osVersion !== undefined && { osVersion }) };
}

/** Formats `linux/arm64/v8`; `unknown` for a missing part. */
export function formatPlatform({ os, architecture, variant, osVersion }: Platform): string {
  const system = `${os || "unknown"}${osVersion === undefined ? "" : `(${osVersion})`}`;
  return `${system}/${architecture || "unknown"}${variant === undefined ? "" : `/${variant}`}`;
}

/** Returns whether a platform is meaningful: BuildKit's attestations have `unknown`. */
export function isKnownPlatform(platform: Platform | undefined): platform is Platform {
  return platform !== undefined && platform.os !== "" && platform.os !== "unknown";
}

/**
 * Returns whether an image's platform matches the wanted one: `linux/arm` is v7, arm64 is v8, amd64 is v1. Windows
 * versions are compared by their first three numbers, if both have one.
 */
export function isPlatform(actual: Platform, wanted: Platform): boolean {
  const [a, b] = [normalise(actual), normalise(wanted)];
  return (
    a.os === b.os &&
    a.architecture === b.architecture &&
    a.variant === b.variant &&
    (a.build === undefined || b.build === undefined || a.build === b.build)
  );
}

/** @see containerd/platforms, normalizeArch and getWindowsOSVersion */
function normalise({ os, architecture, variant, osVersion }: Platform) {
  const system = os.toLowerCase();
  const [name, version] = normaliseArchitecture(architecture.toLowerCase(), variant?.toLowerCase() ?? "");
  const build = /^\d+\.\d+\.\d+/.exec(osVersion ?? "")?.[0];
  return { os: system === "macos" ? "darwin" : system, architecture: name, variant: version, build };
}

function normaliseArchitecture(name: string, variant: string): [string, string] {
  switch (name) {
    case "i386":
      return ["386", ""];
    case "x86_64":
    case "x86-64":
    case "amd64":
      return ["amd64", variant === "v1" ? "" : variant];
    case "aarch64":
    case "arm64":
      return ["arm64", variant === "8" || variant === "v8" ? "" : variant];
    case "armhf":
      return ["arm", "v7"];
    case "armel":
      return ["arm", "v6"];
    case "arm":
      return ["arm", variant === "" ? "v7" : variant.replace(/^(?=[5-8]$)/, "v")];
    default:
      return [name, variant];
  }
}
