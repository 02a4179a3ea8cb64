/** Every kind of source, in the order of their artifacts in a bundle. The code of each is loaded when needed. */
import type { Kind } from "../io/types.ts";
import type { SourceKind } from "./types.ts";

const LOADERS: Readonly<Record<Kind, () => Promise<SourceKind>>> = {
  iso: async () => (await import("./iso.ts")).isoSource,
  rpm: async () => (await import("./rpm.ts")).rpmSource,
  file: async () => (await import("./file.ts")).fileSource,
  image: async () => (await import("./image.ts")).imageSource,
};

/** Loads the kinds of the given entries of a manifest or lock. */
export function sourcesOf(entries: readonly { kind: Kind }[]): Promise<SourceKind[]> {
  const needed = new Set(entries.map((it) => it.kind));
  const kinds = (Object.keys(LOADERS) as Kind[]).filter((it) => needed.has(it));
  return Promise.all(kinds.map((it) => LOADERS[it]()));
}
