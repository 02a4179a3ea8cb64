/** The OCI image layout: its marker file and its index. See OCI image-spec v1.1, image-layout.md. */
import type { Descriptor } from "./image-manifest.ts";
import { OCI_INDEX } from "./media-types.ts";

export const OCI_LAYOUT_FILE = "oci-layout";
export const OCI_LAYOUT_BYTES: Buffer = Buffer.from('{"imageLayoutVersion":"1.0.0"}');
/** Names an image in a layout's index: the tag, or the whole reference. */
export const REF_NAME = "org.opencontainers.image.ref.name";
/** The whole reference, for containerd and docker. */
export const CONTAINERD_NAME = "io.containerd.image.name";

/** Formats `index.json`: the same descriptors always give the same bytes. */
export function formatLayoutIndex(manifests: readonly Descriptor[]): Buffer {
  return Buffer.from(
    `${JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: manifests.map(({ mediaType, digest, size, artifactType, annotations }) => ({
        mediaType,
        digest,
        size,
        ...(artifactType !== undefined && { artifactType }),
        ...(annotations && { annotations }),
      })),
    })}\n`,
  );
}
