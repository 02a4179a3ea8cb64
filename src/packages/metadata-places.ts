/** Where a release's repositories keep their metadata. */
import type { InventoryEntry } from "../bundle/inventory-types.ts";
import type { Digest } from "../io/digest.ts";
import type { BytesPlace } from "../io/held-files.ts";
import type { Release } from "../store/types.ts";
import type { MetadataPlace } from "./types.ts";

/** What is read of a release. */
type Listed = Pick<Release, "inventory">;

/** Lists the repositories of a release, and the images that may hold some, with their files in the store. */
export function metadataPlaces({ inventory }: Listed, placeOf: (digest: Digest) => BytesPlace): MetadataPlace[] {
  const { rpms, isos } = inventory.catalog;
  const files = rpms.map((rpm): MetadataPlace & { kind: "files" } => ({ kind: "files", path: rpm.path, files: {} }));
  const images: MetadataPlace[] = [];
  const byPath = new Map<string, InventoryEntry>();
  for (const entry of inventory.entries) {
    if (entry.path.startsWith("isos/")) byPath.set(entry.path, entry);
    if (!entry.path.includes("/repodata/")) continue;
    for (const it of files) {
      if (!entry.path.startsWith(`${it.path}repodata/`)) continue;
      Object.assign(it.files, { [entry.path.slice(it.path.length)]: placeOf(entry.digest) });
    }
  }
  for (const { name, path } of isos) {
    const entry = byPath.get(path);
    if (entry) images.push({ kind: "iso", path: `isos/${name}/`, file: placeOf(entry.digest) });
  }
  return [...files, ...images];
}
