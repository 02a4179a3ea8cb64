/** filelists.xml: read only for paths that a dependency names and primary.xml does not list. */
import { fromLatin1, unescapeXml } from "./xml.ts";
import { sliceBlocks } from "./xml-blocks.ts";

/**
 * Finds which packages hold some of the wanted paths. Calls back with the package's pkgid and the path.
 * @throws {AirferryError} ERR_UPSTREAM_INVALID
 */
export async function findInFilelists(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  name: string,
  paths: ReadonlySet<string>,
  onFound: (pkgid: string, path: string) => void,
): Promise<void> {
  // Paths are compared as latin1, like all names in the solver; some writers escape more than necessary.
  const needles = [...paths].map((path) => ({
    path,
    bytes: Buffer.from(`>${escapeText(path)}<`, "latin1"),
    isEscapable: /[^A-Za-z0-9/._+-]/.test(path),
  }));
  await sliceBlocks(chunks, "package", name, (block) => {
    let plain: string | undefined;
    for (const { path, bytes, isEscapable } of needles) {
      if (block.includes(bytes)) onFound(pkgidOf(block), path);
      else if (isEscapable && block.includes("&")) {
        plain ??= unescapeXml(block.toString("latin1"));
        if (plain.includes(`>${path}<`)) onFound(pkgidOf(block), path);
      }
    }
  });
}

/** The `pkgid` attribute of a block of filelists or other; "" when absent. */
export function pkgidOf(block: Buffer): string {
  const tag = block.toString("latin1", 0, Math.min(block.length, 2048));
  const match = /^<[^>]*?\spkgid\s*=\s*(?:"([^"]*)"|'([^']*)')/.exec(tag);
  return fromLatin1(unescapeXml(match?.[1] ?? match?.[2] ?? "")).toLowerCase();
}

function escapeText(path: string): string {
  return path.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
