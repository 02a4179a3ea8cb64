/** Images as people know them: by name, platforms and who vouches for them, in place of blobs by digest. */
import type { Catalog } from "../bundle/inventory-types.ts";
import { formatBytes, formatTable } from "./format.ts";

const KEYID16_LENGTH = 16;

/** Whether a path is a blob of images, which {@link formatImages} stands for. */
export function isImageBlob(path: string): boolean {
  return path.startsWith("images/");
}

/** Formats the images of a catalog as a table; undefined where there are none. Blobs that images share count for each of them. */
export function formatImages({ images, provenance }: Pick<Catalog, "images" | "provenance">): string | undefined {
  if (images.length === 0) return undefined;
  const origins = new Map(provenance.map((it) => [it.path, it]));
  return formatTable(
    ["SIZE", "DIGEST", "PLATFORMS", "IMAGE", ""],
    images.map(({ size, digest, platforms, reference }) => {
      const origin = origins.get(`images/blobs/${digest.replace(":", "/")}`);
      const signers = origin?.signedBy?.map((it) => it.slice(0, KEYID16_LENGTH)) ?? [];
      const known = [origin?.established ?? "unknown", ...(signers.length > 0 ? [`by ${signers.join(", ")}`] : [])];
      return [formatBytes(size), known.join(" "), platforms.join(", ") || "all", reference, digest];
    }),
    [0],
  );
}
