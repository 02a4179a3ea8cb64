/** `files:` of the manifest: one file each, under its own name below `/files/`, with checksum sidecars. */
import { filePathOf } from "../manifest/entry-names.ts";
import { requestDigest } from "../manifest/request.ts";
import { itemsOf, lockArtifact, sidecarsOf } from "./artifact.ts";
import { mapEntries } from "./map-entries.ts";
import { documentItems, withKeptDocuments } from "./named-documents.ts";
import { artifactOrigins } from "./origin-lines.ts";
import type { SourceKind } from "./types.ts";

const SIDECAR = /\.(sha256|sha256sum|sha512|sha512sum|md5|asc|sig)$/;

export const fileSource: SourceKind<"file"> = {
  kind: "file",
  async lock(context) {
    const previous = await withKeptDocuments(context.previous, context.kept);
    return mapEntries("file", context.manifest.files ?? [], filePathOf, { ...context, previous }, async (entry) => ({
      kind: "file",
      name: filePathOf(entry),
      request: requestDigest(entry),
      ...(await lockArtifact(entry, `files/${filePathOf(entry)}`, context)),
    }));
  },
  async plan(entries, context) {
    const artifacts = entries.flatMap((entry) => entry.artifacts);
    const taken = new Set(artifacts.map((artifact) => artifact.path));
    return {
      items: [
        ...itemsOf("file", entries, context),
        ...artifacts.filter(({ path }) => !SIDECAR.test(path)).flatMap(({ path }) => sidecarsOf(path, taken)),
        ...documentItems(entries),
      ],
      catalog: {
        files: artifacts.map(({ path }) => ({ path })),
        origins: artifactOrigins(entries, context.manifest),
      },
    };
  },
};
