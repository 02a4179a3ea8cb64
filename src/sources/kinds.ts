/** Every kind of source, in the order of their artifacts in a bundle. The code of each is loaded when needed. */
import type { Kind } from "../io/types.ts";
import type { SourceKind } from "./types.ts";

const LOADERS: Readonly<Record<Kind, () => Promise<SourceKind>>> = {
  iso: async () => (await import("./iso.ts")).isoSource,
  rpm: async () => (await import("./rpm.ts")).rpmSource,
  file: async () => (await import("./file.ts")).fileSource,
  image: async () => (await import("./image.ts")).imageSource,
  web: async () => (await import("./web.ts")).webSource,
};

/** The kinds of the given entries of a manifest or lock; the code of each is loaded when its turn comes. */
export async function* sourcesOf(entries: readonly { kind: Kind }[]): AsyncGenerator<SourceKind> {
  const needed = new Set(entries.map((it) => it.kind));
  for (const kind of Object.keys(LOADERS) as Kind[]) if (needed.has(kind)) yield await LOADERS[kind]();
}

/** The one kind. */
export function sourceOf(kind: Kind): Promise<SourceKind> {
  return LOADERS[kind]();
}
