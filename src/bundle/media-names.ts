/**
 * The names at the top of a bundle folder, and the names that operating systems leave on media. docs/format.md,
 * "Files".
 */
export const SUMS_NAME = "SHA256SUMS";
export const SIGNATURES_NAME = "signatures";
export const INVENTORY_NAME = "airferry.json";
export const BIN_NAME = "bin";
export const VERIFY_NAME = "VERIFY.txt";
export const TRUSTED_ROOT_NAME = "trusted_root.json";
/** What a scanner said before the bundle was signed. */
export const SCAN_NAME = "scan.json";
/** The bill of materials, for people and as CycloneDX. */
export const BOM_PAGE_NAME = "BOM.html";
export const BOM_CYCLONEDX_NAME = "BOM.cdx.json";
export const BOM_NAMES: readonly string[] = [BOM_PAGE_NAME, BOM_CYCLONEDX_NAME];

/** Largest signed root that is read: room for 10,000 volumes. */
export const MAX_SUMS_BYTES = 1024 * 1024;
/** Largest inventory that is read. */
export const MAX_INVENTORY_BYTES = 128 * 1024 * 1024;
export const MAX_SIGNATURES = 128;
export const MAX_SIGNATURE_BYTES = 64 * 1024;
/** Largest other small file (VERIFY.txt, trusted_root.json). */
export const MAX_NOTE_BYTES = 1024 * 1024;
/** Largest part of the bill of materials: it grows with the packages, and is hashed without being in memory. */
export const MAX_BOM_BYTES = 512 * 1024 * 1024;

const JUNK = new Set(
  [
    ".DS_Store",
    ".Trashes",
    ".Trash",
    ".Trash-0",
    ".Trash-1000",
    ".Spotlight-V100",
    ".fseventsd",
    ".TemporaryItems",
    ".DocumentRevisions-V100",
    ".VolumeIcon.icns",
    ".apdisk",
    ".com.apple.timemachine.donotpresent",
    "System Volume Information",
    "$RECYCLE.BIN",
    "RECYCLER",
    "Thumbs.db",
    "desktop.ini",
    "IndexerVolumeGuid",
    "WPSettings.dat",
    "lost+found",
    ".directory",
    ".nfs",
    ".snapshot",
  ].map((it) => it.toLowerCase()),
);

/** Returns whether an operating system left this name on the medium: it is skipped with a notice and never opened. */
export function isJunkName(name: string): boolean {
  return name.startsWith("._") || JUNK.has(name.toLowerCase()) || /^\.(?:Trash-\d+|nfs[0-9a-f]+)$/i.test(name);
}
