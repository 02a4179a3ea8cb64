/**
 * The builder of the image inside the gap: the manifest's `builder:`, read from a manifest or an inventory. Pure.
 */

/** The manifest's `builder:`, as the inventory carries it. */
export interface Builder {
  flavor: "spectro-capi" | "image-builder";
  version?: string | undefined;
  imageconfig: Readonly<Record<string, string>>;
  packerVars: Readonly<Record<string, string>>;
  kickstart?: string | undefined;
  customScripts: { pre: readonly string[]; post: readonly string[] };
  iso?: string | undefined;
}

/** Reads a `builder:` value: malformed parts count as absent. */
export function parseBuilder(value: unknown): Builder | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const raw = value as Record<string, unknown>;
  if (raw.flavor !== "spectro-capi" && raw.flavor !== "image-builder") return undefined;
  const scripts = (raw.custom_scripts ?? {}) as Record<string, unknown>;
  return {
    flavor: raw.flavor,
    version: text(raw.version),
    imageconfig: texts(raw.imageconfig),
    packerVars: texts(raw.packer_vars),
    kickstart: text(raw.kickstart),
    customScripts: { pre: list(scripts.pre), post: list(scripts.post) },
    iso: text(raw.iso),
  };
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function list(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((it) => typeof it === "string") : [];
}

function texts(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([key, it]) => [key, String(it)]));
}
