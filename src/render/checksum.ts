/**
 * `CHECKSUM`: the ISOs' digests in the BSD form that distributions publish and packer's `file:` checksums read.
 */
import { hexOf } from "../io/digest.ts";
import type { RenderInput } from "./types.ts";
import { releasesOf } from "./view.ts";

/** Renders one comment and one `SHA256 (NAME.iso) = hex` line for each ISO, by name. */
export function renderChecksum(input: RenderInput): string {
  const lines = new Map<string, string>();
  for (const release of releasesOf(input)) {
    for (const { path } of release.inventory.catalog.isos) {
      const entry = release.inventory.entries.get(path);
      if (entry === undefined) continue;
      const name = path.slice(path.lastIndexOf("/") + 1);
      const hex = hexOf(entry.digest);
      lines.set(`${name} ${hex}`, `# ${name}: ${entry.size} bytes\nSHA256 (${name}) = ${hex}\n`);
    }
  }
  return [...lines]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, text]) => text)
    .join("");
}
