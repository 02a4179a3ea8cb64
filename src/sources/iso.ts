/** `isos:` of the manifest: one file each, served as `/isos/NAME.iso` with checksum sidecars. */
import type { CatalogIso } from "../bundle/inventory-types.ts";
import { requestDigest } from "../manifest/load.ts";
import { itemOf, lockArtifact, sidecarsOf } from "./artifact.ts";
import { mapEntries } from "./each.ts";
import type { SourceKind } from "./types.ts";

export const isoSource: SourceKind = {
  kind: "iso",
  lock: (context) =>
    mapEntries(
      "iso",
      context.manifest.isos ?? [],
      (entry) => entry.name,
      context,
      async (entry) => ({
        kind: "iso",
        name: entry.name,
        request: requestDigest(entry),
        artifacts: [await lockArtifact(entry, `isos/${entry.name}.iso`, context)],
      }),
    ),
  async plan(entries, context) {
    const artifacts = entries.flatMap((entry) => entry.artifacts);
    const taken = new Set(artifacts.map((artifact) => artifact.path));
    const isos: CatalogIso[] = entries.map((entry) => ({ name: entry.name, path: `isos/${entry.name}.iso` }));
    return {
      items: [
        ...artifacts.map((artifact) => itemOf("iso", artifact, context.baseDir)),
        ...artifacts.flatMap((artifact) => sidecarsOf(artifact.path, taken)),
      ],
      catalog: { isos },
    };
  },
};
