/** Lists images by name, platforms and source of trust, instead of blobs by digest. */
import type { WrittenCatalog } from "../bundle/inventory-types.ts";
import { formatBytes } from "../io/format.ts";
import { formatTable } from "./table.ts";

const KEYID16_LENGTH = 16;

/** Whether a path is a blob of images, which {@link formatImages} covers. */
export function isImageBlob(path: string): boolean {
  return path.startsWith("images/");
}

/**
 * Formats the images of a catalog as the lines of a table; empty if there are none. Shared blobs count for each image.
 */
export function formatImages({ images, provenance }: Pick<WrittenCatalog, "images" | "provenance">): string[] {
  if (images.length === 0) return [];
  // Bundles of older versions record it only for the blobs.
  const origins = new Map(Array.from(provenance, (it) => [it.path, it]));
  return formatTable(
    ["SIZE", "DIGEST", "ATTACHED", "PLATFORMS", "IMAGE", "SOURCE", ""],
    images.map((image) => {
      const { size, digest, platforms, reference, source, attached } = image;
      const origin = origins.get(`images/blobs/${digest.replace(":", "/")}`);
      const established = image.established ?? origin?.established ?? "unknown";
      const signers = (image.signedBy ?? (image.established ? [] : origin?.signedBy) ?? []).map((it) =>
        it.slice(0, KEYID16_LENGTH),
      );
      return [
        formatBytes(size),
        signers.length > 0 ? `${established} by ${signers.join(", ")}` : established,
        attached === undefined ? "?" : String(attached),
        platforms.join(", ") || "all",
        reference,
        source === undefined || source === reference ? "its registry" : source,
        digest,
      ];
    }),
    [0, 2],
  );
}
